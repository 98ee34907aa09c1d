/* Products with quantised weights, out = W x, by the contract's rule 1: integer inside a block, float between blocks,
 * one program for each format (FORMAT_...) and number of tokens that are computed together (TOKENS, 1 or 8).
 *
 * Weights lie in groups of 32 rows: word i of all 32 rows, then word i + 1. So 32 neighbouring work items read 128
 * bytes side by side while each computes a row of its own. A row is its blocks' main parts, then what is left of
 * them, two bytes (or one) each: see device_rows.c.
 *
 * A work group takes PRODUCT_ROWS rows; eight work items share a row. Formats with blocks of 32 have eight
 * accumulators by the contract, one for each. In formats with blocks of 256 each computes whole blocks, whose sums
 * are put together in the order of the blocks. So a result does not depend on TOKENS. */

#if defined(FORMAT_Q4_K)
#define MAIN_WORDS 36
#define WITH_MINIMA
#define BLOCK_256
FN uint k_scale(uint a, uint c, int j) { return j < 4 ? byte_at(a, j) & 63 : (byte_at(c, j - 4) & 15) | byte_at(a, j - 4) >> 6 << 4; }
FN uint k_minimum(uint b, uint c, int j) { return j < 4 ? byte_at(b, j) & 63 : byte_at(c, j - 4) >> 4 | byte_at(b, j - 4) >> 6 << 4; }
#elif defined(FORMAT_Q5_K)
#define MAIN_WORDS 44
#define WITH_MINIMA
#define BLOCK_256
FN uint k_scale(uint a, uint c, int j) { return j < 4 ? byte_at(a, j) & 63 : (byte_at(c, j - 4) & 15) | byte_at(a, j - 4) >> 6 << 4; }
FN uint k_minimum(uint b, uint c, int j) { return j < 4 ? byte_at(b, j) & 63 : byte_at(c, j - 4) >> 4 | byte_at(b, j - 4) >> 6 << 4; }
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
/* ---- blocks of 256: 64 weights at a time as sixteen words of bytes; scale and minimum of each 16 weights */

FN void unpack64(GLOBAL const uint *at, int r, uint *q, int *s, int *m) {
#if defined(FORMAT_Q4_K)
    uint a = WORD(at, 1), b = WORD(at, 2), c = WORD(at, 3);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        uint w = WORD(at, 4 + 8 * r + k);
        q[k] = w & 0x0f0f0f0fu;
        q[8 + k] = w >> 4 & 0x0f0f0f0fu;
    }
    s[0] = s[1] = (int)k_scale(a, c, 2 * r);
    s[2] = s[3] = (int)k_scale(a, c, 2 * r + 1);
    m[0] = m[1] = (int)k_minimum(b, c, 2 * r);
    m[2] = m[3] = (int)k_minimum(b, c, 2 * r + 1);
#elif defined(FORMAT_Q5_K)
    uint a = WORD(at, 1), b = WORD(at, 2), c = WORD(at, 3);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        uint w = WORD(at, 12 + 8 * r + k), h = WORD(at, 4 + k) >> 2 * r;
        q[k] = (w & 0x0f0f0f0fu) | (h & 0x01010101u) << 4;
        q[8 + k] = (w >> 4 & 0x0f0f0f0fu) | (h >> 1 & 0x01010101u) << 4;
    }
    s[0] = s[1] = (int)k_scale(a, c, 2 * r);
    s[2] = s[3] = (int)k_scale(a, c, 2 * r + 1);
    m[0] = m[1] = (int)k_minimum(b, c, 2 * r);
    m[2] = m[3] = (int)k_minimum(b, c, 2 * r + 1);
#elif defined(FORMAT_Q6_K)
    int half_block = r / 2, low = 4 * (r & 1), up = 4 * (r & 1);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        uint h = WORD(at, 32 + half_block * 8 + k) >> up;
        q[k] = (WORD(at, half_block * 16 + k) >> low & 0x0f0f0f0fu) | (h & 0x03030303u) << 4;
        q[8 + k] = (WORD(at, half_block * 16 + 8 + k) >> low & 0x0f0f0f0fu) | (h >> 2 & 0x03030303u) << 4;
    }
    uint scales = WORD(at, 48 + r);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[i] = signed_byte(scales, i);
        m[i] = 0;
    }
#elif defined(FORMAT_Q3_K)
    int half_block = r / 2, shift = 4 * (r & 1);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        uint w = WORD(at, 8 + half_block * 8 + k) >> shift, h = WORD(at, k) >> 2 * r;
        q[k] = (w & 0x03030303u) | (h & 0x01010101u) << 2;
        q[8 + k] = (w >> 2 & 0x03030303u) | (h >> 1 & 0x01010101u) << 2;
    }
    uint low = WORD(at, 24 + (r & 1)) >> (r < 2 ? 0 : 4), high = WORD(at, 26) >> 2 * r;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[i] = (int)((byte_at(low, i) & 15) | (byte_at(high, i) & 3) << 4) - 32;
        m[i] = 0;
    }
#elif defined(FORMAT_Q2_K)
    int half_block = r / 2, shift = 4 * (r & 1);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        uint w = WORD(at, 4 + half_block * 8 + k) >> shift;
        q[k] = w & 0x03030303u;
        q[8 + k] = w >> 2 & 0x03030303u;
    }
    uint both = WORD(at, r);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[i] = (int)(byte_at(both, i) & 15);
        m[i] = (int)(byte_at(both, i) >> 4);
    }
#elif defined(FORMAT_IQ4_XS)
    uint upper = WORD(at, 0) >> (16 + 4 * r), lower = WORD(at, 1) >> 8 * r;
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            uint w = WORD(at, 2 + 4 * (2 * r + i) + k);
            q[8 * i + k] = codes_iq4(w & 0x0f0f0f0fu);
            q[8 * i + 4 + k] = codes_iq4(w >> 4 & 0x0f0f0f0fu);
        }
        s[2 * i] = s[2 * i + 1] = (int)((lower >> 4 * i & 15) | (upper >> 2 * i & 3) << 4) - 32;
        m[2 * i] = m[2 * i + 1] = 0;
    }
#elif defined(FORMAT_TQ2_0)
    int half_block = r / 2, shift = 4 * (r & 1);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        uint w = WORD(at, half_block * 8 + k) >> shift;
        q[k] = w & 0x03030303u;
        q[8 + k] = w >> 2 & 0x03030303u;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[i] = 1;
        m[i] = 0;
    }
#elif defined(FORMAT_TQ1_0)
#define POWER(j) ((j) == 0 ? 1u : (j) == 1 ? 3u : (j) == 2 ? 9u : (j) == 3 ? 27u : 81u)
#define DIGITS(w, p)                                                                                                  \
    ((((((w) & 0x00ff00ffu) * (p)) & 0x00ff00ffu) * 3 >> 8 & 0x00ff00ffu) |                                           \
     (((((w) >> 8 & 0x00ff00ffu) * (p)) & 0x00ff00ffu) * 3 >> 8 & 0x00ff00ffu) << 8)
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int run = 2 * r + i; /* of 32 weights */
#pragma unroll
        for (int k = 0; k < 8; k++) {
            uint digits;
            if (run < 5)
                digits = DIGITS(WORD(at, k), POWER(run));
            else if (run < 7 || k < 4)
                digits = DIGITS(WORD(at, 8 + (k & 3)), POWER(2 * (run - 5) + k / 4));
            else
                digits = DIGITS(WORD(at, 12), POWER(k & 3));
            q[8 * i + k] = digits;
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[i] = 1;
        m[i] = 0;
    }
#endif
}

/* Adds 64 weights of a block with the activations of one token: 16 words of codes, 4 sums. */
FN void add64(const uint *q, const int *s, const int *m, GLOBAL const uint *x, GLOBAL const short *sums, int *isum,
              int *msum) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int dot = 0;
#pragma unroll
        for (int k = 0; k < 4; k++) dot = dot4(q[4 * i + k], x[4 * i + k], dot);
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
/* ---- blocks of 32: eight words of bytes */

FN void unpack32(GLOBAL const uint *at, uint *q) {
#if defined(FORMAT_Q8_0)
#pragma unroll
    for (int k = 0; k < 8; k++) q[k] = WORD(at, k);
#else
#if defined(FORMAT_Q5_0)
    uint h = WORD(at, 0);
    const int first = 1;
#elif defined(FORMAT_Q5_1)
    uint h = WORD(at, 1);
    const int first = 2;
#elif defined(FORMAT_Q4_1)
    const int first = 1;
#else
    const int first = 0;
#endif
#pragma unroll
    for (int k = 0; k < 4; k++) {
        uint w = WORD(at, first + k), low = w & 0x0f0f0f0fu, high = w >> 4 & 0x0f0f0f0fu;
#if defined(FORMAT_IQ4_NL)
        low = codes_iq4(low);
        high = codes_iq4(high);
#elif defined(FORMAT_MXFP4)
        low = codes_fp4(low);
        high = codes_fp4(high);
#elif defined(FORMAT_Q5_0) || defined(FORMAT_Q5_1)
        low |= spread_bits(h >> 4 * k) << 4;
        high |= spread_bits(h >> (16 + 4 * k)) << 4;
#endif
        q[k] = low;
        q[4 + k] = high;
    }
#endif
}
#endif

/* w: all rows of a matrix. Its rows from first_row on are computed, n_rows of them; out[t * ldo + r].
 * x: codes of the tokens, [n_tokens][n_cols / 4] words; xd: their scales by block; xs: sums of 16 codes.
 * Where the matrix is one of many experts', token t is a slot: its expert is chosen[t] (expert_groups groups of 32
 * rows further on for each), its activations are those of token t / slots_per_row, and its factor is
 * vectors[scale_at + expert]. Otherwise chosen is not read; scale_at < 0: no factor. */
KERNEL(PRODUCT_ROWS * 8) void product(GLOBAL const uint *w, int row_words, int n_blocks, int first_row, int n_rows, int n_cols,
                    GLOBAL const uint *x, GLOBAL const float *xd, GLOBAL const short *xs, int n_tokens,
                    GLOBAL float *out, int ldo, GLOBAL const float *vectors, int scale_at, GLOBAL const int *chosen,
                    int expert_groups, int slots_per_row) {
    int lane = LOCAL_ID % PRODUCT_ROWS, split = LOCAL_ID / PRODUCT_ROWS;
    int first_token = GROUP_Y * TOKENS, r = GROUP_X * PRODUCT_ROWS + lane;
    int row = first_row + (r < n_rows ? r : n_rows - 1);
    wide group = (wide)(row / 32);
    int scale_index = scale_at;
#ifdef EXPERTS
    int expert = chosen[first_token];
    group += (wide)expert * (wide)expert_groups;
    if (scale_at >= 0) scale_index += expert;
#endif
    GLOBAL const uint *at = w + group * (wide)row_words * 32 + row % 32;
    int token[TOKENS];
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        int n = first_token + t < n_tokens ? first_token + t : n_tokens - 1;
#ifdef EXPERTS
        n /= slots_per_row;
#endif
        token[t] = n;
    }
    float result = 0;
#ifdef BLOCK_256
    LOCAL int part_i[TOKENS * 8 * PRODUCT_ROWS];
    LOCAL float part_d[8 * PRODUCT_ROWS];
#ifdef WITH_MINIMA
    LOCAL int part_m[TOKENS * 8 * PRODUCT_ROWS];
    LOCAL float part_dmin[8 * PRODUCT_ROWS];
#endif
    for (int round0 = 0; round0 < n_blocks; round0 += 8) {
        int b = round0 + split;
        if (b < n_blocks) {
            int isum[TOKENS], msum[TOKENS];
#pragma unroll
            for (int t = 0; t < TOKENS; t++) isum[t] = msum[t] = 0;
            for (int run = 0; run < 4; run++) {
                uint q[16];
                int s[4], m[4];
                unpack64(at + (wide)b * MAIN_WORDS * 32, run, q, s, m);
#pragma unroll
                for (int t = 0; t < TOKENS; t++) {
                    wide column = (wide)token[t] * (wide)n_cols + (wide)(b * 256 + run * 64);
                    add64(q, s, m, x + column / 4, xs + column / 16, &isum[t], &msum[t]);
                }
            }
            float dmin;
            part_d[split * PRODUCT_ROWS + lane] = block_scale(at, n_blocks, b, &dmin);
#ifdef WITH_MINIMA
            part_dmin[split * PRODUCT_ROWS + lane] = dmin;
#endif
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                part_i[(t * 8 + split) * PRODUCT_ROWS + lane] = isum[t];
#ifdef WITH_MINIMA
                part_m[(t * 8 + split) * PRODUCT_ROWS + lane] = msum[t];
#endif
            }
        }
        BARRIER;
        if (split < TOKENS) { /* from here on `split` is a token */
            int t = first_token + split < n_tokens ? first_token + split : n_tokens - 1;
#ifdef EXPERTS
            t /= slots_per_row;
#endif
            int n = n_blocks - round0 < 8 ? n_blocks - round0 : 8;
            for (int i = 0; i < n; i++) {
                float dx = xd[t * n_blocks + round0 + i];
                result = fma(part_d[i * PRODUCT_ROWS + lane] * dx,
                             (float)part_i[(split * 8 + i) * PRODUCT_ROWS + lane], result);
#ifdef WITH_MINIMA
                result = fma(-(part_dmin[i * PRODUCT_ROWS + lane] * dx),
                             (float)part_m[(split * 8 + i) * PRODUCT_ROWS + lane], result);
#endif
            }
        }
        BARRIER;
    }
#else
    LOCAL float part[TOKENS * 8 * PRODUCT_ROWS];
    float acc[TOKENS];
#pragma unroll
    for (int t = 0; t < TOKENS; t++) acc[t] = 0;
#ifdef FORMAT_NVFP4
    int n_runs = n_blocks * 4;
    for (int run = split; run < n_runs; run += 8) {
        uint scales = WORD(at, run / 4 * MAIN_WORDS), e = byte_at(scales, run & 3);
        uint w0 = WORD(at, run / 4 * MAIN_WORDS + 1 + 2 * (run & 3)), w1 = WORD(at, run / 4 * MAIN_WORDS + 2 + 2 * (run & 3));
        uint q[4];
        q[0] = codes_fp4(w0 & 0x0f0f0f0fu);
        q[1] = codes_fp4(w1 & 0x0f0f0f0fu);
        q[2] = codes_fp4(w0 >> 4 & 0x0f0f0f0fu);
        q[3] = codes_fp4(w1 >> 4 & 0x0f0f0f0fu);
        uint exponent = e >> 3 & 15, mantissa = e & 7;
        float d = e == 0x7f ? 0.0f : exponent == 0 ? (float)mantissa * 0.0009765625f
                                                   : AS_FLOAT((exponent + 119) << 23 | mantissa << 20);
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            wide column = (wide)token[t] * (wide)n_cols + (wide)(run * 16);
            GLOBAL const uint *xw = x + column / 4;
            int isum = 0;
#pragma unroll
            for (int k = 0; k < 4; k++) isum = dot4(q[k], xw[k], isum);
            acc[t] = fma(d * xd[column / 32], (float)isum, acc[t]);
        }
    }
#else
    for (int b = split; b < n_blocks; b += 8) {
        uint q[8];
        float m, d = block_scale(at, n_blocks, b, &m);
        unpack32(at + (wide)b * MAIN_WORDS * 32, q);
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            wide column = (wide)token[t] * (wide)n_cols + (wide)(b * 32);
            GLOBAL const uint *xw = x + column / 4;
            GLOBAL const short *sums = xs + column / 16;
            int isum = 0;
#pragma unroll
            for (int k = 0; k < 8; k++) isum = dot4(q[k], xw[k], isum);
            float dx = xd[column / 32];
#if OFFSET || defined(WITH_MINIMA)
            int sum = sums[0] + sums[1];
            isum -= OFFSET * sum;
#endif
            acc[t] = fma(d * dx, (float)isum, acc[t]);
#ifdef WITH_MINIMA
            acc[t] = fma(m * dx, (float)sum, acc[t]);
#endif
        }
    }
#endif
#pragma unroll
    for (int t = 0; t < TOKENS; t++) part[(t * 8 + split) * PRODUCT_ROWS + lane] = acc[t];
    BARRIER;
    if (split < TOKENS) {
        result = part[split * 8 * PRODUCT_ROWS + lane];
        for (int i = 1; i < 8; i++) result += part[(split * 8 + i) * PRODUCT_ROWS + lane];
    }
#endif
    if (split < TOKENS && first_token + split < n_tokens && r < n_rows) {
        if (scale_index >= 0) result *= vectors[scale_index];
        out[(wide)(first_token + split) * (wide)ldo + (wide)r] = result;
    }
}
