/* Activations to codes for NEON (contract, rule 1; ref/quantise.c is the definition). */
#include <arm_neon.h>
#include <math.h>

#include "base/half.h"
#include "cpu/registry.h"

/* The largest magnitude's bits, lane by lane, of 32 floats. */
static inline uint32x4_t largest_32(const float *x) {
    uint32x4_t m = vdupq_n_u32(0);
    for (int i = 0; i < 32; i += 4)
        m = vmaxq_u32(m, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7fffffffu)));
    return m;
}

/* What a block is multiplied with; 0 for blocks whose codes are all 0. */
static inline float inverse_of(uint32_t bits, float *d) {
    float largest = float_of_bits(bits);
    bool zero = largest <= 127.0f * 0x1p-126f, wrong = bits >= 0x7f800000u;
    *d = wrong ? NAN : zero ? 0.0f : largest / 127.0f;
    return zero || wrong ? 0.0f : 127.0f / largest;
}

/* Sixteen codes. With inverse 0 an infinity or a NaN becomes NaN, which converts to 0. */
static inline int8x16_t codes_16(const float *x, float inverse) {
    int32x4_t v[4];
    for (int i = 0; i < 4; i++) v[i] = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4 * i), inverse));
    int16x8_t low = vmovn_high_s32(vmovn_s32(v[0]), v[1]), high = vmovn_high_s32(vmovn_s32(v[2]), v[3]);
    return vmovn_high_s16(vmovn_s16(low), high);
}

/* The 32 codes of block j and their sums. */
static inline void put_block(cpu_group *out, int j, const float *x, float inverse) {
    int8x16_t low = codes_16(x, inverse), high = codes_16(x + 16, inverse);
    vst1q_s8(out->q + 32 * j, low);
    vst1q_s8(out->q + 32 * j + 16, high);
    int16_t a = vaddlvq_s8(low), b = vaddlvq_s8(high);
    out->s16[2 * j] = a;
    out->s16[2 * j + 1] = b;
    out->s32[j] = (int16_t)(a + b);
}

void quantise_256_neon(const float x[CPU_GROUP], cpu_group *out) {
    uint32x4_t m = largest_32(x);
    for (int j = 1; j < 8; j++) m = vmaxq_u32(m, largest_32(x + 32 * j));
    float d, inverse = inverse_of(vmaxvq_u32(m), &d);
    for (int j = 0; j < 8; j++) {
        put_block(out, j, x + 32 * j, inverse);
        out->d[j] = d;
    }
}

void quantise_32_neon(const float x[CPU_GROUP], cpu_group *out) {
    for (int j = 0; j < 8; j++) {
        float inverse = inverse_of(vmaxvq_u32(largest_32(x + 32 * j)), out->d + j);
        put_block(out, j, x + 32 * j, inverse);
    }
}
