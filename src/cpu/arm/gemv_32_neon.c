/* One token times rows of 32 blocks, NEON with dot product (contract, rule 1). Eight blocks at a time: their eight
 * integer sums stand in eight lanes, which are the contract's eight accumulators, so that scales, sums and one fma
 * serve all. What is left of a row is copied to zeros, whose products are -0 (table.h) and change nothing; so nothing
 * is read beyond a row. */
#include <arm_neon.h>
#include <string.h>

#include "cpu/arm/dots_neon.h"
#include "cpu/registry.h"
#include "quant/blocks.h"

/* Eight lanes: the contract's accumulators 0..7, and what goes to them. */
typedef struct eight {
    float32x4_t a, b;
} eight;
typedef struct eight_sums {
    int32x4_t a, b;
} eight_sums;

/* acc[j] = fmaf(d[j] * d_x[j], sum[j], acc[j]) */
static inline eight add_products(eight d, eight dx, eight_sums sum, eight acc) {
    return (eight){vfmaq_f32(acc.a, vmulq_f32(d.a, dx.a), vcvtq_f32_s32(sum.a)),
                   vfmaq_f32(acc.b, vmulq_f32(d.b, dx.b), vcvtq_f32_s32(sum.b))};
}
static inline eight input_scales(const cpu_group *x) { return (eight){vld1q_f32(x->d), vld1q_f32(x->d + 4)}; }
static inline eight_sums input_sums(const cpu_group *x) {
    int16x8_t s = vld1q_s16(x->s32);
    return (eight_sums){vmovl_s16(vget_low_s16(s)), vmovl_high_s16(s)};
}
static inline eight_sums sum_eight(const int32x4_t v[8]) { return (eight_sums){sum_four(v), sum_four(v + 4)}; }

/* 0..7 in order */
static inline float add_in_order(eight acc) {
    float a[8];
    vst1q_f32(a, acc.a);
    vst1q_f32(a + 4, acc.b);
    float sum = a[0];
    for (int i = 1; i < 8; i++) sum += a[i];
    return sum;
}

/* ---- codes per format, signed as the contract has them */

static inline int8x16x2_t nibbles(const uint8_t qs[16]) {
    uint8x16_t q = vld1q_u8(qs);
    return codes_32(low_nibbles(q), high_nibbles(q));
}
static inline int8x16x2_t less(int8x16x2_t codes, int8_t offset) {
    int8x16_t v = vdupq_n_s8(offset);
    return codes_32(vsubq_s8(codes.val[0], v), vsubq_s8(codes.val[1], v));
}
static inline int8x16x2_t five_bits(const uint8_t qs[16], const uint8_t qh[4]) {
    static const uint8_t bit_of_byte[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    int8x16x2_t low = nibbles(qs);
    uint8x16_t mask = vld1q_u8(bit_of_byte);
    uint8x16_t first = vcombine_u8(vdup_n_u8(qh[0]), vdup_n_u8(qh[1]));
    uint8x16_t second = vcombine_u8(vdup_n_u8(qh[2]), vdup_n_u8(qh[3]));
    return codes_32(vorrq_s8(low.val[0], if_bit(first, mask, 16)), vorrq_s8(low.val[1], if_bit(second, mask, 16)));
}
static inline int8x16x2_t table_codes(const uint8_t qs[16], const int8_t table[16]) {
    int8x16_t t = vld1q_s8(table);
    int8x16x2_t index = nibbles(qs);
    return codes_32(by_table(t, index.val[0]), by_table(t, index.val[1]));
}

static inline int8x16x2_t codes_q4_0(const block_q4_0 *b) { return less(nibbles(b->qs), 8); }
static inline int8x16x2_t codes_q4_1(const block_q4_1 *b) { return nibbles(b->qs); }
static inline int8x16x2_t codes_q5_0(const block_q5_0 *b) { return less(five_bits(b->qs, b->qh), 16); }
static inline int8x16x2_t codes_q5_1(const block_q5_1 *b) { return five_bits(b->qs, b->qh); }
static inline int8x16x2_t codes_q8_0(const block_q8_0 *b) { return codes_32(vld1q_s8(b->qs), vld1q_s8(b->qs + 16)); }
static inline int8x16x2_t codes_iq4_nl(const block_iq4_nl *b) { return table_codes(b->qs, quant_codes_iq4); }
static inline int8x16x2_t codes_mxfp4(const block_mxfp4 *b) { return table_codes(b->qs, quant_codes_fp4); }

/* ---- scales of eight blocks */

static inline eight halves_to_floats(uint16x8_t bits) {
    float16x8_t h = vreinterpretq_f16_u16(bits);
    return (eight){vcvt_f32_f16(vget_low_f16(h)), vcvt_high_f32_f16(h)};
}
/* lane by lane: eight stores and one load of all of them would wait for each other */
#define EIGHT_HALVES(b, d)                                                                                           \
    halves_to_floats((uint16x8_t){block_u16((b)[0].d), block_u16((b)[1].d), block_u16((b)[2].d),                     \
                                  block_u16((b)[3].d), block_u16((b)[4].d), block_u16((b)[5].d),                     \
                                  block_u16((b)[6].d), block_u16((b)[7].d)})

#define HALF_SCALES(name)                                                                                            \
    static inline eight scales_##name(const block_##name *b) { return EIGHT_HALVES(b, d); }
HALF_SCALES(q4_0)
HALF_SCALES(q4_1)
HALF_SCALES(q5_0)
HALF_SCALES(q5_1)
HALF_SCALES(q8_0)
HALF_SCALES(iq4_nl)
static inline eight scales_mxfp4(const block_mxfp4 *b) {
    float d[8];
    for (int j = 0; j < 8; j++) d[j] = block_e8m0_half(b[j].e);
    return (eight){vld1q_f32(d), vld1q_f32(d + 4)};
}

/* ---- `minima` adds fmaf(m * d_x, sum of x, acc) */

#define NO_MINIMA(b) acc
#define MINIMA(b)    add_products(EIGHT_HALVES(b, m), input_scales(x), input_sums(x), acc)
#define GEMV(name, minima)                                                                                           \
    static inline eight eight_##name(const block_##name *b, const cpu_group *x, eight acc) {                         \
        int32x4_t v[8];                                                                                              \
        for (int j = 0; j < 8; j++) v[j] = dot_32(codes_##name(b + j), x, j);                                        \
        acc = add_products(scales_##name(b), input_scales(x), sum_eight(v), acc);                                    \
        return minima(b);                                                                                            \
    }                                                                                                                \
    void gemv_##name##_neon(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {                 \
        const cpu_group *groups = x;                                                                                 \
        size_t n = w->n_cols / 32;                                                                                   \
        for (size_t r = 0; r < n_rows; r++) {                                                                        \
            const block_##name *b = (const void *)(w->data + (row + r) * w->row_bytes);                              \
            eight acc = {vdupq_n_f32(0), vdupq_n_f32(0)};                                                            \
            size_t i = 0;                                                                                            \
            for (; i + 8 <= n; i += 8) {                                                                             \
                prefetch_blocks(b + i, 8 * sizeof *b);                                                               \
                acc = eight_##name(b + i, groups + i / 8, acc);                                                      \
            }                                                                                                        \
            if (i < n) {                                                                                             \
                block_##name last[8];                                                                                \
                memset(last, 0, sizeof last);                                                                        \
                memcpy(last, b + i, (n - i) * sizeof *b);                                                            \
                acc = eight_##name(last, groups + i / 8, acc);                                                       \
            }                                                                                                        \
            out[r] = add_in_order(acc);                                                                              \
        }                                                                                                            \
    }
GEMV(q4_0, NO_MINIMA)
GEMV(q4_1, MINIMA)
GEMV(q5_0, NO_MINIMA)
GEMV(q5_1, MINIMA)
GEMV(q8_0, NO_MINIMA)
GEMV(iq4_nl, NO_MINIMA)
GEMV(mxfp4, NO_MINIMA)

/* ---- NVFP4: eight runs of 16, two blocks, half a group at a time */

/* Two runs: the first's 16 codes, then the second's */
static inline int8x16x2_t two_runs(const uint8_t qs[2][8]) {
    uint8x16_t q = vld1q_u8(qs[0]);
    int8x16_t low = low_nibbles(q), high = high_nibbles(q), t = vld1q_s8(quant_codes_fp4);
    return codes_32(by_table(t, vcombine_s8(vget_low_s8(low), vget_low_s8(high))),
                    by_table(t, vcombine_s8(vget_high_s8(low), vget_high_s8(high))));
}

static inline eight eight_nvfp4(const block_nvfp4 *b, const cpu_group *x, int half, eight acc) {
    int32x4_t v[8];
    float d[8];
    for (int j = 0; j < 4; j++) {
        int8x16x2_t codes = two_runs(b[j / 2].qs + j % 2 * 2);
        v[2 * j] = dot_16(codes.val[0], x, 8 * half + 2 * j);
        v[2 * j + 1] = dot_16(codes.val[1], x, 8 * half + 2 * j + 1);
    }
    for (int j = 0; j < 8; j++) d[j] = block_ue4m3_half(b[j / 4].d[j % 4]);
    float32x4_t dx = vld1q_f32(x->d + 4 * half);
    return add_products((eight){vld1q_f32(d), vld1q_f32(d + 4)}, (eight){vzip1q_f32(dx, dx), vzip2q_f32(dx, dx)},
                        sum_eight(v), acc);
}

void gemv_nvfp4_neon(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {
    const cpu_group *groups = x;
    size_t n = w->n_cols / 64;
    for (size_t r = 0; r < n_rows; r++) {
        const block_nvfp4 *b = (const void *)(w->data + (row + r) * w->row_bytes);
        eight acc = {vdupq_n_f32(0), vdupq_n_f32(0)};
        size_t i = 0;
        for (; i + 2 <= n; i += 2) {
            prefetch_blocks(b + i, 2 * sizeof *b);
            acc = eight_nvfp4(b + i, groups + i / 4, i / 2 % 2, acc);
        }
        if (i < n) {
            block_nvfp4 last[2] = {b[i]};
            acc = eight_nvfp4(last, groups + i / 4, i / 2 % 2, acc);
        }
        out[r] = add_in_order(acc);
    }
}
