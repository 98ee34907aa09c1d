/* Eight lanes of vpdpbusd: AVX-VNNI. */
#ifndef FACET_CPU_X86_VNNI_AVXVNNI_H
#define FACET_CPU_X86_VNNI_AVXVNNI_H

#include <immintrin.h>

#define VNNI_NAME(name) name##_avxvnni
#define VNNI_INLINE     static inline __attribute__((always_inline))
enum { VNNI_ROWS = 8, VNNI_TOKENS = 6 };
typedef __m256i vec;
typedef __m256 vecf;

VNNI_INLINE __m256i vnni_dot_256(__m256i acc, __m256i u, __m256i s) { return _mm256_dpbusd_avx_epi32(acc, u, s); }

VNNI_INLINE vec vec_zero(void) { return _mm256_setzero_si256(); }
VNNI_INLINE vec vec_of(int32_t v) { return _mm256_set1_epi32(v); }
VNNI_INLINE vec vec_load(const void *p) { return _mm256_load_si256(p); }
VNNI_INLINE vec vec_add(vec a, vec b) { return _mm256_add_epi32(a, b); }
VNNI_INLINE vec vec_sub(vec a, vec b) { return _mm256_sub_epi32(a, b); }
VNNI_INLINE vec vec_mul(vec a, vec b) { return _mm256_mullo_epi32(a, b); }
VNNI_INLINE vec vec_dot(vec acc, vec u, vec s) { return _mm256_dpbusd_avx_epi32(acc, u, s); }
VNNI_INLINE vec vec_dot_16(vec acc, vec a, vec b) { return _mm256_dpwssd_avx_epi32(acc, a, b); }
VNNI_INLINE vecf vecf_zero(void) { return _mm256_setzero_ps(); }
VNNI_INLINE vecf vecf_of(float v) { return _mm256_set1_ps(v); }
VNNI_INLINE vecf vecf_load(const float *p) { return _mm256_load_ps(p); }
VNNI_INLINE vecf vecf_from(vec v) { return _mm256_cvtepi32_ps(v); }
VNNI_INLINE vecf vecf_add(vecf a, vecf b) { return _mm256_add_ps(a, b); }
VNNI_INLINE vecf vecf_mul(vecf a, vecf b) { return _mm256_mul_ps(a, b); }
VNNI_INLINE vecf vecf_fma(vecf a, vecf b, vecf c) { return _mm256_fmadd_ps(a, b, c); }
VNNI_INLINE vecf vecf_fnma(vecf a, vecf b, vecf c) { return _mm256_fnmadd_ps(a, b, c); }
VNNI_INLINE void vecf_store(float *p, vecf v) { _mm256_storeu_ps(p, v); }

#endif
