/* Blocks of 32 weights (NVFP4: 64) to unsigned bytes and float scales, AVX2: the form that kernels for several tokens
 * want. Codes come with their format's offset added, so that none is negative. The definition is tmpl/codes32.h. */
#ifndef FACET_CPU_X86_UNPACK_32_AVX2_H
#define FACET_CPU_X86_UNPACK_32_AVX2_H

#include "cpu/x86/unpack_256_avx2.h"

UNPACK_INLINE __m256i unpack_nibbles(const uint8_t qs[16]) {
    __m128i q = _mm_loadu_si128((const void *)qs);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}
/* Bit i of four bytes as 16 in byte i */
UNPACK_INLINE __m256i unpack_fifth_bits(const uint8_t qh[4]) {
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)block_u32(qh)), which);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit), _mm256_set1_epi8(16));
}
/* table[index] + offset */
UNPACK_INLINE __m256i unpack_table(__m256i index, const int8_t table[16], int offset) {
    __m128i t = _mm_add_epi8(_mm_loadu_si128((const void *)table), _mm_set1_epi8((char)offset));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), index);
}

/* One block: 32 codes, a scale, a minimum. */
UNPACK_INLINE void unpack_q4_0(const uint8_t *block, uint8_t *code, float *d, float *m) {
    const block_q4_0 *b = (const void *)block;
    (void)m;
    unpack_store(code, unpack_nibbles(b->qs));
    *d = unpack_half(b->d);
}
UNPACK_INLINE void unpack_q4_1(const uint8_t *block, uint8_t *code, float *d, float *m) {
    const block_q4_1 *b = (const void *)block;
    unpack_store(code, unpack_nibbles(b->qs));
    *d = unpack_half(b->d);
    *m = unpack_half(b->m);
}
UNPACK_INLINE void unpack_q5_0(const uint8_t *block, uint8_t *code, float *d, float *m) {
    const block_q5_0 *b = (const void *)block;
    (void)m;
    unpack_store(code, _mm256_or_si256(unpack_nibbles(b->qs), unpack_fifth_bits(b->qh)));
    *d = unpack_half(b->d);
}
UNPACK_INLINE void unpack_q5_1(const uint8_t *block, uint8_t *code, float *d, float *m) {
    const block_q5_1 *b = (const void *)block;
    unpack_store(code, _mm256_or_si256(unpack_nibbles(b->qs), unpack_fifth_bits(b->qh)));
    *d = unpack_half(b->d);
    *m = unpack_half(b->m);
}
UNPACK_INLINE void unpack_q8_0(const uint8_t *block, uint8_t *code, float *d, float *m) {
    const block_q8_0 *b = (const void *)block;
    (void)m;
    unpack_store(code, _mm256_xor_si256(unpack_load(b->qs), _mm256_set1_epi8((char)0x80)));
    *d = unpack_half(b->d);
}
UNPACK_INLINE void unpack_iq4_nl(const uint8_t *block, uint8_t *code, float *d, float *m) {
    const block_iq4_nl *b = (const void *)block;
    (void)m;
    unpack_store(code, unpack_table(unpack_nibbles(b->qs), quant_codes_iq4, 128));
    *d = unpack_half(b->d);
}
UNPACK_INLINE void unpack_mxfp4(const uint8_t *block, uint8_t *code, float *d, float *m) {
    const block_mxfp4 *b = (const void *)block;
    (void)m;
    unpack_store(code, unpack_table(unpack_nibbles(b->qs), quant_codes_fp4, 12));
    *d = block_e8m0_half(b->e);
}

/* One block: 64 codes, four scales. */
UNPACK_INLINE void unpack_nvfp4(const uint8_t *block, uint8_t *code, float *d, float *m) {
    const block_nvfp4 *b = (const void *)block;
    (void)m;
    for (int i = 0; i < 2; i++) {
        __m128i q = _mm_loadu_si128((const void *)b->qs[2 * i]), low = _mm_set1_epi8(15);
        __m128i l = _mm_and_si128(q, low), h = _mm_and_si128(_mm_srli_epi16(q, 4), low);
        __m256i index = _mm256_set_m128i(_mm_unpackhi_epi64(l, h), _mm_unpacklo_epi64(l, h));
        unpack_store(code + 32 * i, unpack_table(index, quant_codes_fp4, 12));
    }
    for (int i = 0; i < 4; i++) d[i] = block_ue4m3_half(b->d[i]);
}

#endif
