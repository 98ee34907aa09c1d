/* One token times rows of 256 blocks, AVX2 (contract, rule 1). Rows are read once, in the file's own layout, with
 * prefetch: decoding is bound by memory. Codes are used unsigned (maddubs wants one side so) and the offset comes off
 * through the sums of the activations; sub-scales are spread by a byte shuffle; each block ends with one small
 * horizontal sum and the contract's fmaf. Rows in the lanes instead would halve the speed: eight streams at once
 * defeat the prefetcher.
 *
 * Nothing saturates: activations are at most 127 in magnitude, so a pair of products is at most 2 * 127 * 127 (IQ4)
 * in 16 bits. */
#include <immintrin.h>
#include <string.h>

#include "cpu/registry.h"
#include "cpu/x86/unpack_256_avx2.h"

enum { PREFETCH = 2048 }; /* bytes ahead; crossing the end of the matrix is harmless */

/* The integers of one block: to be added up over all lanes. */
typedef struct sums {
    __m256i isum, msum;
} sums;

static inline __m256i load32(const void *p) { return _mm256_loadu_si256(p); }
static inline __m256i load_q(const cpu_group *x, int j) {
    return _mm256_load_si256((const __m256i *)(const void *)(x->q + 32 * j));
}
static inline __m256i load_s16(const cpu_group *x) {
    return _mm256_load_si256((const __m256i *)(const void *)x->s16);
}

/* 16-bit scale j of 8 (twice in `sc`) in every lane */
static inline __m256i spread_32(__m256i sc, int j) {
    return _mm256_shuffle_epi8(sc, _mm256_set1_epi16((short)(0x0100 + 0x0202 * j)));
}
/* 16 scales as 16-bit numbers, the even ones in the low half, so that spread_32 gives scale 2j below and 2j + 1 above
 */
static inline __m256i even_odd(__m128i scales) {
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, order));
}
/* += scale * (codes . x) */
static inline __m256i add_scaled(__m256i acc, __m256i unsigned_codes, __m256i x, __m256i scale) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned_codes, x), scale));
}

/* ---- per format */

static inline __m256i k_minima(__m128i scales, const cpu_group *x) {
    __m128i m = _mm_cvtepu8_epi16(_mm_unpackhi_epi64(scales, scales));
    return _mm256_zextsi128_si256(_mm_madd_epi16(m, _mm_load_si128((const __m128i *)(const void *)x->s32)));
}

static inline sums sums_q4_k(const block_q4_k *b, const cpu_group *x) {
    const __m256i low = _mm256_set1_epi8(15);
    __m128i scales = k_scales(b->scales);
    __m256i sc = _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(scales));
    __m256i a0 = _mm256_setzero_si256(), a1 = a0;
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
        __m256i q = load32(b->qs + 32 * r);
        __m256i high = _mm256_and_si256(_mm256_srli_epi16(q, 4), low);
        a0 = add_scaled(a0, _mm256_and_si256(q, low), load_q(x, 2 * r), spread_32(sc, 2 * r));
        a1 = add_scaled(a1, high, load_q(x, 2 * r + 1), spread_32(sc, 2 * r + 1));
    }
    return (sums){_mm256_add_epi32(a0, a1), k_minima(scales, x)};
}

/* Bit j of each byte as 16 */
static inline __m256i fifth_bit(__m256i qh, int j) {
    __m256i bit = _mm256_set1_epi8((char)(1 << j));
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(qh, bit), bit), _mm256_set1_epi8(16));
}

static inline sums sums_q5_k(const block_q5_k *b, const cpu_group *x) {
    const __m256i low = _mm256_set1_epi8(15);
    __m128i scales = k_scales(b->scales);
    __m256i sc = _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(scales)), qh = load32(b->qh);
    __m256i a0 = _mm256_setzero_si256(), a1 = a0;
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
        __m256i q = load32(b->qs + 32 * r);
        __m256i c0 = _mm256_or_si256(_mm256_and_si256(q, low), fifth_bit(qh, 2 * r));
        __m256i c1 = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(q, 4), low), fifth_bit(qh, 2 * r + 1));
        a0 = add_scaled(a0, c0, load_q(x, 2 * r), spread_32(sc, 2 * r));
        a1 = add_scaled(a1, c1, load_q(x, 2 * r + 1), spread_32(sc, 2 * r + 1));
    }
    return (sums){_mm256_add_epi32(a0, a1), k_minima(scales, x)};
}

/* sum of scale * (sum of x), by 16 */
static inline __m256i offset_sum(__m128i scales, const cpu_group *x) {
    return _mm256_madd_epi16(_mm256_cvtepi8_epi16(scales), load_s16(x));
}

static inline sums sums_q6_k(const block_q6_k *b, const cpu_group *x) {
    const __m256i low = _mm256_set1_epi8(15), upper = _mm256_set1_epi8(0x30);
    __m128i scales = _mm_loadu_si128((const void *)b->scales);
    __m256i sc = even_odd(scales), a0 = _mm256_setzero_si256(), a1 = a0;
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i q0 = load32(b->ql + 64 * h), q1 = load32(b->ql + 64 * h + 32), qh = load32(b->qh + 32 * h);
        __m256i c0 = _mm256_or_si256(_mm256_and_si256(q0, low), _mm256_and_si256(_mm256_slli_epi16(qh, 4), upper));
        __m256i c1 = _mm256_or_si256(_mm256_and_si256(q1, low), _mm256_and_si256(_mm256_slli_epi16(qh, 2), upper));
        __m256i c2 = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(q0, 4), low), _mm256_and_si256(qh, upper));
        __m256i c3 = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(q1, 4), low),
                                     _mm256_and_si256(_mm256_srli_epi16(qh, 2), upper));
        a0 = add_scaled(a0, c0, load_q(x, 4 * h), spread_32(sc, 4 * h));
        a1 = add_scaled(a1, c1, load_q(x, 4 * h + 1), spread_32(sc, 4 * h + 1));
        a0 = add_scaled(a0, c2, load_q(x, 4 * h + 2), spread_32(sc, 4 * h + 2));
        a1 = add_scaled(a1, c3, load_q(x, 4 * h + 3), spread_32(sc, 4 * h + 3));
    }
    __m256i offset = _mm256_slli_epi32(offset_sum(scales, x), 5);
    return (sums){_mm256_sub_epi32(_mm256_add_epi32(a0, a1), offset), _mm256_setzero_si256()};
}

/* Two-bit codes j of half h */
static inline __m256i two_bits(__m256i q, int j) {
    return _mm256_and_si256(_mm256_srli_epi16(q, 2 * j), _mm256_set1_epi8(3));
}

static inline sums sums_q2_k(const block_q2_k *b, const cpu_group *x) {
    __m128i both = _mm_loadu_si128((const void *)b->scales), low = _mm_set1_epi8(15);
    __m256i sc = even_odd(_mm_and_si128(both, low)), acc = _mm256_setzero_si256();
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i q = load32(b->qs + 32 * h);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            acc = add_scaled(acc, two_bits(q, j), load_q(x, 4 * h + j), spread_32(sc, 4 * h + j));
    }
    __m128i minima = _mm_and_si128(_mm_srli_epi16(both, 4), low);
    return (sums){acc, offset_sum(minima, x)};
}

static inline sums sums_q3_k(const block_q3_k *b, const cpu_group *x) {
    __m128i scales = q3_k_scales(b->scales);
    __m256i sc = even_odd(scales), mask = load32(b->hmask), acc = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m256i q = two_bits(load32(b->qs + 32 * (j / 4)), j % 4), bit = _mm256_set1_epi8((char)(1 << j));
        __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(mask, bit), bit);
        q = _mm256_or_si256(q, _mm256_and_si256(set, _mm256_set1_epi8(4)));
        acc = add_scaled(acc, q, load_q(x, j), spread_32(sc, j));
    }
    __m256i offset = _mm256_slli_epi32(offset_sum(scales, x), 2);
    return (sums){_mm256_sub_epi32(acc, offset), _mm256_setzero_si256()};
}

/* Signed codes: their magnitudes, and the activations with their signs. */
static inline __m256i add_signed(__m256i acc, __m256i codes, __m256i x, __m256i scale) {
    return add_scaled(acc, _mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes), scale);
}

static inline sums sums_iq4_xs(const block_iq4_xs *b, const cpu_group *x) {
    const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)quant_codes_iq4));
    __m256i sc = _mm256_broadcastsi128_si256(_mm_cvtepi8_epi16(iq4_xs_scales(b)));
    __m256i acc = _mm256_setzero_si256(), low = _mm256_set1_epi8(15);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m128i q = _mm_loadu_si128((const void *)b->qs[j]);
        __m256i index = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), low);
        acc = add_signed(acc, _mm256_shuffle_epi8(table, index), load_q(x, j), spread_32(sc, j));
    }
    return (sums){acc, _mm256_setzero_si256()};
}

/* Ternary codes 0..2: a pair of products is at most 2 * 127 * 3 (two bits may say 3), eight of them fit 16 bits. */
static inline sums sums_tq2_0(const block_tq2_0 *b, const cpu_group *x) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i pairs = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m256i codes = two_bits(load32(b->qs + 32 * (j / 4)), j % 4);
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes, load_q(x, j)));
    }
    __m256i sum = _mm256_madd_epi16(_mm256_sub_epi16(pairs, load_s16(x)), one);
    return (sums){sum, _mm256_setzero_si256()};
}

static inline sums sums_tq1_0(const block_tq1_0 *b, const cpu_group *x) {
    static const int power[5] = {1, 3, 9, 27, 81};
    const __m256i one = _mm256_set1_epi16(1);
    __m256i first = load32(b->qs), pairs = _mm256_setzero_si256(), halves[5];
    __m256i second = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)(b->qs + 32)));
    __m256i last = _mm256_set1_epi32((int)block_u32(b->qh)), ends[4];
#pragma GCC unroll 5
    for (int j = 0; j < 5; j++) {
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(digits(first, power[j]), load_q(x, j)));
        halves[j] = digits(second, power[j]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) ends[j] = digits(last, power[j]);
    __m256i tail = _mm256_castsi128_si256(
        _mm_unpacklo_epi64(_mm_unpacklo_epi32(_mm256_castsi256_si128(ends[0]), _mm256_castsi256_si128(ends[1])),
                           _mm_unpacklo_epi32(_mm256_castsi256_si128(ends[2]), _mm256_castsi256_si128(ends[3]))));
    __m256i c5 = _mm256_blend_epi32(halves[0], halves[1], 0xf0), c6 = _mm256_blend_epi32(halves[2], halves[3], 0xf0);
    __m256i c7 = _mm256_inserti128_si256(halves[4], _mm256_castsi256_si128(tail), 1);
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(c5, load_q(x, 5)));
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(c6, load_q(x, 6)));
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(c7, load_q(x, 7)));
    __m256i sum = _mm256_madd_epi16(pairs, one);
    return (sums){_mm256_sub_epi32(sum, _mm256_madd_epi16(load_s16(x), one)), _mm256_setzero_si256()};
}

/* ---- the end of a block */

static inline __m128i halves(__m256i v) {
    return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}
static inline __m128 half_to_float(const uint8_t *p) { return _mm_cvtph_ps(_mm_cvtsi32_si128(p[0] | p[1] << 8)); }

/* acc = fmaf(d * d_x, isum, acc) */
static inline __m128 end_plain(const uint8_t *d, sums s, const cpu_group *x, __m128 acc) {
    __m128i t = halves(s.isum);
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1));
    return _mm_fmadd_ss(_mm_mul_ss(half_to_float(d), _mm_load_ss(x->d)), _mm_cvtepi32_ps(t), acc);
}

/* and acc = fmaf(-(dmin * d_x), msum, acc) */
static inline __m128 end_minima(const uint8_t *d, const uint8_t *dmin, sums s, const cpu_group *x, __m128 acc) {
    __m128i t = _mm_hadd_epi32(halves(s.isum), halves(s.msum));
    __m128 f = _mm_cvtepi32_ps(_mm_hadd_epi32(t, t)), dx = _mm_load_ss(x->d);
    acc = _mm_fmadd_ss(_mm_mul_ss(half_to_float(d), dx), f, acc);
    return _mm_fnmadd_ss(_mm_mul_ss(half_to_float(dmin), dx), _mm_movehdup_ps(f), acc);
}

#define END_PLAIN  end_plain(b[i].d, s, groups + i, acc)
#define END_MINIMA end_minima(b[i].d, b[i].dmin, s, groups + i, acc)
#define GEMV(name, end)                                                                                              \
    void gemv_##name##_avx2(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {                 \
        const cpu_group *groups = x;                                                                                 \
        size_t n = w->n_cols / 256;                                                                                  \
        for (size_t r = 0; r < n_rows; r++) {                                                                        \
            const block_##name *b = (const void *)(w->data + (row + r) * w->row_bytes);                              \
            __m128 acc = _mm_setzero_ps();                                                                           \
            for (size_t i = 0; i < n; i++) {                                                                         \
                for (size_t k = 0; k < sizeof *b; k += 64)                                                           \
                    _mm_prefetch((const char *)(b + i) + PREFETCH + k, _MM_HINT_T0);                                 \
                sums s = sums_##name(b + i, groups + i);                                                             \
                acc = end;                                                                                           \
            }                                                                                                        \
            out[r] = _mm_cvtss_f32(acc);                                                                             \
        }                                                                                                            \
    }
GEMV(q2_k, END_MINIMA)
GEMV(q3_k, END_PLAIN)
GEMV(q4_k, END_MINIMA)
GEMV(q5_k, END_MINIMA)
GEMV(q6_k, END_PLAIN)
GEMV(iq4_xs, END_PLAIN)
GEMV(tq1_0, END_PLAIN)
GEMV(tq2_0, END_PLAIN)
