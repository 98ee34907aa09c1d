/* Sixteen floats in two AVX2 registers: the vocabulary that the templates in ../tmpl are written in. Lane j is the
 * contract's lane j. Knows no formula but the order of the sum's tree. */
#ifndef FACET_CPU_X86_LANES_AVX2_H
#define FACET_CPU_X86_LANES_AVX2_H

#include <immintrin.h>

#include "cpu/table.h"

#define LANES_NAME(name) name##_avx2
/* For functions whose small arrays of lanes must become registers. */
#define LANES_INLINE static inline __attribute__((always_inline))
enum { LANES_TILE_ROWS = 2, LANES_TILE_COLS = 3 }; /* of sums in registers, beside what they are made from */

typedef struct lanes {
    __m256 a, b;
} lanes;

LANES_INLINE lanes lanes_of(float v) { return (lanes){_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
LANES_INLINE lanes lanes_load(const float *p) { return (lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LANES_INLINE void lanes_store(float *p, lanes v) {
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}

/* The first n < 16 lanes; the others are 0 and are not touched in memory. */
LANES_INLINE __m256i lanes_mask8(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
LANES_INLINE lanes lanes_load_part(const float *p, size_t n) {
    __m256i m = lanes_mask8(n);
    if (n <= 8) return (lanes){_mm256_maskload_ps(p, m), _mm256_setzero_ps()};
    return (lanes){_mm256_loadu_ps(p), _mm256_maskload_ps(p + 8, lanes_mask8(n - 8))};
}
LANES_INLINE void lanes_store_part(float *p, lanes v, size_t n) {
    if (n <= 8) {
        _mm256_maskstore_ps(p, lanes_mask8(n), v.a);
        return;
    }
    _mm256_storeu_ps(p, v.a);
    _mm256_maskstore_ps(p + 8, lanes_mask8(n - 8), v.b);
}

#define LANES_BINARY(name, op)                                                                                       \
    LANES_INLINE lanes lanes_##name(lanes x, lanes y) { return (lanes){op(x.a, y.a), op(x.b, y.b)}; }
LANES_BINARY(add, _mm256_add_ps)
LANES_BINARY(sub, _mm256_sub_ps)
LANES_BINARY(mul, _mm256_mul_ps)
LANES_BINARY(div, _mm256_div_ps)
LANES_BINARY(max, _mm256_max_ps) /* x > y ? x : y, as math_max */
LANES_BINARY(min, _mm256_min_ps)
#undef LANES_BINARY

LANES_INLINE lanes lanes_fma(lanes x, lanes y, lanes z) {
    return (lanes){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
LANES_INLINE lanes lanes_fnma(lanes x, lanes y, lanes z) { /* -x * y + z */
    return (lanes){_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}

LANES_INLINE __m256 lanes_sign_bit(void) { return _mm256_set1_ps(-0.0f); }
LANES_INLINE lanes lanes_abs(lanes x) {
    return (lanes){_mm256_andnot_ps(lanes_sign_bit(), x.a), _mm256_andnot_ps(lanes_sign_bit(), x.b)};
}
/* magnitude of x >= 0 with the sign of s */
LANES_INLINE lanes lanes_with_sign(lanes x, lanes s) {
    return (lanes){_mm256_or_ps(x.a, _mm256_and_ps(lanes_sign_bit(), s.a)),
                   _mm256_or_ps(x.b, _mm256_and_ps(lanes_sign_bit(), s.b))};
}
/* x < y ? yes : no */
LANES_INLINE lanes lanes_if_less(lanes x, lanes y, lanes yes, lanes no) {
    return (lanes){_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                   _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}

/* p * 2^k in two factors, k the low nine bits of t as a signed number: the end of math_exp */
LANES_INLINE __m256 lanes_scale8(__m256 p, __m256 t) {
    __m256i k = _mm256_slli_epi32(_mm256_castps_si256(t), 23), bias = _mm256_set1_epi32(127);
    __m256i half = _mm256_srai_epi32(k, 24), rest = _mm256_sub_epi32(_mm256_srai_epi32(k, 23), half);
    __m256i x = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i y = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(x)), _mm256_castsi256_ps(y));
}
LANES_INLINE lanes lanes_scale(lanes p, lanes t) { return (lanes){lanes_scale8(p.a, t.a), lanes_scale8(p.b, t.b)}; }

/* The tree: j + 8, + 4, + 2, + 1 */
LANES_INLINE float lanes_sum(lanes v) {
    __m256 x = _mm256_add_ps(v.a, v.b);
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}
/* The largest; NaNs are passed over where the other side is a number. */
LANES_INLINE float lanes_largest(lanes v) {
    __m256 x = _mm256_max_ps(v.a, v.b);
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

/* Sixteen stored numbers as floats, any alignment. */
LANES_INLINE lanes lanes_load_f32(const uint8_t *p) { return lanes_load((const float *)(const void *)p); }
LANES_INLINE lanes lanes_load_f16(const uint8_t *p) {
    return (lanes){_mm256_cvtph_ps(_mm_loadu_si128((const void *)p)),
                   _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 16)))};
}
LANES_INLINE __m256 lanes_bf16(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}
LANES_INLINE lanes lanes_load_bf16(const uint8_t *p) {
    return (lanes){lanes_bf16(_mm_loadu_si128((const void *)p)), lanes_bf16(_mm_loadu_si128((const void *)(p + 16)))};
}
/* d times sixteen codes */
LANES_INLINE lanes lanes_load_q8(const int8_t *q, float d) {
    __m128i v = _mm_loadu_si128((const void *)q);
    __m256 s = _mm256_set1_ps(d);
    return (lanes){_mm256_mul_ps(s, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v))),
                   _mm256_mul_ps(s, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))))};
}
LANES_INLINE float lanes_half(const uint8_t p[2]) {
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(p[0] | p[1] << 8)));
}
LANES_INLINE void lanes_store_f16(uint8_t *p, lanes v) {
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((void *)(p + 16), _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}

#endif
