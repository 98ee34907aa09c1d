/* Integer products of codes with activations by NEON's dot product: what the kernels for one token share. Knows no
 * format but the way nibbles and two-bit fields are taken apart. */
#ifndef FACET_CPU_ARM_DOTS_NEON_H
#define FACET_CPU_ARM_DOTS_NEON_H

#include <arm_neon.h>

#include "cpu/table.h"

enum { PREFETCH = 1024 }; /* bytes ahead; crossing the end of the matrix is harmless */

static inline void prefetch_blocks(const void *p, size_t n_bytes) {
    for (size_t k = 0; k < n_bytes; k += 64) __builtin_prefetch((const char *)p + PREFETCH + k);
}

static inline float half_to_float(const uint8_t p[2]) {
    uint16_t bits = (uint16_t)(p[0] | p[1] << 8);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
}

/* 32 codes */
static inline int8x16x2_t codes_32(int8x16_t low, int8x16_t high) { return (int8x16x2_t){{low, high}}; }

/* 32 codes times the activations of block j, in four partial sums */
static inline int32x4_t dot_32(int8x16x2_t codes, const cpu_group *x, int j) {
    int32x4_t sum = vdotq_s32(vdupq_n_s32(0), codes.val[0], vld1q_s8(x->q + 32 * j));
    return vdotq_s32(sum, codes.val[1], vld1q_s8(x->q + 32 * j + 16));
}
/* 16 codes times activations 16 j.. */
static inline int32x4_t dot_16(int8x16_t codes, const cpu_group *x, int j) {
    return vdotq_s32(vdupq_n_s32(0), codes, vld1q_s8(x->q + 16 * j));
}

/* Lane j is the sum of v[j]'s lanes. */
static inline int32x4_t sum_four(const int32x4_t v[4]) {
    return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]));
}

static inline int8x16_t low_nibbles(uint8x16_t q) { return vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(15))); }
static inline int8x16_t high_nibbles(uint8x16_t q) { return vreinterpretq_s8_u8(vshrq_n_u8(q, 4)); }
static inline int8x16_t by_table(int8x16_t table, int8x16_t nibbles) {
    return vqtbl1q_s8(table, vreinterpretq_u8_s8(nibbles));
}
/* `value` where one of the bits `mask` of a byte is set */
static inline int8x16_t if_bit(uint8x16_t bytes, uint8x16_t mask, int8_t value) {
    return vandq_s8(vreinterpretq_s8_u8(vtstq_u8(bytes, mask)), vdupq_n_s8(value));
}

#endif
