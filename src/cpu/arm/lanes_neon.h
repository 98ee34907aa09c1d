/* Sixteen floats in four NEON registers: the vocabulary that the templates in ../tmpl are written in. Lane j is the
 * contract's lane j. Knows no formula but the order of the sum's tree. */
#ifndef FACET_CPU_ARM_LANES_NEON_H
#define FACET_CPU_ARM_LANES_NEON_H

#include <arm_neon.h>

#include "base/half.h"
#include "cpu/table.h"

#define LANES_NAME(name) name##_neon
/* For functions whose small arrays of lanes must become registers. */
#define LANES_INLINE static inline __attribute__((always_inline))
enum { LANES_TILE_ROWS = 2, LANES_TILE_COLS = 3 }; /* of sums in registers, beside what they are made from */

typedef struct lanes {
    float32x4_t a, b, c, d;
} lanes;

LANES_INLINE lanes lanes_of(float v) {
    float32x4_t x = vdupq_n_f32(v);
    return (lanes){x, x, x, x};
}
LANES_INLINE lanes lanes_load(const float *p) {
    return (lanes){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
LANES_INLINE void lanes_store(float *p, lanes v) {
    vst1q_f32(p, v.a);
    vst1q_f32(p + 4, v.b);
    vst1q_f32(p + 8, v.c);
    vst1q_f32(p + 12, v.d);
}

/* The first n < 16 lanes; the others are 0 and are not touched in memory. */
LANES_INLINE lanes lanes_load_part(const float *p, size_t n) {
    float padded[CPU_LANES] = {0};
    for (size_t i = 0; i < n; i++) padded[i] = p[i];
    return lanes_load(padded);
}
LANES_INLINE void lanes_store_part(float *p, lanes v, size_t n) {
    float all[CPU_LANES];
    lanes_store(all, v);
    for (size_t i = 0; i < n; i++) p[i] = all[i];
}

/* x > y ? x : y, as math_max; NEON's own maximum treats NaNs otherwise */
LANES_INLINE float32x4_t lanes_max4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
LANES_INLINE float32x4_t lanes_min4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }

#define LANES_BINARY(name, op)                                                                                       \
    LANES_INLINE lanes lanes_##name(lanes x, lanes y) {                                                              \
        return (lanes){op(x.a, y.a), op(x.b, y.b), op(x.c, y.c), op(x.d, y.d)};                                      \
    }
LANES_BINARY(add, vaddq_f32)
LANES_BINARY(sub, vsubq_f32)
LANES_BINARY(mul, vmulq_f32)
LANES_BINARY(div, vdivq_f32)
LANES_BINARY(max, lanes_max4)
LANES_BINARY(min, lanes_min4)
#undef LANES_BINARY

LANES_INLINE lanes lanes_fma(lanes x, lanes y, lanes z) {
    return (lanes){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
                   vfmaq_f32(z.d, x.d, y.d)};
}
LANES_INLINE lanes lanes_abs(lanes x) {
    return (lanes){vabsq_f32(x.a), vabsq_f32(x.b), vabsq_f32(x.c), vabsq_f32(x.d)};
}
/* magnitude of x >= 0 with the sign of s */
LANES_INLINE float32x4_t lanes_with_sign4(float32x4_t x, float32x4_t s) {
    return vbslq_f32(vdupq_n_u32(0x80000000u), s, x);
}
LANES_INLINE lanes lanes_with_sign(lanes x, lanes s) {
    return (lanes){lanes_with_sign4(x.a, s.a), lanes_with_sign4(x.b, s.b), lanes_with_sign4(x.c, s.c),
                   lanes_with_sign4(x.d, s.d)};
}
/* x < y ? yes : no */
LANES_INLINE lanes lanes_if_less(lanes x, lanes y, lanes yes, lanes no) {
    return (lanes){vbslq_f32(vcltq_f32(x.a, y.a), yes.a, no.a), vbslq_f32(vcltq_f32(x.b, y.b), yes.b, no.b),
                   vbslq_f32(vcltq_f32(x.c, y.c), yes.c, no.c), vbslq_f32(vcltq_f32(x.d, y.d), yes.d, no.d)};
}

/* p * 2^k in two factors, k the low nine bits of t as a signed number: the end of math_exp */
LANES_INLINE float32x4_t lanes_scale4(float32x4_t p, float32x4_t t) {
    int32x4_t k = vshlq_n_s32(vreinterpretq_s32_f32(t), 23), bias = vdupq_n_s32(127);
    int32x4_t half = vshrq_n_s32(k, 24), rest = vsubq_s32(vshrq_n_s32(k, 23), half);
    int32x4_t x = vshlq_n_s32(vaddq_s32(half, bias), 23), y = vshlq_n_s32(vaddq_s32(rest, bias), 23);
    return vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(x)), vreinterpretq_f32_s32(y));
}
LANES_INLINE lanes lanes_scale(lanes p, lanes t) {
    return (lanes){lanes_scale4(p.a, t.a), lanes_scale4(p.b, t.b), lanes_scale4(p.c, t.c), lanes_scale4(p.d, t.d)};
}

/* The tree: j + 8, + 4, + 2, + 1 */
LANES_INLINE float lanes_sum(lanes v) {
    float32x4_t x = vaddq_f32(vaddq_f32(v.a, v.c), vaddq_f32(v.b, v.d));
    float32x2_t y = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(y, 0) + vget_lane_f32(y, 1);
}
/* The largest; NaNs are passed over where the other side is a number. */
LANES_INLINE float lanes_largest(lanes v) {
    float32x4_t x = vmaxnmq_f32(vmaxnmq_f32(v.a, v.c), vmaxnmq_f32(v.b, v.d));
    return vmaxnmvq_f32(x);
}

/* Sixteen stored numbers as floats, any alignment. */
LANES_INLINE float32x4_t lanes_f32(const uint8_t *p) { return vreinterpretq_f32_u8(vld1q_u8(p)); }
LANES_INLINE lanes lanes_load_f32(const uint8_t *p) {
    return (lanes){lanes_f32(p), lanes_f32(p + 16), lanes_f32(p + 32), lanes_f32(p + 48)};
}
LANES_INLINE lanes lanes_load_f16(const uint8_t *p) {
    float16x8_t low = vreinterpretq_f16_u8(vld1q_u8(p)), high = vreinterpretq_f16_u8(vld1q_u8(p + 16));
    return (lanes){vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low), vcvt_f32_f16(vget_low_f16(high)),
                   vcvt_high_f32_f16(high)};
}
LANES_INLINE lanes lanes_load_bf16(const uint8_t *p) {
    uint16x8_t low = vreinterpretq_u16_u8(vld1q_u8(p)), high = vreinterpretq_u16_u8(vld1q_u8(p + 16));
    return (lanes){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(low), 16)),
                   vreinterpretq_f32_u32(vshll_high_n_u16(low, 16)),
                   vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(high), 16)),
                   vreinterpretq_f32_u32(vshll_high_n_u16(high, 16))};
}
/* d times sixteen codes */
LANES_INLINE lanes lanes_load_q8(const int8_t *q, float d) {
    int8x16_t v = vld1q_s8(q);
    int16x8_t low = vmovl_s8(vget_low_s8(v)), high = vmovl_high_s8(v);
    return (lanes){vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), d),
                   vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(low)), d),
                   vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), d),
                   vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(high)), d)};
}
LANES_INLINE float lanes_half(const uint8_t p[2]) {
    uint16_t bits = (uint16_t)(p[0] | p[1] << 8);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
}
LANES_INLINE void lanes_store_f16(uint8_t *p, lanes v) {
    vst1q_u8(p, vreinterpretq_u8_f16(vcvt_high_f16_f32(vcvt_f16_f32(v.a), v.b)));
    vst1q_u8(p + 16, vreinterpretq_u8_f16(vcvt_high_f16_f32(vcvt_f16_f32(v.c), v.d)));
}

#endif
