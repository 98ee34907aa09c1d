/* One token times rows of 32 blocks with four-bit and five-bit codes, AVX-512 with VNNI (contract, rule 1). Eight
 * blocks at a time, as in gemv_32_avx2.c: their integer sums are the lanes of the contract's eight accumulators.
 * Block j and block j + 4 share a register; four rows go side by side, so that the activations are put together once.
 * Offsets of codes come off at the start: sums begin at -offset * (sum of four activations). (Q8_0's codes need no
 * unpacking: AVX2 reads them as fast as memory gives them.) */
#include <immintrin.h>
#include <string.h>

#include "cpu/registry.h"
#include "quant/blocks.h"

#define INLINE static inline __attribute__((always_inline))
enum { ROWS = 4 };

/* Activations of blocks j and j + 4, and where their sums begin. */
typedef struct inputs {
    __m512i x[4], start[4];
} inputs;

INLINE inputs load_inputs(const cpu_group *g, int offset) {
    inputs in;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i zero = _mm512_setzero_si512();
        in.x[j] = _mm512_castsi256_si512(_mm256_load_si256((const void *)(g->q + 32 * j)));
        in.x[j] = _mm512_inserti64x4(in.x[j], _mm256_load_si256((const void *)(g->q + 128 + 32 * j)), 1);
        in.start[j] = zero;
        if (offset)
            in.start[j] = _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, _mm512_set1_epi8((char)offset), in.x[j]));
    }
    return in;
}

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
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    __m512i c = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    __m256i low = _mm512_castsi512_si256(c), high = _mm512_extracti64x4_epi64(c, 1);
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

#define EIGHT_HALVES(b, d)                                                                                           \
    _mm256_cvtph_ps(_mm_setr_epi16((short)block_u16((b)[0].d), (short)block_u16((b)[1].d),                           \
                                   (short)block_u16((b)[2].d), (short)block_u16((b)[3].d),                           \
                                   (short)block_u16((b)[4].d), (short)block_u16((b)[5].d),                           \
                                   (short)block_u16((b)[6].d), (short)block_u16((b)[7].d)))

/* block_e8m0_half of eight */
INLINE __m256 eight_powers(const block_mxfp4 *b) {
    __m128i bytes = _mm_setr_epi8((char)b[0].e, (char)b[1].e, (char)b[2].e, (char)b[3].e, (char)b[4].e, (char)b[5].e,
                                  (char)b[6].e, (char)b[7].e, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i e = _mm256_cvtepu8_epi32(bytes), one = _mm256_set1_epi32(1);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
    return _mm256_castsi256_ps(_mm256_mask_mov_epi32(normal, _mm256_cmple_epu32_mask(e, one), tiny));
}

/* acc[j] = fmaf(d[j] * d_x[j], sum[j], acc[j]) */
INLINE __m256 add_products(__m256 d, const cpu_group *x, __m256i sum, __m256 acc) {
    return _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_loadu_ps(x->d)), _mm256_cvtepi32_ps(sum), acc);
}
INLINE __m256i load_s32(const cpu_group *x) { return _mm256_cvtepi16_epi32(_mm_load_si128((const void *)x->s32)); }

/* 0..7 in order */
INLINE float add_in_order(__m256 acc) {
    float a[8];
    _mm256_storeu_ps(a, acc);
    float sum = a[0];
    for (int i = 1; i < 8; i++) sum += a[i];
    return sum;
}

INLINE void prefetch(const void *p, size_t ahead, size_t n) {
    for (size_t k = 0; k < n; k += 64) _mm_prefetch((const char *)((uintptr_t)p + ahead + k), _MM_HINT_T0);
}

/* What is left of a row is copied to zeros, whose products are -0 (table.h) and change nothing; so nothing is read
 * beyond a row. The last row stands in for rows that there are not. */
#define HALVES(b)    EIGHT_HALVES(b, d)
#define NO_MINIMA(b) acc
#define MINIMA(b)    add_products(EIGHT_HALVES(b, m), x, load_s32(x), acc)
#define GEMV(name, offset, scales, minima)                                                                           \
    INLINE __m256 eight_##name(const block_##name *b, const cpu_group *x, const inputs *in, __m256 acc) {            \
        __m512i v[4];                                                                                                \
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) v[j] =                                                   \
            _mm512_dpbusd_epi32(in->start[j], codes_##name(b + j, b + j + 4), in->x[j]);                             \
        acc = add_products(scales(b), x, sum_blocks(v), acc);                                                        \
        return minima(b);                                                                                            \
    }                                                                                                                \
    INLINE void rows_##name(const uint8_t *const p[ROWS], size_t ahead, size_t n, const cpu_group *x, float *out) {  \
        __m256 acc[ROWS];                                                                                            \
        for (int r = 0; r < ROWS; r++) acc[r] = _mm256_setzero_ps();                                                 \
        size_t i = 0;                                                                                                \
        for (; i + 8 <= n; i += 8, x++) {                                                                            \
            inputs in = load_inputs(x, offset);                                                                      \
            _Pragma("GCC unroll 4") for (int r = 0; r < ROWS; r++) {                                                 \
                const block_##name *b = (const block_##name *)(const void *)p[r] + i;                                \
                prefetch(b, ahead, 8 * sizeof *b);                                                                   \
                acc[r] = eight_##name(b, x, &in, acc[r]);                                                            \
            }                                                                                                        \
        }                                                                                                            \
        if (i < n) {                                                                                                 \
            inputs in = load_inputs(x, offset);                                                                      \
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
GEMV(q4_0, 8, HALVES, NO_MINIMA)
GEMV(q4_1, 0, HALVES, MINIMA)
GEMV(q5_0, 16, HALVES, NO_MINIMA)
GEMV(q5_1, 0, HALVES, MINIMA)
GEMV(iq4_nl, 128, HALVES, NO_MINIMA)
GEMV(mxfp4, 12, eight_powers, NO_MINIMA)
