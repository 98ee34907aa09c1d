/* One token times rows of 32 blocks, AVX2 (contract, rule 1). Eight blocks at a time: their eight integer sums stand
 * in eight lanes, which are the contract's eight accumulators, so that scales, sums and one fma serve all. What is
 * left of a row is copied to zeros, whose products are -0 (table.h) and change nothing; so nothing is read beyond a
 * row. */
#include <immintrin.h>
#include <string.h>

#include "cpu/registry.h"
#include "cpu/x86/eight_32_avx2.h"

enum { PREFETCH = 2048 }; /* bytes ahead; crossing the end of the matrix is harmless */

static inline __m256i load_q(const cpu_group *x, int j) {
    return _mm256_load_si256((const __m256i *)(const void *)(x->q + 32 * j));
}
static inline __m256i dot_unsigned(__m256i codes, __m256i x) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), _mm256_set1_epi16(1));
}
/* codes -128..127: the magnitudes times the activations with the codes' signs; at most 2 * 128 * 127 a pair */
static inline __m256i dot_signed(__m256i codes, __m256i x) {
    return dot_unsigned(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes));
}

/* Lane j is the sum of v[j]'s lanes. */
static inline __m256i sum_each(const __m256i v[8]) {
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/* ---- codes per format */

static inline __m256i nibbles(const uint8_t qs[16]) {
    __m128i q = _mm_loadu_si128((const void *)qs);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}
/* Bit i of four bytes as 16 in byte i */
static inline __m256i fifth_bits(const uint8_t qh[4]) {
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)block_u32(qh)), which);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit), _mm256_set1_epi8(16));
}
static inline __m256i by_table(const uint8_t qs[16], const int8_t table[16]) {
    __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table));
    return _mm256_shuffle_epi8(t, nibbles(qs));
}

static inline __m256i dot_q4_0(const block_q4_0 *b, __m256i x) { return dot_unsigned(nibbles(b->qs), x); }
static inline __m256i dot_q4_1(const block_q4_1 *b, __m256i x) { return dot_unsigned(nibbles(b->qs), x); }
static inline __m256i dot_q5_0(const block_q5_0 *b, __m256i x) {
    return dot_unsigned(_mm256_or_si256(nibbles(b->qs), fifth_bits(b->qh)), x);
}
static inline __m256i dot_q5_1(const block_q5_1 *b, __m256i x) {
    return dot_unsigned(_mm256_or_si256(nibbles(b->qs), fifth_bits(b->qh)), x);
}
static inline __m256i dot_q8_0(const block_q8_0 *b, __m256i x) {
    return dot_signed(_mm256_loadu_si256((const void *)b->qs), x);
}
static inline __m256i dot_iq4_nl(const block_iq4_nl *b, __m256i x) {
    return dot_signed(by_table(b->qs, quant_codes_iq4), x);
}
static inline __m256i dot_mxfp4(const block_mxfp4 *b, __m256i x) {
    return dot_signed(by_table(b->qs, quant_codes_fp4), x);
}

/* ---- scales of eight blocks */

#define HALF_SCALES(name)                                                                                            \
    static inline __m256 scales_##name(const block_##name *b) { return EIGHT_HALVES(b, d); }
HALF_SCALES(q4_0)
HALF_SCALES(q4_1)
HALF_SCALES(q5_0)
HALF_SCALES(q5_1)
HALF_SCALES(q8_0)
HALF_SCALES(iq4_nl)
static inline __m256 scales_mxfp4(const block_mxfp4 *b) { return eight_powers(b); }

/* ---- `offset` is taken off every code; `minima` adds fmaf(m * d_x, sum of x, acc) */

#define NO_MINIMA(b) acc
#define MINIMA(b)    add_products(EIGHT_HALVES(b, m), x, load_s32(x), acc)
#define GEMV(name, offset, minima)                                                                                   \
    static inline __m256 eight_##name(const block_##name *b, const cpu_group *x, __m256 acc) {                       \
        __m256i v[8];                                                                                                \
        for (int j = 0; j < 8; j++) v[j] = dot_##name(b + j, load_q(x, j));                                          \
        __m256i sum = sum_each(v);                                                                                   \
        if (offset) sum = _mm256_sub_epi32(sum, _mm256_mullo_epi32(load_s32(x), _mm256_set1_epi32(offset)));         \
        acc = add_products(scales_##name(b), x, sum, acc);                                                           \
        return minima(b);                                                                                            \
    }                                                                                                                \
    void gemv_##name##_avx2(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {                 \
        const cpu_group *groups = x;                                                                                 \
        size_t n = w->n_cols / 32;                                                                                   \
        for (size_t r = 0; r < n_rows; r++) {                                                                        \
            const block_##name *b = (const void *)(w->data + (row + r) * w->row_bytes);                              \
            __m256 acc = _mm256_setzero_ps();                                                                        \
            size_t i = 0;                                                                                            \
            for (; i + 8 <= n; i += 8) {                                                                             \
                for (size_t k = 0; k < 8 * sizeof *b; k += 64)                                                       \
                    _mm_prefetch((const char *)(b + i) + PREFETCH + k, _MM_HINT_T0);                                 \
                acc = eight_##name(b + i, groups + i / 8, acc);                                                      \
            }                                                                                                        \
            if (i < n) {                                                                                             \
                block_##name last[8];                                                                                \
                memset(last, 0, sizeof last);                                                                        \
                memcpy(last, b + i, (n - i) * sizeof *b);                                                            \
                acc = eight_##name(last, groups + i / 8, acc);                                                       \
            }                                                                                                        \
            out[r] = add_in_order(acc);                                                                              \
        }                                                                                                            \
    }
GEMV(q4_0, 8, NO_MINIMA)
GEMV(q4_1, 0, MINIMA)
GEMV(q5_0, 16, NO_MINIMA)
GEMV(q5_1, 0, MINIMA)
GEMV(q8_0, 0, NO_MINIMA)
GEMV(iq4_nl, 0, NO_MINIMA)
GEMV(mxfp4, 0, NO_MINIMA)

/* ---- NVFP4: eight runs of 16, two blocks, half a group at a time */

/* Two runs: the first's 16 codes, then the second's */
static inline __m256i two_runs(const uint8_t qs[2][8]) {
    __m128i q = _mm_loadu_si128((const void *)qs), low = _mm_set1_epi8(15);
    __m128i l = _mm_and_si128(q, low), h = _mm_and_si128(_mm_srli_epi16(q, 4), low);
    __m256i index = _mm256_set_m128i(_mm_unpackhi_epi64(l, h), _mm_unpacklo_epi64(l, h));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)quant_codes_fp4)), index);
}

static inline __m256 eight_nvfp4(const block_nvfp4 *b, const cpu_group *x, int half, __m256 acc) {
    __m256i v[4];
    for (int j = 0; j < 4; j++) v[j] = dot_signed(two_runs(b[j / 2].qs + j % 2 * 2), load_q(x, 4 * half + j));
    __m256i sum = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    sum = _mm256_permutevar8x32_epi32(sum, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    float d[8];
    for (int j = 0; j < 8; j++) d[j] = block_ue4m3_half(b[j / 4].d[j % 4]);
    __m256 dx = _mm256_castps128_ps256(_mm_load_ps(x->d + 4 * half));
    dx = _mm256_permutevar8x32_ps(dx, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_loadu_ps(d), dx), _mm256_cvtepi32_ps(sum), acc);
}

void gemv_nvfp4_avx2(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {
    const cpu_group *groups = x;
    size_t n = w->n_cols / 64;
    for (size_t r = 0; r < n_rows; r++) {
        const block_nvfp4 *b = (const void *)(w->data + (row + r) * w->row_bytes);
        __m256 acc = _mm256_setzero_ps();
        size_t i = 0;
        for (; i + 2 <= n; i += 2) {
            _mm_prefetch((const char *)(b + i) + PREFETCH, _MM_HINT_T0);
            acc = eight_nvfp4(b + i, groups + i / 4, i / 2 % 2, acc);
        }
        if (i < n) {
            block_nvfp4 last[2] = {b[i]};
            acc = eight_nvfp4(last, groups + i / 4, i / 2 % 2, acc);
        }
        out[r] = add_in_order(acc);
    }
}
