/* Panels for ARM: 8 rows of weights unpacked to signed bytes, as the contract has the codes, in groups of 256
 * columns. For gemm_256.h and gemm_32.h; how a panel's codes lie and are multiplied is the affair of the header that
 * includes this one (panels_neon.h, panels_i8mm.h). Four tokens at a time: 4 tokens times 8 rows are eight registers
 * of sums, with eight more for what they are added to. */
#ifndef FACET_CPU_ARM_PANELS_H
#define FACET_CPU_ARM_PANELS_H

#include <arm_neon.h>
#include <string.h>

#include "cpu/registry.h"

#define PANEL_INLINE static inline __attribute__((always_inline))

enum { CODES_BYTES = CPU_PANEL * CPU_GROUP, MAX_FOURS = CPU_TILE / 4 };

/* One group of four tokens from t0 on, in a tile of w (table.h). */
typedef struct tile_group {
    const int8_t *q;          /* [64][w][4] */
    const int16_t *s16, *s32; /* [8][w][2], [4][w][2] */
    const float *d;           /* [8][w] */
    size_t w;
} tile_group;

PANEL_INLINE tile_group tile_at(const void *tile, size_t w, size_t g, size_t t0) {
    const uint8_t *p = (const uint8_t *)tile + g * w * CPU_GROUP_BYTES + 4 * t0;
    return (tile_group){(const void *)p, (const void *)(p + 256 * w), (const void *)(p + 288 * w),
                        (const void *)(p + 304 * w), w};
}

/* Integers of 4 tokens times 8 rows. By rows: v[2 t] holds rows 0..3 of token t, v[2 t + 1] rows 4..7. */
typedef struct sums {
    int32x4_t v[8];
} sums;

/* Lane numbers and indices must be constants: what is done eight times, or for each token, is written by these. */
#define EIGHT_TIMES(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7)
#define FOR_TOKENS(step)  step(0) step(1) step(2) step(3)

PANEL_INLINE sums no_sums(void) {
    int32x4_t z = vdupq_n_s32(0);
    return (sums){{z, z, z, z, z, z, z, z}};
}

/* Floats of 4 tokens times 8 rows, by rows. */
typedef struct products {
    float32x4_t v[8];
} products;

/* acc += (d * d_x) * sum, d of 8 rows, d_x of 4 tokens: fmaf */
PANEL_INLINE products add_products(products acc, const float *d, float32x4_t dx, sums sum) {
    float32x4_t low = vld1q_f32(d), high = vld1q_f32(d + 4);
#define STEP(t)                                                                                                      \
    acc.v[2 * t] = vfmaq_f32(acc.v[2 * t], vmulq_laneq_f32(low, dx, t), vcvtq_f32_s32(sum.v[2 * t]));                \
    acc.v[2 * t + 1] = vfmaq_f32(acc.v[2 * t + 1], vmulq_laneq_f32(high, dx, t), vcvtq_f32_s32(sum.v[2 * t + 1]));
    FOR_TOKENS(STEP)
#undef STEP
    return acc;
}
/* acc -= (d * d_x) * sum: the product negated, fmaf */
PANEL_INLINE products take_products(products acc, const float *d, float32x4_t dx, sums sum) {
    float32x4_t low = vld1q_f32(d), high = vld1q_f32(d + 4);
#define STEP(t)                                                                                                      \
    acc.v[2 * t] = vfmsq_f32(acc.v[2 * t], vmulq_laneq_f32(low, dx, t), vcvtq_f32_s32(sum.v[2 * t]));                \
    acc.v[2 * t + 1] = vfmsq_f32(acc.v[2 * t + 1], vmulq_laneq_f32(high, dx, t), vcvtq_f32_s32(sum.v[2 * t + 1]));
    FOR_TOKENS(STEP)
#undef STEP
    return acc;
}
PANEL_INLINE void store_products(products p, float *out) {
#define STEP(i) vst1q_f32(out + 4 * i, p.v[i]);
    EIGHT_TIMES(STEP)
#undef STEP
}

#endif
