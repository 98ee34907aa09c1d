/* Panels multiplied by the product of 2 x 8 and 8 x 2 bytes: two rows with two tokens at once. Codes: [pair of
 * rows][column / 8][row][8]. Until by_rows, v[p] holds tokens 0 and 1 (v[4 + p]: 2 and 3) with the rows of pair p. */
#ifndef FACET_CPU_ARM_PANELS_I8MM_H
#define FACET_CPU_ARM_PANELS_I8MM_H

#include "cpu/arm/panels.h"

#define PANEL_NAME(name) name##_i8mm

/* codes[row][256] as they lie in a panel */
static inline void place_codes(int8_t codes[CPU_PANEL][CPU_GROUP], int8_t *out) {
    for (int i = 0; i < CPU_PANEL; i += 2, out += CODES_BYTES / 4) {
        for (int c = 0; c < CPU_GROUP; c += 16) {
            uint64x2x2_t rows = {
                {vreinterpretq_u64_s8(vld1q_s8(codes[i] + c)), vreinterpretq_u64_s8(vld1q_s8(codes[i + 1] + c))}};
            vst2q_u64((uint64_t *)(void *)(out + 2 * c), rows);
        }
    }
}

/* Codes times activations over columns [first, first + n) of a group, n a multiple of 8. */
PANEL_INLINE sums dot_columns(const int8_t *codes, tile_group x, int first, int n) {
    sums s = no_sums();
#pragma GCC unroll 2
    for (int c = first; c < first + n; c += 8) {
        const int8_t *q = x.q + (size_t)c * x.w;
        int32x4_t a = vreinterpretq_s32_s8(vld1q_s8(q)), b = vreinterpretq_s32_s8(vld1q_s8(q + 4 * x.w));
        int8x16_t t01 = vreinterpretq_s8_s32(vzip1q_s32(a, b)), t23 = vreinterpretq_s8_s32(vzip2q_s32(a, b));
#define STEP(p)                                                                                                      \
    {                                                                                                                \
        int8x16_t rows = vld1q_s8(codes + CODES_BYTES / 4 * p + 2 * c);                                              \
        s.v[p] = vmmlaq_s32(s.v[p], t01, rows);                                                                      \
        s.v[4 + p] = vmmlaq_s32(s.v[4 + p], t23, rows);                                                              \
    }
        STEP(0) STEP(1) STEP(2) STEP(3)
#undef STEP
    }
    return s;
}

PANEL_INLINE int32x4_t twice(int32x2_t v) { return vcombine_s32(v, v); }

/* isum += scale of each row * s */
PANEL_INLINE sums add_scaled(sums isum, sums s, const int16_t scale[CPU_PANEL]) {
    int16x8_t rows = vld1q_s16(scale);
    int32x4_t low = vmovl_s16(vget_low_s16(rows)), high = vmovl_high_s16(rows);
    const int32x4_t pairs[4] = {twice(vget_low_s32(low)), twice(vget_high_s32(low)), twice(vget_low_s32(high)),
                                twice(vget_high_s32(high))};
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
        isum.v[p] = vmlaq_s32(isum.v[p], s.v[p], pairs[p]);
        isum.v[4 + p] = vmlaq_s32(isum.v[4 + p], s.v[4 + p], pairs[p]);
    }
    return isum;
}

/* What two pairs of rows have for the first token, and for the second. */
PANEL_INLINE int32x4_t first_of(int32x4_t a, int32x4_t b) { return vcombine_s32(vget_low_s32(a), vget_low_s32(b)); }
PANEL_INLINE int32x4_t second_of(int32x4_t a, int32x4_t b) {
    return vcombine_s32(vget_high_s32(a), vget_high_s32(b));
}
PANEL_INLINE sums by_rows(sums s) {
    return (sums){{first_of(s.v[0], s.v[1]), first_of(s.v[2], s.v[3]), second_of(s.v[0], s.v[1]),
                   second_of(s.v[2], s.v[3]), first_of(s.v[4], s.v[5]), first_of(s.v[6], s.v[7]),
                   second_of(s.v[4], s.v[5]), second_of(s.v[6], s.v[7])}};
}

#endif
