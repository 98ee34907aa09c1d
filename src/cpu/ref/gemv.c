/* Products by the contract's rules 1 and 2, in plain C: the definition that every other kernel is compared with.
 * Knows one token in row layout (table.h). */
#include <math.h>

#include "cpu/registry.h"
#include "cpu/tmpl/codes256.h"
#include "cpu/tmpl/codes32.h"

/* ---- rule 1, blocks of 256: acc = fmaf(d * d_x, isum, acc), then the minima, blocks in order */

static inline int32_t dot16(const int8_t *code, const int8_t *q) {
    int32_t sum = 0;
    for (int i = 0; i < 16; i++) sum += code[i] * q[i];
    return sum;
}

static float add_block_256(const codes256 *w, const cpu_group *x, bool minima, float acc) {
    int32_t isum = 0, msum = 0;
    for (int j = 0; j < 16; j++) {
        isum += w->scale[j] * dot16(w->code + 16 * j, x->q + 16 * j);
        if (minima) msum += w->minimum[j] * x->s16[j];
    }
    acc = fmaf(w->d * x->d[0], (float)isum, acc);
    return minima ? fmaf(-(w->dmin * x->d[0]), (float)msum, acc) : acc;
}

#define GEMV_256(name, minima)                                                                                       \
    void gemv_##name##_ref(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {                  \
        const cpu_group *groups = x;                                                                                 \
        for (size_t r = 0; r < n_rows; r++) {                                                                        \
            const block_##name *b = (const void *)(w->data + (row + r) * w->row_bytes);                              \
            codes256 codes;                                                                                          \
            float acc = 0.0f;                                                                                        \
            for (size_t i = 0; i < w->n_cols / 256; i++) {                                                           \
                codes256_##name(b + i, &codes);                                                                      \
                acc = add_block_256(&codes, groups + i, minima, acc);                                                \
            }                                                                                                        \
            out[r] = acc;                                                                                            \
        }                                                                                                            \
    }
GEMV_256(q2_k, true)
GEMV_256(q3_k, false)
GEMV_256(q4_k, true)
GEMV_256(q5_k, true)
GEMV_256(q6_k, false)
GEMV_256(iq4_xs, false)
GEMV_256(tq1_0, false)
GEMV_256(tq2_0, false)

/* ---- rule 1, blocks of 32: block b goes to accumulator b mod 8; the eight are added in order at the end */

static float add_eight(const float acc[8]) {
    float sum = acc[0];
    for (int i = 1; i < 8; i++) sum += acc[i];
    return sum;
}

#define GEMV_32(name, minimum)                                                                                       \
    void gemv_##name##_ref(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {                  \
        const cpu_group *groups = x;                                                                                 \
        for (size_t r = 0; r < n_rows; r++) {                                                                        \
            const block_##name *b = (const void *)(w->data + (row + r) * w->row_bytes);                              \
            codes32 codes;                                                                                           \
            float acc[8] = {0};                                                                                      \
            for (size_t i = 0; i < w->n_cols / 32; i++) {                                                            \
                const cpu_group *g = groups + i / 8;                                                                 \
                size_t k = i % 8;                                                                                    \
                codes32_##name(b + i, &codes);                                                                       \
                int32_t isum = dot16(codes.code, g->q + 32 * k) + dot16(codes.code + 16, g->q + 32 * k + 16);        \
                acc[k] = fmaf(codes.d * g->d[k], (float)isum, acc[k]);                                               \
                if (minimum) acc[k] = fmaf(codes.m * g->d[k], (float)g->s32[k], acc[k]);                             \
            }                                                                                                        \
            out[r] = add_eight(acc);                                                                                 \
        }                                                                                                            \
    }
GEMV_32(q4_0, false)
GEMV_32(q4_1, true)
GEMV_32(q5_0, false)
GEMV_32(q5_1, true)
GEMV_32(q8_0, false)
GEMV_32(iq4_nl, false)
GEMV_32(mxfp4, false)

/* NVFP4: run s of 16 goes to accumulator s mod 8. */
void gemv_nvfp4_ref(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {
    const cpu_group *groups = x;
    for (size_t r = 0; r < n_rows; r++) {
        const block_nvfp4 *b = (const void *)(w->data + (row + r) * w->row_bytes);
        codes64 codes;
        float acc[8] = {0};
        for (size_t s = 0; s < w->n_cols / 16; s++) {
            if (s % 4 == 0) codes64_nvfp4(b + s / 4, &codes);
            const cpu_group *g = groups + s / 16;
            int32_t isum = dot16(codes.code + s % 4 * 16, g->q + s % 16 * 16);
            acc[s % 8] = fmaf(codes.d[s % 4] * g->d[s % 16 / 2], (float)isum, acc[s % 8]);
        }
        out[r] = add_eight(acc);
    }
}

/* ---- rule 2: 16 partial sums, lane j takes the elements congruent to j; then the tree */

static float add_tree(float lanes[CPU_LANES]) {
    for (int step = CPU_LANES / 2; step > 0; step /= 2) {
        for (int j = 0; j < step; j++) lanes[j] += lanes[j + step];
    }
    return lanes[0];
}

void gemv_float_ref(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {
    enum { PIECE = 256 }; /* a multiple of every block and of the lanes */
    const float *xs = x;
    size_t block = w->format->block;
    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *data = w->data + (row + r) * w->row_bytes;
        float lanes[CPU_LANES] = {0}, piece[PIECE];
        for (size_t i = 0; i < w->n_cols; i += PIECE) {
            size_t n = w->n_cols - i < PIECE ? w->n_cols - i : PIECE;
            w->format->dequantise(data + i / block * w->format->block_bytes, piece, n / block);
            for (size_t k = 0; k < n; k++) lanes[k % CPU_LANES] = fmaf(piece[k], xs[i + k], lanes[k % CPU_LANES]);
        }
        out[r] = add_tree(lanes);
    }
}
