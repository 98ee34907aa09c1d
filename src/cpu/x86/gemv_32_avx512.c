/* One token times rows of 32 blocks with four-bit and five-bit codes, AVX-512 with VNNI (contract, rule 1). Eight
 * blocks at a time, as in gemv_32_avx2.c: their integer sums are the lanes of the contract's eight accumulators.
 * Block j and block j + 4 share a register; four rows go side by side, so that the activations are put together once.
 * Offsets of codes come off at the start: sums begin at -offset * (sum of four activations). (Q8_0's codes need no
 * unpacking: AVX2 reads them as fast as memory gives them.) */
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

#define CODES(name, ...)                                                                                             \
    INLINE __m512i codes_##name(const block_##name *a, const block_##name *b) { return __VA_ARGS__; }
CODES(q4_0, nibbles(a->qs, b->qs))
CODES(q4_1, nibbles(a->qs, b->qs))
CODES(q5_0, with_fifth(nibbles(a->qs, b->qs), a->qh, b->qh))
CODES(q5_1, with_fifth(nibbles(a->qs, b->qs), a->qh, b->qh))
CODES(iq4_nl, by_table(quant_codes_iq4, 128, nibbles(a->qs, b->qs)))
CODES(mxfp4, by_table(quant_codes_fp4, 12, nibbles(a->qs, b->qs)))

/* Lane j is the sum of block j; v[j]: block j in the lower half, j + 4 in the upper. */
INLINE __m256i sum_blocks(const __m512i v[4]) {
    __m512i c = rows_columns(v);
    __m256i low = _mm512_castsi512_si256(c), high = _mm512_extracti64x4_epi64(c, 1);
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

/* What is left of a row is copied to zeros, whose products are -0 (table.h) and change nothing; so nothing is read
 * beyond a row. The last row stands in for rows that there are not. */
#define HALF_SCALES(b) EIGHT_HALVES(b, d)
#define NO_MINIMA(b)   acc
#define MINIMA(b)      add_products(EIGHT_HALVES(b, m), x, load_s32(x), acc)
#define GEMV(name, offset, scales, minima)                                                                           \
    INLINE __m256 eight_##name(const block_##name *b, const cpu_group *x, const inputs *in, __m256 acc) {            \
        __m512i v[4];                                                                                                \
        UNROLL for (int j = 0; j < 4; j++) v[j] =                                                                    \
            _mm512_dpbusd_epi32(in->start[j], codes_##name(b + j, b + j + 4), in->x[j]);                             \
        acc = add_products(scales(b), x, sum_blocks(v), acc);                                                        \
        return minima(b);                                                                                            \
    }                                                                                                                \
    INLINE void rows_##name(const uint8_t *const p[ROWS], size_t ahead, size_t n, const cpu_group *x, float *out) {  \
        __m256 acc[ROWS];                                                                                            \
        for (int r = 0; r < ROWS; r++) acc[r] = _mm256_setzero_ps();                                                 \
        size_t i = 0;                                                                                                \
        for (; i + 8 <= n; i += 8, x++) {                                                                            \
            inputs in = rows_inputs(x, HALVES, offset);                                                              \
            UNROLL for (int r = 0; r < ROWS; r++) {                                                                  \
                const block_##name *b = (const block_##name *)(const void *)p[r] + i;                                \
                rows_prefetch((const uint8_t *)b, ahead, 8 * sizeof *b);                                             \
                acc[r] = eight_##name(b, x, &in, acc[r]);                                                            \
            }                                                                                                        \
        }                                                                                                            \
        if (i < n) {                                                                                                 \
            inputs in = rows_inputs(x, HALVES, offset);                                                              \
            for (int r = 0; r < ROWS; r++) {                                                                         \
                block_##name last[8];                                                                                \
                memset(last, 0, sizeof last);                                                                        \
                memcpy(last, p[r] + i * sizeof *last, (n - i) * sizeof *last);                                       \
                acc[r] = eight_##name(last, x, &in, acc[r]);                                                         \
            }                                                                                                        \
        }                                                                                                            \
        for (int r = 0; r < ROWS; r++) out[r] = add_in_order(acc[r]);                                                \
    }                                                                                                                \
    void gemv_##name##_avx512(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {               \
        for (size_t r = 0; r < n_rows; r += ROWS) {                                                                  \
            const uint8_t *p[ROWS];                                                                                  \
            float four[ROWS];                                                                                        \
            size_t left = n_rows - r < ROWS ? n_rows - r : ROWS;                                                     \
            for (size_t k = 0; k < ROWS; k++) p[k] = w->data + (row + r + (k < left ? k : left - 1)) * w->row_bytes; \
            rows_##name(p, ROWS * w->row_bytes, w->n_cols / 32, x, four);                                            \
            memcpy(out + r, four, left * sizeof *out);                                                               \
        }                                                                                                            \
    }
GEMV(q4_0, 8, HALF_SCALES, NO_MINIMA)
GEMV(q4_1, 0, HALF_SCALES, MINIMA)
GEMV(q5_0, 16, HALF_SCALES, NO_MINIMA)
GEMV(q5_1, 0, HALF_SCALES, MINIMA)
GEMV(iq4_nl, 128, HALF_SCALES, NO_MINIMA)
GEMV(mxfp4, 12, eight_powers, NO_MINIMA)
