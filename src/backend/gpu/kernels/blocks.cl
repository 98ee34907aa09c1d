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
#ifndef WORD
#define WORD(at, i) ((at)[(i) * 32])
#endif

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

/* What d of block b and its minima's factor are made of. */
FN uint load_scale(PLACE row, int n_blocks, int b) {
#if defined(TAIL_HALF)
    return WORD(row, n_blocks * MAIN_WORDS + b / 2) >> 16 * (b & 1) & 0xffff;
#elif defined(TAIL_BYTE)
    return WORD(row, n_blocks * MAIN_WORDS + b / 4) >> 8 * (b & 3) & 255;
#elif defined(FORMAT_Q2_K)
    return WORD(row, b * MAIN_WORDS + 20);
#else
    return WORD(row, b * MAIN_WORDS);
#endif
}

/* d; *m: its minima's factor. */
FN float scale_of(uint word, float *m) {
    *m = 0;
#ifdef WITH_MINIMA
    *m = half_to_float(word >> 16);
#endif
#ifdef TAIL_BYTE
    return AS_FLOAT(word < 2 ? 0x00200000u << word : (word - 1) << 23);
#else
    return half_to_float(word & 0xffff);
#endif
}

FN float block_scale(PLACE row, int n_blocks, int b, float *m) {
    return scale_of(load_scale(AT(row), n_blocks, b), m);
}

/* ---- codes. They are read in units: a run of 64 weights of a block of 256, a block of 32, a block of NVFP4. A unit is a
 * head of HEAD_WORDS and PAIRS times PAIR_WORDS; loading words and what they mean are apart, since a kernel may want to
 * have the words of the next unit on their way. `at`: the block's first word. */

#if defined(FORMAT_Q4_K)
#define HEAD_WORDS 3
#define PAIR_WORDS 1
#elif defined(FORMAT_Q5_K)
#define HEAD_WORDS 3
#define PAIR_WORDS 2
#elif defined(FORMAT_Q6_K)
#define HEAD_WORDS 1
#define PAIR_WORDS 3
#elif defined(FORMAT_Q3_K)
#define HEAD_WORDS 2
#define PAIR_WORDS 2
#elif defined(FORMAT_Q2_K)
#define HEAD_WORDS 1
#define PAIR_WORDS 1
#elif defined(FORMAT_IQ4_XS)
#define HEAD_WORDS 2
#define PAIR_WORDS 2
#elif defined(FORMAT_TQ2_0)
#define HEAD_WORDS 0
#define PAIR_WORDS 1
#elif defined(FORMAT_TQ1_0)
#define HEAD_WORDS 0
#define PAIR_WORDS 2
#elif defined(FORMAT_Q5_0) || defined(FORMAT_Q5_1)
#define HEAD_WORDS 1
#define PAIR_WORDS 1
#elif defined(FORMAT_Q8_0)
#define HEAD_WORDS 0
#define PAIR_WORDS 2
#elif defined(FORMAT_NVFP4)
#define HEAD_WORDS 1
#define PAIR_WORDS 2
#else
#define HEAD_WORDS 0
#define PAIR_WORDS 1
#endif
#if defined(BLOCK_256) && !defined(FORMAT_IQ4_XS)
#define PAIRS 8
#else
#define PAIRS 4 /* IQ4_XS: pairs k and k + 4 are the lower and upper halves of the same words */
#endif

FN void load_head(PLACE at, int run, uint *h) {
#if defined(FORMAT_Q4_K) || defined(FORMAT_Q5_K)
    h[0] = WORD(at, 1);
    h[1] = WORD(at, 2);
    h[2] = WORD(at, 3);
#elif defined(FORMAT_Q6_K)
    h[0] = WORD(at, 48 + run);
#elif defined(FORMAT_Q3_K)
    h[0] = WORD(at, 24 + (run & 1));
    h[1] = WORD(at, 26);
#elif defined(FORMAT_Q2_K)
    h[0] = WORD(at, run);
#elif defined(FORMAT_IQ4_XS)
    h[0] = WORD(at, 0);
    h[1] = WORD(at, 1);
#elif defined(FORMAT_Q5_0) || defined(FORMAT_NVFP4)
    h[0] = WORD(at, 0);
#elif defined(FORMAT_Q5_1)
    h[0] = WORD(at, 1);
#endif
}

#ifdef FORMAT_TQ1_0
#define POWER(j) ((j) == 0 ? 1u : (j) == 1 ? 3u : (j) == 2 ? 9u : (j) == 3 ? 27u : 81u)
#define DIGITS(w, p)                                                                                                  \
    ((((((w) & 0x00ff00ffu) * (p)) & 0x00ff00ffu) * 3 >> 8 & 0x00ff00ffu) |                                           \
     (((((w) >> 8 & 0x00ff00ffu) * (p)) & 0x00ff00ffu) * 3 >> 8 & 0x00ff00ffu) << 8)
/* Word k of the 32 weights `part`: where it is, which digit of three. */
FN int digits_at(int part, int k) { return part < 5 ? k : part < 7 || k < 4 ? 8 + (k & 3) : 12; }
FN int digit_of(int part, int k) { return part < 5 ? part : part < 7 || k < 4 ? 2 * (part - 5) + k / 4 : k & 3; }
#endif

/* Words of pair k. */
FN void load_pair(PLACE at, int run, int k, uint *w) {
#if defined(FORMAT_Q4_K)
    w[0] = WORD(at, 4 + 8 * run + k);
#elif defined(FORMAT_Q5_K)
    w[0] = WORD(at, 12 + 8 * run + k);
    w[1] = WORD(at, 4 + k);
#elif defined(FORMAT_Q6_K)
    w[0] = WORD(at, run / 2 * 16 + k);
    w[1] = WORD(at, run / 2 * 16 + 8 + k);
    w[2] = WORD(at, 32 + run / 2 * 8 + k);
#elif defined(FORMAT_Q3_K)
    w[0] = WORD(at, 8 + run / 2 * 8 + k);
    w[1] = WORD(at, k);
#elif defined(FORMAT_Q2_K)
    w[0] = WORD(at, 4 + run / 2 * 8 + k);
#elif defined(FORMAT_TQ2_0)
    w[0] = WORD(at, run / 2 * 8 + k);
#elif defined(FORMAT_IQ4_XS)
    w[0] = WORD(at, 2 + 8 * run + (k & 3));
    w[1] = WORD(at, 6 + 8 * run + (k & 3));
#elif defined(FORMAT_TQ1_0)
    w[0] = WORD(at, digits_at(2 * run, k));
    w[1] = WORD(at, digits_at(2 * run + 1, k));
#elif defined(FORMAT_Q8_0)
    w[0] = WORD(at, k);
    w[1] = WORD(at, 4 + k);
#elif defined(FORMAT_NVFP4)
    w[0] = WORD(at, 1 + 2 * k);
    w[1] = WORD(at, 2 + 2 * k);
#elif defined(FORMAT_Q5_1)
    w[0] = WORD(at, 2 + k);
#elif defined(FORMAT_Q5_0) || defined(FORMAT_Q4_1)
    w[0] = WORD(at, 1 + k);
#else
    w[0] = WORD(at, k);
#endif
}

#ifdef FORMAT_NVFP4
/* 16 weights of a block, the words of pair `run`: four words of bytes; returns their scale. */
FN float unpack_run16(const uint *h, const uint *w, int run, uint *q) {
    uint e = byte_at(h[0], run), exponent = e >> 3 & 15, mantissa = e & 7;
    q[0] = codes_fp4(w[0] & 0x0f0f0f0fu);
    q[1] = codes_fp4(w[1] & 0x0f0f0f0fu);
    q[2] = codes_fp4(w[0] >> 4 & 0x0f0f0f0fu);
    q[3] = codes_fp4(w[1] >> 4 & 0x0f0f0f0fu);
    return e == 0x7f       ? 0.0f
           : exponent == 0 ? (float)mantissa * 0.0009765625f
                           : AS_FLOAT((exponent + 119) << 23 | mantissa << 20);
}

FN float unpack16(PLACE row, int run, uint *q) {
    place at = row + run / 4 * MAIN_WORDS * 32;
    uint h[HEAD_WORDS], w[PAIR_WORDS];
    load_head(AT(at), 0, h);
    load_pair(AT(at), 0, run & 3, w);
    return unpack_run16(h, w, run & 3, q);
}
#else
/* A pair's words: words k of a run's first and second 32 codes, k < 8; words k and 4 + k of a block of 32, k < 4. Four
 * bytes each, unsigned, less OFFSET the weight's number (IQ4, FP4, Q8_0: signed). */
FN void unpack_pair(const uint *h, const uint *w, int run, int k, uint *first, uint *second) {
#if defined(FORMAT_Q8_0)
    *first = w[0];
    *second = w[1];
#elif defined(FORMAT_Q6_K)
    int shift = 4 * (run & 1);
    *first = (w[0] >> shift & 0x0f0f0f0fu) | (w[2] >> shift & 0x03030303u) << 4;
    *second = (w[1] >> shift & 0x0f0f0f0fu) | (w[2] >> shift >> 2 & 0x03030303u) << 4;
#elif defined(FORMAT_Q2_K) || defined(FORMAT_Q3_K) || defined(FORMAT_TQ2_0)
    int shift = 4 * (run & 1);
    *first = w[0] >> shift & 0x03030303u;
    *second = w[0] >> shift >> 2 & 0x03030303u;
#ifdef FORMAT_Q3_K
    *first |= (w[1] >> 2 * run & 0x01010101u) << 2;
    *second |= (w[1] >> 2 * run >> 1 & 0x01010101u) << 2;
#endif
#elif defined(FORMAT_IQ4_XS)
    *first = codes_iq4(w[0] >> (k & 4) & 0x0f0f0f0fu);
    *second = codes_iq4(w[1] >> (k & 4) & 0x0f0f0f0fu);
#elif defined(FORMAT_TQ1_0)
    *first = DIGITS(w[0], POWER(digit_of(2 * run, k)));
    *second = DIGITS(w[1], POWER(digit_of(2 * run + 1, k)));
#else
    *first = w[0] & 0x0f0f0f0fu;
    *second = w[0] >> 4 & 0x0f0f0f0fu;
#if defined(FORMAT_Q5_K)
    *first |= (w[1] >> 2 * run & 0x01010101u) << 4;
    *second |= (w[1] >> 2 * run >> 1 & 0x01010101u) << 4;
#elif defined(FORMAT_Q5_0) || defined(FORMAT_Q5_1)
    *first |= spread_bits(h[0] >> 4 * k) << 4;
    *second |= spread_bits(h[0] >> (16 + 4 * k)) << 4;
#elif defined(FORMAT_IQ4_NL)
    *first = codes_iq4(*first);
    *second = codes_iq4(*second);
#elif defined(FORMAT_MXFP4)
    *first = codes_fp4(*first);
    *second = codes_fp4(*second);
#endif
#endif
}
#endif

#ifdef BLOCK_256
#if defined(FORMAT_Q4_K) || defined(FORMAT_Q5_K)
FN uint k_scale(uint a, uint c, int j) {
    return j < 4 ? byte_at(a, j) & 63 : (byte_at(c, j - 4) & 15) | byte_at(a, j - 4) >> 6 << 4;
}
FN uint k_minimum(uint b, uint c, int j) {
    return j < 4 ? byte_at(b, j) & 63 : byte_at(c, j - 4) >> 4 | byte_at(b, j - 4) >> 6 << 4;
}
#endif

/* Scale and minimum of each 16 weights of a run. */
FN void unpack_scales(const uint *h, int run, int *s, int *m) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[i] = 1;
        m[i] = 0;
    }
#if defined(FORMAT_Q4_K) || defined(FORMAT_Q5_K)
    s[0] = s[1] = (int)k_scale(h[0], h[2], 2 * run);
    s[2] = s[3] = (int)k_scale(h[0], h[2], 2 * run + 1);
    m[0] = m[1] = (int)k_minimum(h[1], h[2], 2 * run);
    m[2] = m[3] = (int)k_minimum(h[1], h[2], 2 * run + 1);
#elif defined(FORMAT_Q6_K)
#pragma unroll
    for (int i = 0; i < 4; i++) s[i] = signed_byte(h[0], i);
#elif defined(FORMAT_Q3_K)
    uint low = h[0] >> (run < 2 ? 0 : 4), high = h[1] >> 2 * run;
#pragma unroll
    for (int i = 0; i < 4; i++) s[i] = (int)((byte_at(low, i) & 15) | (byte_at(high, i) & 3) << 4) - 32;
#elif defined(FORMAT_Q2_K)
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[i] = (int)(byte_at(h[0], i) & 15);
        m[i] = (int)(byte_at(h[0], i) >> 4);
    }
#elif defined(FORMAT_IQ4_XS)
    uint upper = h[0] >> (16 + 4 * run), lower = h[1] >> 8 * run;
#pragma unroll
    for (int i = 0; i < 2; i++)
        s[2 * i] = s[2 * i + 1] = (int)((lower >> 4 * i & 15) | (upper >> 2 * i & 3) << 4) - 32;
#endif
}

FN void pair64(PLACE at, int run, int k, uint *first, uint *second) {
    uint w[PAIR_WORDS];
    load_pair(AT(at), run, k, w);
    unpack_pair(w, w, run, k, first, second); /* no head is needed */
}

FN void scales64(PLACE at, int run, int *s, int *m) {
    uint h[HEAD_WORDS + 1];
    load_head(AT(at), run, h);
    unpack_scales(h, run, s, m);
}

/* A run: sixteen words of bytes. */
FN void unpack64(PLACE at, int run, uint *q, int *s, int *m) {
#pragma unroll
    for (int k = 0; k < 8; k++) pair64(AT(at), run, k, &q[k], &q[8 + k]);
    scales64(AT(at), run, s, m);
}

/* Adds 64 weights of a block with the activations of one token: 16 words of codes, 4 sums. */
FN void add64(const uint *q, const int *s, const int *m, FOURS x, wide x_at, GLOBAL const short *sums, int *isum,
              int *msum) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int dot = 0;
        uint codes[4];
        load_four(x, x_at + (wide)(4 * i), codes);
#pragma unroll
        for (int k = 0; k < 4; k++) dot = dot4(q[4 * i + k], codes[k], dot);
#if OFFSET
        dot -= OFFSET * sums[i];
#endif
        *isum += s[i] * dot;
#ifdef WITH_MINIMA
        *msum += m[i] * sums[i];
#endif
    }
}
#elif !defined(FORMAT_NVFP4)
FN void pair32(PLACE at, int k, uint *first, uint *second) {
    uint h[HEAD_WORDS + 1], w[PAIR_WORDS];
    load_head(AT(at), 0, h);
    load_pair(AT(at), 0, k, w);
    unpack_pair(h, w, 0, k, first, second);
}

/* A block: eight words of bytes. */
FN void unpack32(PLACE at, uint *q) {
#pragma unroll
    for (int k = 0; k < 4; k++) pair32(AT(at), k, &q[k], &q[4 + k]);
}
#endif
