/* One token, or up to CPU_ROWS_TOKENS, times rows of 32 blocks, AVX-512 with VNNI (contract, rule 1). Eight blocks at
 * a time, as in gemv_32_avx2.c: their integer sums are the lanes of the contract's eight accumulators. Block j and
 * block j + 4 share a register; four rows go side by side, so that the activations are put together once, and codes
 * and scales are unpacked once for all tokens. Offsets of codes come off at the start: sums begin at -offset * (sum
 * of four activations). (One token times Q8_0 or NVFP4 is AVX2's: it reads them as fast as memory gives them.) */
#include <immintrin.h>
#include <string.h>

#include "cpu/registry.h"
#include "cpu/x86/eight_32_avx2.h"
#include "cpu/x86/rows_avx512.h"

/* The codes of two blocks: of each the low halves of 16 bytes, then the high ones */
INLINE __m512i nibbles(const uint8_t a[16], const uint8_t b[16]) {
    const __m512i shift = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    __m512i q = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)a));
    q = _mm512_mask_broadcast_i32x4(q, 0xff00, _mm_loadu_si128((const void *)b));
    return _mm512_and_si512(_mm512_srlv_epi64(q, shift), _mm512_set1_epi8(15));
}
INLINE __m512i with_fifth(__m512i q, const uint8_t a[4], const uint8_t b[4]) {
    uint64_t bits = block_u32(a) | (uint64_t)block_u32(b) << 32;
    return _mm512_mask_add_epi8(q, bits, q, _mm512_set1_epi8(16));
}
/* Signed codes by a table, `offset` added */
INLINE __m512i by_table(const int8_t table[16], int offset, __m512i q) {
    __m128i t = _mm_add_epi8(_mm_loadu_si128((const void *)table), _mm_set1_epi8((char)offset));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), q);
}

/* Codes -128..127 with 128 added */
INLINE __m512i signed_codes(const int8_t a[32], const int8_t b[32]) {
    __m512i q = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)a));
    q = _mm512_inserti64x4(q, _mm256_loadu_si256((const void *)b), 1);
    return _mm512_xor_si512(q, _mm512_set1_epi8((char)0x80));
}

#define CODES(name, ...)                                                                                             \
    INLINE __m512i codes_##name(const block_##name *a, const block_##name *b) { return __VA_ARGS__; }
CODES(q4_0, nibbles(a->qs, b->qs))
CODES(q4_1, nibbles(a->qs, b->qs))
CODES(q5_0, with_fifth(nibbles(a->qs, b->qs), a->qh, b->qh))
CODES(q5_1, with_fifth(nibbles(a->qs, b->qs), a->qh, b->qh))
CODES(iq4_nl, by_table(quant_codes_iq4, 128, nibbles(a->qs, b->qs)))
CODES(q8_0, signed_codes(a->qs, b->qs))
CODES(mxfp4, by_table(quant_codes_fp4, 12, nibbles(a->qs, b->qs)))

/* Lane j is the sum of block j; v[j]: block j in the lower half, j + 4 in the upper. */
INLINE __m256i sum_blocks(const __m512i v[4]) {
    __m512i c = rows_columns(v);
    __m256i low = _mm512_castsi512_si256(c), high = _mm512_extracti64x4_epi64(c, 1);
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

/* ---- eight blocks of a row times n tokens */

#define HALF_SCALES(b) EIGHT_HALVES(b, d)
#define NO_MINIMA(b)
#define MINIMA(b)                                                                                                    \
    __m256 m = EIGHT_HALVES(b, m);                                                                                   \
    UNROLL for (int t = 0; t < n; t++) acc[t] = add_products(m, x[t], load_s32(x[t]), acc[t]);
#define EIGHT(name, scales, minima)                                                                                  \
    INLINE void blocks_##name(const block_##name *b, size_t n_blocks, const cpu_group *const *x, const inputs *in,   \
                              int n, __m256 *acc) {                                                                  \
        (void)n_blocks;                                                                                              \
        __m512i code[4], v[4];                                                                                       \
        UNROLL for (int j = 0; j < 4; j++) code[j] = codes_##name(b + j, b + j + 4);                                 \
        __m256 d = scales(b);                                                                                        \
        UNROLL for (int t = 0; t < n; t++) {                                                                         \
            UNROLL for (int j = 0; j < 4; j++) v[j] = _mm512_dpbusd_epi32(in[t].start[j], code[j], in[t].x[j]);      \
            acc[t] = add_products(d, x[t], sum_blocks(v), acc[t]);                                                   \
        }                                                                                                            \
        minima(b)                                                                                                    \
    }
EIGHT(q4_0, HALF_SCALES, NO_MINIMA)
EIGHT(q4_1, HALF_SCALES, MINIMA)
EIGHT(q5_0, HALF_SCALES, NO_MINIMA)
EIGHT(q5_1, HALF_SCALES, MINIMA)
EIGHT(q8_0, HALF_SCALES, NO_MINIMA)
EIGHT(iq4_nl, HALF_SCALES, NO_MINIMA)
EIGHT(mxfp4, eight_powers, NO_MINIMA)

/* NVFP4: four blocks are a group of activations; the sums of runs 0 to 7, then those of runs 8 to 15, are the eight
 * accumulators' lanes. What is left of a row may end with half a group. */

/* The codes of a block: of each run the low halves of 8 bytes, then the high ones */
INLINE __m512i codes_nvfp4(const block_nvfp4 *b) {
    const __m512i runs = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    __m256i q = _mm256_loadu_si256((const void *)b->qs), low = _mm256_set1_epi8(15);
    __m256i l = _mm256_and_si256(q, low), h = _mm256_and_si256(_mm256_srli_epi16(q, 4), low);
    __m512i index = _mm512_permutex2var_epi64(_mm512_castsi256_si512(l), runs, _mm512_castsi256_si512(h));
    return by_table(quant_codes_fp4, 12, index);
}

INLINE __m256 add_runs(const float *d, const cpu_group *x, int half, __m256i sum, __m256 acc) {
    __m256 dx = _mm256_castps128_ps256(_mm_load_ps(x->d + 4 * half));
    dx = _mm256_permutevar8x32_ps(dx, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_loadu_ps(d), dx), _mm256_cvtepi32_ps(sum), acc);
}

INLINE void blocks_nvfp4(const block_nvfp4 *b, size_t n_blocks, const cpu_group *const *x, const inputs *in, int n,
                         __m256 *acc) {
    const __m512i by_block = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i code[4], v[4];
    float d[16];
    UNROLL for (int j = 0; j < 4; j++) code[j] = codes_nvfp4(b + j);
    for (int j = 0; j < 16; j++) d[j] = block_ue4m3_half(b[j / 4].d[j % 4]);
    UNROLL for (int t = 0; t < n; t++) {
        UNROLL for (int j = 0; j < 4; j++) v[j] = _mm512_dpbusd_epi32(in[t].start[j], code[j], in[t].x[j]);
        __m512i sums = _mm512_permutexvar_epi32(by_block, rows_columns(v));
        acc[t] = add_runs(d, x[t], 0, _mm512_castsi512_si256(sums), acc[t]);
        if (n_blocks > 2) acc[t] = add_runs(d + 8, x[t], 1, _mm512_extracti64x4_epi64(sums, 1), acc[t]);
    }
}

/* ---- rows: one by one in a loop that is not unrolled, which is no slower and keeps code and compile time small */

#define ONE_BY_ONE _Pragma("GCC unroll 1")

/* What is left of a row is copied to zeros, whose products are -0 (table.h) and change nothing; so nothing is read
 * beyond a row. The last row stands in for rows that there are not. `group`: blocks that go together. */
#define TIMES(name, group, how, offset)                                                                              \
    INLINE void four_rows_##name(const uint8_t *const p[ROWS], size_t ahead, size_t n_blocks, const cpu_group **x,   \
                                 int n, __m256 acc[ROWS][MANY]) {                                                    \
        inputs in[MANY];                                                                                             \
        block_##name rest[group];                                                                                    \
        memset(rest, 0, sizeof rest);                                                                                \
        for (size_t i = 0; i < n_blocks; i += group) {                                                               \
            size_t left = n_blocks - i < group ? n_blocks - i : group;                                               \
            UNROLL for (int t = 0; t < n; t++) in[t] = rows_inputs(x[t], how, offset);                               \
            ONE_BY_ONE for (int r = 0; r < ROWS; r++) {                                                              \
                const block_##name *b = (const block_##name *)(const void *)p[r] + i;                                \
                rows_prefetch((const uint8_t *)b, ahead, group * sizeof *b);                                         \
                if (left < group) b = memcpy(rest, b, left * sizeof *b);                                             \
                blocks_##name(b, left, x, in, n, acc[r]);                                                            \
            }                                                                                                        \
            UNROLL for (int t = 0; t < n; t++) x[t]++;                                                               \
        }                                                                                                            \
    }                                                                                                                \
    INLINE void times_##name(const matrix *w, size_t row, size_t n_rows, const uint8_t *x, size_t stride, int n,     \
                             float *out, size_t ldo) {                                                               \
        for (size_t r = 0; r < n_rows; r += ROWS) {                                                                  \
            const uint8_t *p[ROWS];                                                                                  \
            const cpu_group *groups[MANY];                                                                           \
            __m256 acc[ROWS][MANY];                                                                                  \
            size_t left = n_rows - r < ROWS ? n_rows - r : ROWS;                                                     \
            for (size_t k = 0; k < ROWS; k++) p[k] = w->data + (row + r + (k < left ? k : left - 1)) * w->row_bytes; \
            UNROLL for (int t = 0; t < n; t++) {                                                                     \
                groups[t] = (const void *)(x + (size_t)t * stride);                                                  \
                UNROLL for (int k = 0; k < ROWS; k++) acc[k][t] = _mm256_setzero_ps();                               \
            }                                                                                                        \
            four_rows_##name(p, ROWS * w->row_bytes, w->n_cols / w->format->block, groups, n, acc);                  \
            for (int t = 0; t < n; t++)                                                                              \
                for (size_t k = 0; k < left; k++) out[(size_t)t * ldo + r + k] = add_in_order(acc[k][t]);            \
        }                                                                                                            \
    }                                                                                                                \
    ROWS_FOR_FEW(name)
TIMES(q4_0, 8, HALVES, 8)
TIMES(q4_1, 8, HALVES, 0)
TIMES(q5_0, 8, HALVES, 16)
TIMES(q5_1, 8, HALVES, 0)
TIMES(q8_0, 8, HALVES, 128)
TIMES(iq4_nl, 8, HALVES, 128)
TIMES(mxfp4, 8, HALVES, 12)
TIMES(nvfp4, 4, IN_ORDER, 12)

ROWS_FOR_ONE(q4_0)
ROWS_FOR_ONE(q4_1)
ROWS_FOR_ONE(q5_0)
ROWS_FOR_ONE(q5_1)
ROWS_FOR_ONE(iq4_nl)
ROWS_FOR_ONE(mxfp4)
