/* Sixteen floats in one AVX-512 register: the vocabulary that the templates in ../tmpl are written in. Lane j is the
 * contract's lane j. Knows no formula but the order of the sum's tree. */
#ifndef FACET_CPU_X86_LANES_AVX512_H
#define FACET_CPU_X86_LANES_AVX512_H

#include <immintrin.h>

#include "cpu/table.h"

#define LANES_NAME(name) name##_avx512
/* For functions whose small arrays of lanes must become registers. */
#define LANES_INLINE static inline __attribute__((always_inline))
enum { LANES_TILE_ROWS = 4, LANES_TILE_COLS = 4 }; /* of sums in registers, beside what they are made from */

typedef __m512 lanes;

LANES_INLINE lanes lanes_of(float v) { return _mm512_set1_ps(v); }
LANES_INLINE lanes lanes_load(const float *p) { return _mm512_loadu_ps(p); }
LANES_INLINE void lanes_store(float *p, lanes v) { _mm512_storeu_ps(p, v); }

/* The first n < 16 lanes; the others are 0 and are not touched in memory. */
LANES_INLINE __mmask16 lanes_mask(size_t n) { return (__mmask16)((1u << n) - 1); }
LANES_INLINE lanes lanes_load_part(const float *p, size_t n) { return _mm512_maskz_loadu_ps(lanes_mask(n), p); }
LANES_INLINE void lanes_store_part(float *p, lanes v, size_t n) { _mm512_mask_storeu_ps(p, lanes_mask(n), v); }

LANES_INLINE lanes lanes_add(lanes x, lanes y) { return _mm512_add_ps(x, y); }
LANES_INLINE lanes lanes_sub(lanes x, lanes y) { return _mm512_sub_ps(x, y); }
LANES_INLINE lanes lanes_mul(lanes x, lanes y) { return _mm512_mul_ps(x, y); }
LANES_INLINE lanes lanes_div(lanes x, lanes y) { return _mm512_div_ps(x, y); }
LANES_INLINE lanes lanes_max(lanes x, lanes y) { return _mm512_max_ps(x, y); } /* x > y ? x : y, as math_max */
LANES_INLINE lanes lanes_min(lanes x, lanes y) { return _mm512_min_ps(x, y); }
LANES_INLINE lanes lanes_fma(lanes x, lanes y, lanes z) { return _mm512_fmadd_ps(x, y, z); }
LANES_INLINE lanes lanes_fnma(lanes x, lanes y, lanes z) { return _mm512_fnmadd_ps(x, y, z); } /* -x * y + z */

LANES_INLINE lanes lanes_abs(lanes x) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x); }
/* magnitude of x >= 0 with the sign of s */
LANES_INLINE lanes lanes_with_sign(lanes x, lanes s) {
    return _mm512_or_ps(x, _mm512_and_ps(_mm512_set1_ps(-0.0f), s));
}
/* x < y ? yes : no */
LANES_INLINE lanes lanes_if_less(lanes x, lanes y, lanes yes, lanes no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), no, yes);
}

/* p * 2^k in two factors, k the low nine bits of t as a signed number: the end of math_exp */
LANES_INLINE lanes lanes_scale(lanes p, lanes t) {
    __m512i k = _mm512_slli_epi32(_mm512_castps_si512(t), 23), bias = _mm512_set1_epi32(127);
    __m512i half = _mm512_srai_epi32(k, 24), rest = _mm512_sub_epi32(_mm512_srai_epi32(k, 23), half);
    __m512i x = _mm512_slli_epi32(_mm512_add_epi32(half, bias), 23);
    __m512i y = _mm512_slli_epi32(_mm512_add_epi32(rest, bias), 23);
    return _mm512_mul_ps(_mm512_mul_ps(p, _mm512_castsi512_ps(x)), _mm512_castsi512_ps(y));
}

/* The tree: j + 8, + 4, + 2, + 1 */
LANES_INLINE float lanes_sum(lanes v) {
    __m256 x = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}
/* The largest; NaNs are passed over where the other side is a number. */
LANES_INLINE float lanes_largest(lanes v) {
    __m256 x = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

/* Sixteen stored numbers as floats, any alignment. */
LANES_INLINE lanes lanes_load_f32(const uint8_t *p) { return _mm512_loadu_ps(p); }
LANES_INLINE lanes lanes_load_f16(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
LANES_INLINE lanes lanes_load_bf16(const uint8_t *p) {
    __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
}
/* d times sixteen codes */
LANES_INLINE lanes lanes_load_q8(const int8_t *q, float d) {
    __m512i v = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)q));
    return _mm512_mul_ps(_mm512_set1_ps(d), _mm512_cvtepi32_ps(v));
}
LANES_INLINE float lanes_half(const uint8_t p[2]) {
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(p[0] | p[1] << 8)));
}

#endif
