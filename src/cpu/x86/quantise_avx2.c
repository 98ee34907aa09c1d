/* Activations to codes for AVX2 (contract, rule 1; ref/quantise.c is the definition). */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "cpu/registry.h"

/* The largest magnitude's bits, lane by lane, of 32 floats. */
static inline __m256i largest_32(const float *x) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i m = _mm256_and_si256(_mm256_loadu_si256((const void *)x), magnitude);
    for (int i = 8; i < 32; i += 8)
        m = _mm256_max_epi32(m, _mm256_and_si256(_mm256_loadu_si256((const void *)(x + i)), magnitude));
    return m;
}

static inline uint32_t largest_lane(__m256i m) {
    __m128i x = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(x);
}

/* What a block is multiplied with; 0 for blocks whose codes are all 0. */
static inline float inverse_of(uint32_t bits, float *d) {
    float largest = float_of_bits(bits);
    bool zero = largest <= 127.0f * 0x1p-126f, wrong = bits >= 0x7f800000u;
    *d = wrong ? NAN : zero ? 0.0f : largest / 127.0f;
    return zero || wrong ? 0.0f : 127.0f / largest;
}

/* 32 codes. With inverse 0 an infinity or a NaN becomes NaN, which converts to the lowest integer: hence the mask. */
static inline __m256i codes_32(const float *x, float inverse) {
    const __m256 s = _mm256_set1_ps(inverse);
    const __m256i keep = _mm256_set1_epi32(inverse == 0.0f ? 0 : -1);
    __m256i v[4];
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_and_si256(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), s)), keep);
    __m256i q = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    return _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Sums of the 32 codes q of block j. */
static inline void put_block(cpu_group *out, int j, __m256i q) {
    const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    _mm256_store_si256((__m256i *)(void *)(out->q + 32 * j), q);
    __m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(ones8, q), ones16);
    s = _mm256_hadd_epi32(s, s);
    s = _mm256_hadd_epi32(s, s);
    int a = _mm_cvtsi128_si32(_mm256_castsi256_si128(s)), b = _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1));
    out->s16[2 * j] = (int16_t)a;
    out->s16[2 * j + 1] = (int16_t)b;
    out->s32[j] = (int16_t)(a + b);
}

void quantise_256_avx2(const float x[CPU_GROUP], cpu_group *out) {
    __m256i m = largest_32(x);
    for (int j = 1; j < 8; j++) m = _mm256_max_epi32(m, largest_32(x + 32 * j));
    float d, inverse = inverse_of(largest_lane(m), &d);
    for (int j = 0; j < 8; j++) {
        put_block(out, j, codes_32(x + 32 * j, inverse));
        out->d[j] = d;
    }
}

void quantise_32_avx2(const float x[CPU_GROUP], cpu_group *out) {
    for (int j = 0; j < 8; j++) {
        float inverse = inverse_of(largest_lane(largest_32(x + 32 * j)), out->d + j);
        put_block(out, j, codes_32(x + 32 * j, inverse));
    }
}
