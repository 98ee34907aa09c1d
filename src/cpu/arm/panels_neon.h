/* Panels multiplied by the dot product: four columns of a row are one lane, and one token's four activations are
 * multiplied with the rows in the lanes. Codes: [half of the rows][column / 4][row][4]. */
#ifndef FACET_CPU_ARM_PANELS_NEON_H
#define FACET_CPU_ARM_PANELS_NEON_H

#include "cpu/arm/panels.h"

#define PANEL_NAME(name) name##_neon

/* codes[row][256] as they lie in a panel */
static inline void place_codes(int8_t codes[CPU_PANEL][CPU_GROUP], int8_t *out) {
    for (int i = 0; i < CPU_PANEL; i += 4, out += CODES_BYTES / 2) {
        for (int c = 0; c < CPU_GROUP; c += 16) {
            uint32x4x4_t rows;
            for (int r = 0; r < 4; r++) rows.val[r] = vreinterpretq_u32_s8(vld1q_s8(codes[i + r] + c));
            vst4q_u32((uint32_t *)(void *)(out + 4 * c), rows);
        }
    }
}

/* Codes times activations over columns [first, first + n) of a group, n a multiple of 8. */
PANEL_INLINE sums dot_columns(const int8_t *codes, tile_group x, int first, int n) {
    sums s = no_sums();
#pragma GCC unroll 2 /* more, and gcc would keep the sums of many steps in memory */
    for (int c = first; c < first + n; c += 4) {
        int8x16_t low = vld1q_s8(codes + 4 * c), high = vld1q_s8(codes + CODES_BYTES / 2 + 4 * c);
        int8x16_t tokens = vld1q_s8(x.q + (size_t)c * x.w);
#define STEP(t)                                                                                                      \
    s.v[2 * t] = vdotq_laneq_s32(s.v[2 * t], low, tokens, t);                                                        \
    s.v[2 * t + 1] = vdotq_laneq_s32(s.v[2 * t + 1], high, tokens, t);
        FOR_TOKENS(STEP)
#undef STEP
    }
    return s;
}

/* isum += scale of each row * s */
PANEL_INLINE sums add_scaled(sums isum, sums s, const int16_t scale[CPU_PANEL]) {
    int16x8_t rows = vld1q_s16(scale);
    int32x4_t low = vmovl_s16(vget_low_s16(rows)), high = vmovl_high_s16(rows);
#define STEP(t)                                                                                                      \
    isum.v[2 * t] = vmlaq_s32(isum.v[2 * t], s.v[2 * t], low);                                                       \
    isum.v[2 * t + 1] = vmlaq_s32(isum.v[2 * t + 1], s.v[2 * t + 1], high);
    FOR_TOKENS(STEP)
#undef STEP
    return isum;
}

PANEL_INLINE sums by_rows(sums s) { return s; }

#endif
