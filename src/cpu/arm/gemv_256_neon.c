/* One token times rows of 256 blocks, NEON with dot product (contract, rule 1). Rows are read once, in the file's own
 * layout, with prefetch: decoding is bound by memory. Codes are signed bytes as the contract has them, so that no
 * offset has to come off afterwards; four runs of weights give a vector of four sums, which takes four sub-scales at
 * once. All is exact in 32 bits. */
#include <arm_neon.h>

#include "cpu/arm/dots_neon.h"
#include "cpu/registry.h"
#include "cpu/tmpl/codes256.h"

/* The integers of one block: to be added up over all lanes. */
typedef struct sums {
    int32x4_t isum, msum;
} sums;

static inline sums only(int32x4_t isum) { return (sums){isum, vdupq_n_s32(0)}; }

/* += scale * sum for eight runs of 32 weights */
static inline int32x4_t scale_runs_32(const int32x4_t dots[8], int16x8_t scales) {
    int32x4_t sum = vmulq_s32(sum_four(dots), vmovl_s16(vget_low_s16(scales)));
    return vmlaq_s32(sum, sum_four(dots + 4), vmovl_high_s16(scales));
}
/* and for 16 runs of 16 */
static inline int32x4_t scale_runs_16(const int32x4_t dots[16], int8x16_t scales) {
    int32x4_t sum = scale_runs_32(dots, vmovl_s8(vget_low_s8(scales)));
    return vaddq_s32(sum, scale_runs_32(dots + 8, vmovl_high_s8(scales)));
}
static inline int32x4_t add_all(const int32x4_t dots[8]) {
    int32x4_t a = vaddq_s32(vaddq_s32(dots[0], dots[1]), vaddq_s32(dots[2], dots[3]));
    return vaddq_s32(a, vaddq_s32(vaddq_s32(dots[4], dots[5]), vaddq_s32(dots[6], dots[7])));
}

/* ---- per format */

/* Six-bit scales and minima of Q4_K and Q5_K. */
typedef struct k_scales {
    int16x8_t scales, minima;
} k_scales;

static inline int16x8_t widen(uint32_t low, uint32_t high) {
    return vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(low | (uint64_t)high << 32)));
}
static inline k_scales unpack_k_scales(const uint8_t packed[12]) {
    const uint32_t six = 0x3f3f3f3fu, four = 0x0f0f0f0fu, upper = 0x30303030u;
    uint32_t a = block_u32(packed), b = block_u32(packed + 4), c = block_u32(packed + 8);
    return (k_scales){widen(a & six, (c & four) | (a >> 2 & upper)),
                      widen(b & six, (c >> 4 & four) | (b >> 2 & upper))};
}

/* sum of minimum * (sum of x), by 32 */
static inline int32x4_t minima_32(int16x8_t m, const cpu_group *x) {
    int16x8_t s = vld1q_s16(x->s32);
    return vmlal_high_s16(vmull_s16(vget_low_s16(m), vget_low_s16(s)), m, s);
}

static inline sums sums_q4_k(const block_q4_k *b, const cpu_group *x) {
    k_scales k = unpack_k_scales(b->scales);
    int32x4_t dots[8];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
        uint8x16_t q0 = vld1q_u8(b->qs + 32 * r), q1 = vld1q_u8(b->qs + 32 * r + 16);
        dots[2 * r] = dot_32(codes_32(low_nibbles(q0), low_nibbles(q1)), x, 2 * r);
        dots[2 * r + 1] = dot_32(codes_32(high_nibbles(q0), high_nibbles(q1)), x, 2 * r + 1);
    }
    return (sums){scale_runs_32(dots, k.scales), minima_32(k.minima, x)};
}

static inline int8x16x2_t with_bit(int8x16_t c0, int8x16_t c1, const uint8x16_t bits[2], int j, int8_t value) {
    uint8x16_t mask = vdupq_n_u8((uint8_t)(1 << j));
    return codes_32(vaddq_s8(c0, if_bit(bits[0], mask, value)), vaddq_s8(c1, if_bit(bits[1], mask, value)));
}

static inline sums sums_q5_k(const block_q5_k *b, const cpu_group *x) {
    k_scales k = unpack_k_scales(b->scales);
    int32x4_t dots[8];
    uint8x16_t bits[2] = {vld1q_u8(b->qh), vld1q_u8(b->qh + 16)};
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
        uint8x16_t q0 = vld1q_u8(b->qs + 32 * r), q1 = vld1q_u8(b->qs + 32 * r + 16);
        dots[2 * r] = dot_32(with_bit(low_nibbles(q0), low_nibbles(q1), bits, 2 * r, 16), x, 2 * r);
        dots[2 * r + 1] = dot_32(with_bit(high_nibbles(q0), high_nibbles(q1), bits, 2 * r + 1, 16), x, 2 * r + 1);
    }
    return (sums){scale_runs_32(dots, k.scales), minima_32(k.minima, x)};
}

/* Weights 16 k.. of a half: four bits of ql, two of qh at 2 j, minus 32 */
static inline int8x16_t six_bits(int8x16_t low, uint8x16_t qh, int j) {
    uint8x16_t high = vandq_u8(vshlq_u8(qh, vdupq_n_s8((int8_t)(-2 * j))), vdupq_n_u8(3));
    return vsubq_s8(vorrq_s8(low, vreinterpretq_s8_u8(vshlq_n_u8(high, 4))), vdupq_n_s8(32));
}

static inline sums sums_q6_k(const block_q6_k *b, const cpu_group *x) {
    int32x4_t dots[16];
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) { /* the first or the second sixteen of each 32 */
            uint8x16_t q0 = vld1q_u8(b->ql + 64 * h + 16 * k), q1 = vld1q_u8(b->ql + 64 * h + 32 + 16 * k);
            uint8x16_t qh = vld1q_u8(b->qh + 32 * h + 16 * k);
            int at = 8 * h + k;
            dots[at] = dot_16(six_bits(low_nibbles(q0), qh, 0), x, at);
            dots[at + 2] = dot_16(six_bits(low_nibbles(q1), qh, 1), x, at + 2);
            dots[at + 4] = dot_16(six_bits(high_nibbles(q0), qh, 2), x, at + 4);
            dots[at + 6] = dot_16(six_bits(high_nibbles(q1), qh, 3), x, at + 6);
        }
    }
    return only(scale_runs_16(dots, vld1q_s8(b->scales)));
}

/* Two-bit codes 16 k.. of field j */
static inline int8x16_t two_bits(const uint8_t *qs, int j) {
    uint8x16_t q = vshlq_u8(vld1q_u8(qs), vdupq_n_s8((int8_t)(-2 * j)));
    return vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(3)));
}
static inline int8x16x2_t two_bits_32(const uint8_t *qs, int j) {
    return codes_32(two_bits(qs + 32 * (j / 4), j % 4), two_bits(qs + 32 * (j / 4) + 16, j % 4));
}

static inline sums sums_q2_k(const block_q2_k *b, const cpu_group *x) {
    int32x4_t dots[16];
    uint8x16_t both = vld1q_u8(b->scales);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        int8x16x2_t codes = two_bits_32(b->qs, j);
        dots[2 * j] = dot_16(codes.val[0], x, 2 * j);
        dots[2 * j + 1] = dot_16(codes.val[1], x, 2 * j + 1);
    }
    int8x16_t minima = high_nibbles(both);
    int16x8_t m0 = vmovl_s8(vget_low_s8(minima)), m1 = vmovl_high_s8(minima);
    int16x8_t s0 = vld1q_s16(x->s16), s1 = vld1q_s16(x->s16 + 8);
    int32x4_t msum = vmlal_high_s16(vmull_s16(vget_low_s16(m0), vget_low_s16(s0)), m0, s0);
    msum = vmlal_high_s16(vmlal_s16(msum, vget_low_s16(m1), vget_low_s16(s1)), m1, s1);
    return (sums){scale_runs_16(dots, low_nibbles(both)), msum};
}

static inline sums sums_q3_k(const block_q3_k *b, const cpu_group *x) {
    int8_t scales[16];
    int32x4_t dots[16];
    uint8x16_t bits[2] = {vld1q_u8(b->hmask), vld1q_u8(b->hmask + 16)};
    int8x16_t four = vdupq_n_s8(4);
    block_q3_k_scales(b->scales, scales);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        int8x16x2_t c = two_bits_32(b->qs, j);
        c = with_bit(vsubq_s8(c.val[0], four), vsubq_s8(c.val[1], four), bits, j, 4);
        dots[2 * j] = dot_16(c.val[0], x, 2 * j);
        dots[2 * j + 1] = dot_16(c.val[1], x, 2 * j + 1);
    }
    return only(scale_runs_16(dots, vld1q_s8(scales)));
}

static inline sums sums_iq4_xs(const block_iq4_xs *b, const cpu_group *x) {
    int8_t scales[8];
    int32x4_t dots[8];
    int8x16_t table = vld1q_s8(quant_codes_iq4);
    block_iq4_xs_scales(b, scales);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        uint8x16_t q = vld1q_u8(b->qs[j]);
        dots[j] = dot_32(codes_32(by_table(table, low_nibbles(q)), by_table(table, high_nibbles(q))), x, j);
    }
    return only(scale_runs_32(dots, vmovl_s8(vld1_s8(scales))));
}

static inline sums sums_tq2_0(const block_tq2_0 *b, const cpu_group *x) {
    int32x4_t dots[8];
    int8x16_t one = vdupq_n_s8(1);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        int8x16x2_t c = two_bits_32(b->qs, j);
        dots[j] = dot_32(codes_32(vsubq_s8(c.val[0], one), vsubq_s8(c.val[1], one)), x, j);
    }
    return only(add_all(dots));
}

static inline sums sums_tq1_0(const block_tq1_0 *b, const cpu_group *x) {
    codes256 codes;
    int32x4_t dots[8];
    codes256_tq1_0(b, &codes);
    for (int j = 0; j < 8; j++) dots[j] = dot_32(vld1q_s8_x2(codes.code + 32 * j), x, j);
    return only(add_all(dots));
}

/* ---- the end of a block */

/* acc = fmaf(d * d_x, isum, acc) */
static inline float end_plain(const uint8_t *d, sums s, const cpu_group *x, float acc) {
    return __builtin_fmaf(half_to_float(d) * x->d[0], (float)vaddvq_s32(s.isum), acc);
}
/* and acc = fmaf(-(dmin * d_x), msum, acc) */
static inline float end_minima(const uint8_t *d, const uint8_t *dmin, sums s, const cpu_group *x, float acc) {
    acc = end_plain(d, s, x, acc);
    return __builtin_fmaf(-(half_to_float(dmin) * x->d[0]), (float)vaddvq_s32(s.msum), acc);
}

#define END_PLAIN  end_plain(b[i].d, s, groups + i, acc)
#define END_MINIMA end_minima(b[i].d, b[i].dmin, s, groups + i, acc)
#define GEMV(name, end)                                                                                              \
    void gemv_##name##_neon(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {                 \
        const cpu_group *groups = x;                                                                                 \
        size_t n = w->n_cols / 256;                                                                                  \
        for (size_t r = 0; r < n_rows; r++) {                                                                        \
            const block_##name *b = (const void *)(w->data + (row + r) * w->row_bytes);                              \
            float acc = 0.0f;                                                                                        \
            for (size_t i = 0; i < n; i++) {                                                                         \
                prefetch_blocks(b + i, sizeof *b);                                                                   \
                sums s = sums_##name(b + i, groups + i);                                                             \
                acc = end;                                                                                           \
            }                                                                                                        \
            out[r] = acc;                                                                                            \
        }                                                                                                            \
    }
GEMV(q2_k, END_MINIMA)
GEMV(q3_k, END_PLAIN)
GEMV(q4_k, END_MINIMA)
GEMV(q5_k, END_MINIMA)
GEMV(q6_k, END_PLAIN)
GEMV(iq4_xs, END_PLAIN)
GEMV(tq1_0, END_PLAIN)
GEMV(tq2_0, END_PLAIN)
