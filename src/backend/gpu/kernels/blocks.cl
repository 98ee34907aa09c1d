/* The block formats as kernels read them: where a block's scales and codes are, as words of bytes. One program knows one
 * format (FORMAT_...). Layouts of the blocks: quant/blocks.h.
 *
 * Weights lie in groups of 32 rows: word i of all 32 rows, then word i + 1. So 32 neighbouring work items read 128
 * bytes side by side while each computes a row of its own. A row is its blocks' main parts, then what is left of
 * them, two bytes (or one) each: see gpu/rows.h. */

#if defined(FORMAT_Q4_K)
#define MAIN_WORDS 36
#define WITH_MINIMA
#define BLOCK_256
#elif defined(FORMAT_Q5_K)
#define MAIN_WORDS 44
#define WITH_MINIMA
#define BLOCK_256
#elif defined(FORMAT_Q2_K)
#define MAIN_WORDS 21
#define WITH_MINIMA
#define BLOCK_256
#elif defined(FORMAT_Q3_K)
#define MAIN_WORDS 27
#define TAIL_HALF
#define OFFSET 4
#define BLOCK_256
#elif defined(FORMAT_Q6_K)
#define MAIN_WORDS 52
#define TAIL_HALF
#define OFFSET 32
#define BLOCK_256
#elif defined(FORMAT_IQ4_XS)
#define MAIN_WORDS 34
#define BLOCK_256
#elif defined(FORMAT_TQ1_0)
#define MAIN_WORDS 13
#define TAIL_HALF
#define OFFSET 1
#define BLOCK_256
#elif defined(FORMAT_TQ2_0)
#define MAIN_WORDS 16
#define TAIL_HALF
#define OFFSET 1
#define BLOCK_256
#elif defined(FORMAT_Q4_0)
#define MAIN_WORDS 4
#define TAIL_HALF
#define OFFSET 8
#elif defined(FORMAT_Q4_1)
#define MAIN_WORDS 5
#define WITH_MINIMA
#elif defined(FORMAT_Q5_0)
#define MAIN_WORDS 5
#define TAIL_HALF
#define OFFSET 16
#elif defined(FORMAT_Q5_1)
#define MAIN_WORDS 6
#define WITH_MINIMA
#elif defined(FORMAT_Q8_0)
#define MAIN_WORDS 8
#define TAIL_HALF
#elif defined(FORMAT_IQ4_NL)
#define MAIN_WORDS 4
#define TAIL_HALF
#elif defined(FORMAT_MXFP4)
#define MAIN_WORDS 4
#define TAIL_BYTE
#elif defined(FORMAT_NVFP4)
#define MAIN_WORDS 9
#endif
#ifndef OFFSET
#define OFFSET 0
#endif

/* Word i of the row, `at` being its first. */
#define WORD(at, i) ((at)[(i) * 32])

/* ---- codes of four bits through a table */

FN uint table_word(uint codes, uint t0, uint t1, uint t2, uint t3) {
    uint out = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint n = codes >> 8 * i & 15;
        uint word = n & 8 ? (n & 4 ? t3 : t2) : (n & 4 ? t1 : t0);
        out |= (word >> (n & 3) * 8 & 255) << 8 * i;
    }
    return out;
}
/* -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113 */
FN uint codes_iq4(uint codes) { return table_word(codes, 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u); }
/* twice 0 .5 1 1.5, 2 3 4 6, and their negatives */
FN uint codes_fp4(uint codes) { return table_word(codes, 0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu); }

/* Bits 0 to 3 to the lowest bits of four bytes. */
FN uint spread_bits(uint bits) { return (bits & 15) * 0x00204081u & 0x01010101u; }

/* ---- one block's scales */

FN uint tail_half(GLOBAL const uint *row, int n_blocks, int b) {
    return WORD(row, n_blocks * MAIN_WORDS + b / 2) >> 16 * (b & 1) & 0xffff;
}

/* d of block b; *m: its minima's factor. */
FN float block_scale(GLOBAL const uint *row, int n_blocks, int b, float *m) {
    *m = 0;
#if defined(TAIL_HALF)
    return half_to_float(tail_half(row, n_blocks, b));
#elif defined(TAIL_BYTE)
    uint e = WORD(row, n_blocks * MAIN_WORDS + b / 4) >> 8 * (b & 3) & 255;
    return AS_FLOAT(e < 2 ? 0x00200000u << e : (e - 1) << 23);
#else
#if defined(FORMAT_Q2_K)
    uint both = WORD(row, b * MAIN_WORDS + 20);
#else
    uint both = WORD(row, b * MAIN_WORDS);
#endif
#ifdef WITH_MINIMA
    *m = half_to_float(both >> 16);
#endif
    return half_to_float(both & 0xffff);
#endif
}

#ifdef BLOCK_256
/* ---- blocks of 256: `run` is one of its four times 64 weights */

#ifdef FORMAT_TQ1_0
#define POWER(j) ((j) == 0 ? 1u : (j) == 1 ? 3u : (j) == 2 ? 9u : (j) == 3 ? 27u : 81u)
#define DIGITS(w, p)                                                                                                  \
    ((((((w) & 0x00ff00ffu) * (p)) & 0x00ff00ffu) * 3 >> 8 & 0x00ff00ffu) |                                           \
     (((((w) >> 8 & 0x00ff00ffu) * (p)) & 0x00ff00ffu) * 3 >> 8 & 0x00ff00ffu) << 8)
/* Word k of the 32 weights `part`. */
FN uint digits32(GLOBAL const uint *at, int part, int k) {
    if (part < 5) return DIGITS(WORD(at, k), POWER(part));
    if (part < 7 || k < 4) return DIGITS(WORD(at, 8 + (k & 3)), POWER(2 * (part - 5) + k / 4));
    return DIGITS(WORD(at, 12), POWER(k & 3));
}
#endif

/* Words k of the run's first and second 32 codes, k < 8: four bytes each, unsigned, less OFFSET the weight's number
 * (IQ4_XS: signed). */
FN void pair64(GLOBAL const uint *at, int run, int k, uint *first, uint *second) {
#if defined(FORMAT_Q4_K)
    uint w = WORD(at, 4 + 8 * run + k);
    *first = w & 0x0f0f0f0fu;
    *second = w >> 4 & 0x0f0f0f0fu;
#elif defined(FORMAT_Q5_K)
    uint w = WORD(at, 12 + 8 * run + k), h = WORD(at, 4 + k) >> 2 * run;
    *first = (w & 0x0f0f0f0fu) | (h & 0x01010101u) << 4;
    *second = (w >> 4 & 0x0f0f0f0fu) | (h >> 1 & 0x01010101u) << 4;
#elif defined(FORMAT_Q6_K)
    int half_block = run / 2, shift = 4 * (run & 1);
    uint h = WORD(at, 32 + half_block * 8 + k) >> shift;
    *first = (WORD(at, half_block * 16 + k) >> shift & 0x0f0f0f0fu) | (h & 0x03030303u) << 4;
    *second = (WORD(at, half_block * 16 + 8 + k) >> shift & 0x0f0f0f0fu) | (h >> 2 & 0x03030303u) << 4;
#elif defined(FORMAT_Q3_K)
    uint w = WORD(at, 8 + run / 2 * 8 + k) >> 4 * (run & 1), h = WORD(at, k) >> 2 * run;
    *first = (w & 0x03030303u) | (h & 0x01010101u) << 2;
    *second = (w >> 2 & 0x03030303u) | (h >> 1 & 0x01010101u) << 2;
#elif defined(FORMAT_Q2_K)
    uint w = WORD(at, 4 + run / 2 * 8 + k) >> 4 * (run & 1);
    *first = w & 0x03030303u;
    *second = w >> 2 & 0x03030303u;
#elif defined(FORMAT_TQ2_0)
    uint w = WORD(at, run / 2 * 8 + k) >> 4 * (run & 1);
    *first = w & 0x03030303u;
    *second = w >> 2 & 0x03030303u;
#elif defined(FORMAT_IQ4_XS)
    *first = codes_iq4(WORD(at, 2 + 8 * run + (k & 3)) >> (k & 4) & 0x0f0f0f0fu);
    *second = codes_iq4(WORD(at, 6 + 8 * run + (k & 3)) >> (k & 4) & 0x0f0f0f0fu);
#elif defined(FORMAT_TQ1_0)
    *first = digits32(at, 2 * run, k);
    *second = digits32(at, 2 * run + 1, k);
#endif
}

#if defined(FORMAT_Q4_K) || defined(FORMAT_Q5_K)
FN uint k_scale(uint a, uint c, int j) {
    return j < 4 ? byte_at(a, j) & 63 : (byte_at(c, j - 4) & 15) | byte_at(a, j - 4) >> 6 << 4;
}
FN uint k_minimum(uint b, uint c, int j) {
    return j < 4 ? byte_at(b, j) & 63 : byte_at(c, j - 4) >> 4 | byte_at(b, j - 4) >> 6 << 4;
}
#endif

/* Scale and minimum of each 16 weights of a run. */
FN void scales64(GLOBAL const uint *at, int run, int *s, int *m) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[i] = 1;
        m[i] = 0;
    }
#if defined(FORMAT_Q4_K) || defined(FORMAT_Q5_K)
    uint a = WORD(at, 1), b = WORD(at, 2), c = WORD(at, 3);
    s[0] = s[1] = (int)k_scale(a, c, 2 * run);
    s[2] = s[3] = (int)k_scale(a, c, 2 * run + 1);
    m[0] = m[1] = (int)k_minimum(b, c, 2 * run);
    m[2] = m[3] = (int)k_minimum(b, c, 2 * run + 1);
#elif defined(FORMAT_Q6_K)
    uint scales = WORD(at, 48 + run);
#pragma unroll
    for (int i = 0; i < 4; i++) s[i] = signed_byte(scales, i);
#elif defined(FORMAT_Q3_K)
    uint low = WORD(at, 24 + (run & 1)) >> (run < 2 ? 0 : 4), high = WORD(at, 26) >> 2 * run;
#pragma unroll
    for (int i = 0; i < 4; i++) s[i] = (int)((byte_at(low, i) & 15) | (byte_at(high, i) & 3) << 4) - 32;
#elif defined(FORMAT_Q2_K)
    uint both = WORD(at, run);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[i] = (int)(byte_at(both, i) & 15);
        m[i] = (int)(byte_at(both, i) >> 4);
    }
#elif defined(FORMAT_IQ4_XS)
    uint upper = WORD(at, 0) >> (16 + 4 * run), lower = WORD(at, 1) >> 8 * run;
#pragma unroll
    for (int i = 0; i < 2; i++)
        s[2 * i] = s[2 * i + 1] = (int)((lower >> 4 * i & 15) | (upper >> 2 * i & 3) << 4) - 32;
#endif
}

/* A run: sixteen words of bytes. */
FN void unpack64(GLOBAL const uint *at, int run, uint *q, int *s, int *m) {
#pragma unroll
    for (int k = 0; k < 8; k++) pair64(at, run, k, &q[k], &q[8 + k]);
    scales64(at, run, s, m);
}
#elif defined(FORMAT_NVFP4)
/* ---- blocks of 64, each 16 weights with a scale */

/* Four words of bytes; returns their scale. */
FN float unpack16(GLOBAL const uint *row, int run, uint *q) {
    GLOBAL const uint *at = &WORD(row, run / 4 * MAIN_WORDS);
    uint e = byte_at(WORD(at, 0), run & 3), exponent = e >> 3 & 15, mantissa = e & 7;
    uint a = WORD(at, 1 + 2 * (run & 3)), b = WORD(at, 2 + 2 * (run & 3));
    q[0] = codes_fp4(a & 0x0f0f0f0fu);
    q[1] = codes_fp4(b & 0x0f0f0f0fu);
    q[2] = codes_fp4(a >> 4 & 0x0f0f0f0fu);
    q[3] = codes_fp4(b >> 4 & 0x0f0f0f0fu);
    return e == 0x7f       ? 0.0f
           : exponent == 0 ? (float)mantissa * 0.0009765625f
                           : AS_FLOAT((exponent + 119) << 23 | mantissa << 20);
}
#else
/* ---- blocks of 32: eight words of bytes */

/* Words k and 4 + k, k < 4. */
FN void pair32(GLOBAL const uint *at, int k, uint *first, uint *second) {
#if defined(FORMAT_Q8_0)
    *first = WORD(at, k);
    *second = WORD(at, 4 + k);
#else
#if defined(FORMAT_Q5_1)
    uint w = WORD(at, 2 + k), h = WORD(at, 1);
#elif defined(FORMAT_Q5_0)
    uint w = WORD(at, 1 + k), h = WORD(at, 0);
#elif defined(FORMAT_Q4_1)
    uint w = WORD(at, 1 + k);
#else
    uint w = WORD(at, k);
#endif
    *first = w & 0x0f0f0f0fu;
    *second = w >> 4 & 0x0f0f0f0fu;
#if defined(FORMAT_IQ4_NL)
    *first = codes_iq4(*first);
    *second = codes_iq4(*second);
#elif defined(FORMAT_MXFP4)
    *first = codes_fp4(*first);
    *second = codes_fp4(*second);
#elif defined(FORMAT_Q5_0) || defined(FORMAT_Q5_1)
    *first |= spread_bits(h >> 4 * k) << 4;
    *second |= spread_bits(h >> (16 + 4 * k)) << 4;
#endif
#endif
}

FN void unpack32(GLOBAL const uint *at, uint *q) {
#pragma unroll
    for (int k = 0; k < 4; k++) pair32(at, k, &q[k], &q[4 + k]);
}
#endif
