/* Blocks of 256 weights to unsigned bytes and small integer scales, AVX2: the form that kernels for several tokens
 * want. Codes come with their format's offset added, so that none is negative; scales and minima are as many as the
 * format has, 16 or 8. The definition is tmpl/codes256.h. */
#ifndef FACET_CPU_X86_UNPACK_256_AVX2_H
#define FACET_CPU_X86_UNPACK_256_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "quant/blocks.h"

#define UNPACK_INLINE static inline __attribute__((always_inline))

/* What stands beside the codes: bytes, where a format has eight in the low half. In registers, for a load that
 * gathers two stores waits for both to reach the cache. */
typedef struct scales256 {
    __m128i scale, minimum; /* signed, unsigned */
    float d, dmin;
} scales256;

UNPACK_INLINE __m256i unpack_load(const void *p) { return _mm256_loadu_si256(p); }
UNPACK_INLINE void unpack_store(uint8_t *p, __m256i v) { _mm256_store_si256((__m256i *)(void *)p, v); }
UNPACK_INLINE float unpack_half(const uint8_t *p) {
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(p[0] | p[1] << 8)));
}
UNPACK_INLINE __m256i low_bits(__m256i v, int shift, int mask) {
    return _mm256_and_si256(_mm256_srli_epi16(v, shift), _mm256_set1_epi8((char)mask));
}
/* Bit j of each byte as `value` */
UNPACK_INLINE __m256i bit_as(__m256i v, int j, int value) {
    __m256i bit = _mm256_set1_epi8((char)(1 << j));
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit), _mm256_set1_epi8((char)value));
}

/* Six-bit scales (low eight bytes) and minima (high) of Q4_K and Q5_K. */
UNPACK_INLINE __m128i k_scales(const uint8_t packed[12]) {
    uint32_t u[3];
    memcpy(u, packed, sizeof u);
    uint32_t s0 = u[0] & 0x3f3f3f3fu, s1 = (u[2] & 0x0f0f0f0fu) | (u[0] >> 2 & 0x30303030u);
    uint32_t m0 = u[1] & 0x3f3f3f3fu, m1 = (u[2] >> 4 & 0x0f0f0f0fu) | (u[1] >> 2 & 0x30303030u);
    return _mm_setr_epi32((int)s0, (int)s1, (int)m0, (int)m1);
}

/* Sixteen six-bit scales of Q3_K, -32..31. */
UNPACK_INLINE __m128i q3_k_scales(const uint8_t packed[12]) {
    uint32_t u[3];
    memcpy(u, packed, sizeof u);
    const uint32_t low = 0x0f0f0f0fu, high = 0x30303030u;
    __m128i s =
        _mm_setr_epi32((int)((u[0] & low) | (u[2] << 4 & high)), (int)((u[1] & low) | (u[2] << 2 & high)),
                       (int)((u[0] >> 4 & low) | (u[2] & high)), (int)((u[1] >> 4 & low) | (u[2] >> 2 & high)));
    return _mm_sub_epi8(s, _mm_set1_epi8(32));
}

/* Eight six-bit scales of IQ4_XS, -32..31, in the low half. */
UNPACK_INLINE __m128i iq4_xs_scales(const block_iq4_xs *b) {
    __m128i l = _mm_cvtsi32_si128((int)block_u32(b->scales_l)), mask = _mm_set1_epi8(15);
    l = _mm_unpacklo_epi8(_mm_and_si128(l, mask), _mm_and_si128(_mm_srli_epi16(l, 4), mask));
    __m128i h = _mm_mullo_epi16(_mm_set1_epi16((short)block_u16(b->scales_h)),
                                _mm_setr_epi16(1 << 14, 1 << 12, 1 << 10, 1 << 8, 1 << 6, 1 << 4, 1 << 2, 1));
    h = _mm_slli_epi16(_mm_srli_epi16(h, 14), 4);
    return _mm_sub_epi8(_mm_or_si128(l, _mm_packus_epi16(h, h)), _mm_set1_epi8(32));
}

UNPACK_INLINE void put_k_scales(const uint8_t packed[12], const uint8_t *d, const uint8_t *dmin, scales256 *s) {
    __m128i both = k_scales(packed);
    s->scale = both;
    s->minimum = _mm_unpackhi_epi64(both, both);
    s->d = unpack_half(d);
    s->dmin = unpack_half(dmin);
}

UNPACK_INLINE void unpack_q4_k(const uint8_t *block, uint8_t *code, scales256 *s) {
    const block_q4_k *b = (const void *)block;
    for (int r = 0; r < 4; r++) {
        __m256i q = unpack_load(b->qs + 32 * r);
        unpack_store(code + 64 * r, low_bits(q, 0, 15));
        unpack_store(code + 64 * r + 32, low_bits(q, 4, 15));
    }
    put_k_scales(b->scales, b->d, b->dmin, s);
}

UNPACK_INLINE void unpack_q5_k(const uint8_t *block, uint8_t *code, scales256 *s) {
    const block_q5_k *b = (const void *)block;
    __m256i qh = unpack_load(b->qh);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
        __m256i q = unpack_load(b->qs + 32 * r);
        unpack_store(code + 64 * r, _mm256_or_si256(low_bits(q, 0, 15), bit_as(qh, 2 * r, 16)));
        unpack_store(code + 64 * r + 32, _mm256_or_si256(low_bits(q, 4, 15), bit_as(qh, 2 * r + 1, 16)));
    }
    put_k_scales(b->scales, b->d, b->dmin, s);
}

UNPACK_INLINE void unpack_q6_k(const uint8_t *block, uint8_t *code, scales256 *s) {
    const block_q6_k *b = (const void *)block;
    const __m256i upper = _mm256_set1_epi8(0x30);
    for (int h = 0; h < 2; h++, code += 128) {
        __m256i q0 = unpack_load(b->ql + 64 * h), q1 = unpack_load(b->ql + 64 * h + 32);
        __m256i qh = unpack_load(b->qh + 32 * h);
        __m256i h0 = _mm256_and_si256(_mm256_slli_epi16(qh, 4), upper);
        __m256i h1 = _mm256_and_si256(_mm256_slli_epi16(qh, 2), upper);
        unpack_store(code, _mm256_or_si256(low_bits(q0, 0, 15), h0));
        unpack_store(code + 32, _mm256_or_si256(low_bits(q1, 0, 15), h1));
        unpack_store(code + 64, _mm256_or_si256(low_bits(q0, 4, 15), _mm256_and_si256(qh, upper)));
        unpack_store(code + 96, _mm256_or_si256(low_bits(q1, 4, 15), low_bits(qh, 2, 0x30)));
    }
    s->scale = _mm_loadu_si128((const void *)b->scales);
    s->d = unpack_half(b->d);
}

UNPACK_INLINE void unpack_two_bits(const uint8_t qs[64], uint8_t *code) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) unpack_store(code + 32 * j, low_bits(unpack_load(qs + 32 * (j / 4)), j % 4 * 2, 3));
}

UNPACK_INLINE void unpack_q2_k(const uint8_t *block, uint8_t *code, scales256 *s) {
    const block_q2_k *b = (const void *)block;
    __m128i both = _mm_loadu_si128((const void *)b->scales), low = _mm_set1_epi8(15);
    unpack_two_bits(b->qs, code);
    s->scale = _mm_and_si128(both, low);
    s->minimum = _mm_and_si128(_mm_srli_epi16(both, 4), low);
    s->d = unpack_half(b->d);
    s->dmin = unpack_half(b->dmin);
}

UNPACK_INLINE void unpack_q3_k(const uint8_t *block, uint8_t *code, scales256 *s) {
    const block_q3_k *b = (const void *)block;
    __m256i mask = unpack_load(b->hmask);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m256i q = low_bits(unpack_load(b->qs + 32 * (j / 4)), j % 4 * 2, 3);
        unpack_store(code + 32 * j, _mm256_or_si256(q, bit_as(mask, j, 4)));
    }
    s->scale = q3_k_scales(b->scales);
    s->d = unpack_half(b->d);
}

UNPACK_INLINE void unpack_iq4_xs(const uint8_t *block, uint8_t *code, scales256 *s) {
    const block_iq4_xs *b = (const void *)block;
    __m128i signs = _mm_set1_epi8((char)0x80), t = _mm_loadu_si128((const void *)quant_codes_iq4);
    const __m256i table = _mm256_broadcastsi128_si256(_mm_xor_si128(t, signs)), low = _mm256_set1_epi8(15);
    for (int j = 0; j < 8; j++) {
        __m128i q = _mm_loadu_si128((const void *)b->qs[j]);
        __m256i index = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), low);
        unpack_store(code + 32 * j, _mm256_shuffle_epi8(table, index));
    }
    s->scale = iq4_xs_scales(b);
    s->d = unpack_half(b->d);
}

UNPACK_INLINE void put_ones(scales256 *s, const uint8_t *d) {
    s->scale = _mm_set1_epi8(1);
    s->d = unpack_half(d);
}

/* Digit j of each byte: what 3^j moved to the top, times 3, carries over. */
UNPACK_INLINE __m256i digits(__m256i bytes, int power) {
    const __m256i low = _mm256_set1_epi16(0xff);
    __m256i p = _mm256_set1_epi16((short)power), three = _mm256_set1_epi16(3);
    __m256i even = _mm256_and_si256(_mm256_mullo_epi16(bytes, p), low);
    __m256i odd = _mm256_and_si256(_mm256_mullo_epi16(_mm256_srli_epi16(bytes, 8), p), low);
    even = _mm256_srli_epi16(_mm256_mullo_epi16(even, three), 8);
    odd = _mm256_andnot_si256(low, _mm256_mullo_epi16(odd, three));
    return _mm256_or_si256(even, odd);
}
UNPACK_INLINE void unpack_tq1_0(const uint8_t *block, uint8_t *code, scales256 *s) {
    const block_tq1_0 *b = (const void *)block;
    static const int power[5] = {1, 3, 9, 27, 81};
    __m256i first = unpack_load(b->qs), second = _mm256_zextsi128_si256(_mm_loadu_si128((const void *)(b->qs + 32)));
    __m256i last = _mm256_zextsi128_si256(_mm_cvtsi32_si128((int)block_u32(b->qh)));
#pragma GCC unroll 5
    for (int j = 0; j < 5; j++) {
        unpack_store(code + 32 * j, digits(first, power[j]));
        __m128i half = _mm256_castsi256_si128(digits(second, power[j]));
        _mm_store_si128((__m128i *)(void *)(code + 160 + 16 * j), half);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        uint32_t four = (uint32_t)_mm256_cvtsi256_si32(digits(last, power[j]));
        memcpy(code + 240 + 4 * j, &four, sizeof four);
    }
    put_ones(s, b->d);
}

UNPACK_INLINE void unpack_tq2_0(const uint8_t *block, uint8_t *code, scales256 *s) {
    const block_tq2_0 *b = (const void *)block;
    unpack_two_bits(b->qs, code);
    put_ones(s, b->d);
}

#endif
