/* Eight blocks of 32 weights, the contract's eight accumulators (rule 1): their scales, their activations' sums, and
 * the float steps. For kernels of one token, AVX2 and above. */
#ifndef FACET_CPU_X86_EIGHT_32_AVX2_H
#define FACET_CPU_X86_EIGHT_32_AVX2_H

#include <immintrin.h>

#include "cpu/table.h"
#include "quant/blocks.h"

static inline __m256i load_s32(const cpu_group *x) {
    return _mm256_cvtepi16_epi32(_mm_load_si128((const __m128i *)(const void *)x->s32));
}

#define EIGHT_HALVES(b, d)                                                                                           \
    _mm256_cvtph_ps(_mm_setr_epi16((short)block_u16((b)[0].d), (short)block_u16((b)[1].d),                           \
                                   (short)block_u16((b)[2].d), (short)block_u16((b)[3].d),                           \
                                   (short)block_u16((b)[4].d), (short)block_u16((b)[5].d),                           \
                                   (short)block_u16((b)[6].d), (short)block_u16((b)[7].d)))

/* block_e8m0_half of eight */
static inline __m256 eight_powers(const block_mxfp4 *b) {
    __m256i e = _mm256_setr_epi32(b[0].e, b[1].e, b[2].e, b[3].e, b[4].e, b[5].e, b[6].e, b[7].e);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e), two = _mm256_set1_epi32(2);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, tiny, _mm256_cmpgt_epi32(two, e)));
}

/* acc[j] = fmaf(d[j] * d_x[j], sum[j], acc[j]) */
static inline __m256 add_products(__m256 d, const cpu_group *x, __m256i sum, __m256 acc) {
    return _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_loadu_ps(x->d)), _mm256_cvtepi32_ps(sum), acc);
}

/* 0..7 in order */
static inline float add_in_order(__m256 acc) {
    float a[8];
    _mm256_storeu_ps(a, acc);
    float sum = a[0];
    for (int i = 1; i < 8; i++) sum += a[i];
    return sum;
}

#endif
