/* The float steps for AVX2: tmpl/steps.h in two registers, and the storing of keys and values. */
#include "cpu/x86/lanes_avx2.h"

#include <math.h>
#include <string.h>

#include "cpu/tmpl/steps.h"

static void store_f16(const float *x, size_t n, uint8_t *row) {
    EACH(i, n) {
        uint8_t last[2 * CPU_LANES];
        lanes v = load_some(x + i, n - i);
        if (n - i >= CPU_LANES)
            lanes_store_f16(row + 2 * i, v);
        else {
            lanes_store_f16(last, v);
            memcpy(row + 2 * i, last, 2 * (n - i));
        }
    }
}

/* roundf: halves away from zero */
static inline __m256i rounded(__m256 v) {
    __m256 t = _mm256_round_ps(v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC), sign = _mm256_set1_ps(-0.0f);
    __m256 more = _mm256_cmp_ps(_mm256_andnot_ps(sign, _mm256_sub_ps(v, t)), _mm256_set1_ps(0.5f), _CMP_GE_OQ);
    __m256 one = _mm256_or_ps(_mm256_and_ps(sign, v), _mm256_and_ps(more, _mm256_set1_ps(1.0f)));
    __m256 whole = _mm256_add_ps(t, one), number = _mm256_cmp_ps(v, v, _CMP_ORD_Q);
    return _mm256_cvtps_epi32(_mm256_and_ps(whole, number));
}

/* As the reference quantiser writes Q8_0. */
static void store_q8_block(const float x[32], uint8_t *block) {
    __m256i bits = _mm256_setzero_si256(), magnitude = _mm256_set1_epi32(0x7fffffff);
    for (int i = 0; i < 32; i += 8) {
        __m256i v = _mm256_and_si256(_mm256_loadu_si256((const void *)(x + i)), magnitude);
        bits = _mm256_max_epi32(bits, v);
    }
    int32_t each[8], largest = 0;
    _mm256_storeu_si256((void *)each, bits);
    for (int i = 0; i < 8; i++) largest = each[i] > largest ? each[i] : largest;
    float d = float_of_bits((uint32_t)largest) / 127.0f, inverse = d == 0.0f ? 0.0f : 1.0f / d;
    if (isinf(inverse)) inverse = NAN;
    uint16_t half = f32_to_f16(d);
    memcpy(block, &half, sizeof half);
    for (int i = 0; i < 32; i += 8) {
        __m256i q = rounded(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(inverse)));
        __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
        _mm_storel_epi64((void *)(block + 2 + i), _mm_packs_epi16(w, w));
    }
}

void kv_store_avx2(facet_kv_type type, const float *x, size_t head_dim, uint8_t *row) {
    if (type == FACET_KV_F16)
        store_f16(x, head_dim, row);
    else if (type == FACET_KV_F32)
        memcpy(row, x, head_dim * sizeof *x);
    else {
        for (size_t i = 0; i < head_dim; i += 32) store_q8_block(x + i, row + i / 32 * 34);
    }
}
