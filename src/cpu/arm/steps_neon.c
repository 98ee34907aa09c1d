/* The float steps for NEON: tmpl/steps.h in four registers, and the storing of keys and values. */
#include "cpu/arm/lanes_neon.h"

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

/* Eight codes: roundf, halves away from zero; a NaN becomes 0. */
static inline int8x8_t rounded(const float *x, float inverse) {
    int32x4_t low = vcvtaq_s32_f32(vmulq_n_f32(vld1q_f32(x), inverse));
    int32x4_t high = vcvtaq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4), inverse));
    return vqmovn_s16(vqmovn_high_s32(vqmovn_s32(low), high));
}

/* As the reference quantiser writes Q8_0. */
static void store_q8_block(const float x[32], uint8_t *block) {
    uint32x4_t bits = vdupq_n_u32(0);
    for (int i = 0; i < 32; i += 4)
        bits = vmaxq_u32(bits, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7fffffffu)));
    float d = float_of_bits(vmaxvq_u32(bits)) / 127.0f, inverse = d == 0.0f ? 0.0f : 1.0f / d;
    if (isinf(inverse)) inverse = NAN;
    uint16_t half = f32_to_f16(d);
    memcpy(block, &half, sizeof half);
    for (int i = 0; i < 32; i += 8) vst1_s8((int8_t *)block + 2 + i, rounded(x + i, inverse));
}

void kv_store_neon(facet_kv_type type, const float *x, size_t head_dim, uint8_t *row) {
    if (type == FACET_KV_F16)
        store_f16(x, head_dim, row);
    else if (type == FACET_KV_F32)
        memcpy(row, x, head_dim * sizeof *x);
    else {
        for (size_t i = 0; i < head_dim; i += 32) store_q8_block(x + i, row + i / 32 * 34);
    }
}
