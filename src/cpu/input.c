/* Prepared activations: their two layouts (table.h), filled by the table's quantisers. */
#include <math.h>
#include <string.h>

#include "cpu/registry.h"

cpu_input cpu_input_for(const cpu_table *cpu, quant_type type) {
    (void)cpu;
    switch (type) {
    case QUANT_Q2_K:
    case QUANT_Q3_K:
    case QUANT_Q4_K:
    case QUANT_Q5_K:
    case QUANT_Q6_K:
    case QUANT_IQ4_XS:
    case QUANT_TQ1_0:
    case QUANT_TQ2_0: return CPU_INPUT_Q8_256;
    case QUANT_Q4_0:
    case QUANT_Q4_1:
    case QUANT_Q5_0:
    case QUANT_Q5_1:
    case QUANT_Q8_0:
    case QUANT_IQ4_NL:
    case QUANT_MXFP4:
    case QUANT_NVFP4: return CPU_INPUT_Q8_32;
    default: return CPU_INPUT_F32;
    }
}

size_t cpu_row_stride(cpu_input kind, size_t n_cols) {
    if (kind != CPU_INPUT_F32) return cpu_n_groups(n_cols) * sizeof(cpu_group);
    return (n_cols + CPU_LANES - 1) / CPU_LANES * CPU_LANES * sizeof(float);
}

size_t cpu_input_bytes(const cpu_table *cpu, cpu_input kind, size_t n_cols, size_t n_tokens) {
    size_t n = cpu_is_packed(cpu, kind, n_tokens) ? (n_tokens + 3) / 4 * 4 * cpu_n_groups(n_cols) * CPU_GROUP_BYTES
                                                  : n_tokens * cpu_row_stride(kind, n_cols);
    return (n + 63) / 64 * 64;
}

bool cpu_input_in_place(const cpu_table *cpu, cpu_input kind, size_t n_cols) {
    (void)cpu;
    return kind == CPU_INPUT_F32 && n_cols % CPU_LANES == 0;
}

size_t cpu_input_grain(const cpu_table *cpu, cpu_input kind, size_t n_tokens) {
    return cpu_is_packed(cpu, kind, n_tokens) ? CPU_TILE : 1;
}

/* Group g of a token. Behind the row's end x counts as 0 and scales as -0. */
static void quantise_group(const cpu_table *cpu, cpu_input kind, const float *x, size_t n_cols, size_t g,
                           cpu_group *out) {
    size_t n = n_cols - g * CPU_GROUP;
    if (n >= CPU_GROUP) {
        cpu->quantise[kind](x + g * CPU_GROUP, out);
        return;
    }
    float padded[CPU_GROUP] = {0};
    memcpy(padded, x + g * CPU_GROUP, n * sizeof *x);
    cpu->quantise[kind](padded, out);
    for (size_t j = (n + 31) / 32; j < 8; j++) out->d[j] = -0.0f;
}

static void fill_row(const cpu_table *cpu, cpu_input kind, const float *x, size_t n_cols, void *row) {
    if (kind == CPU_INPUT_F32) {
        float *out = row;
        memcpy(out, x, n_cols * sizeof *x);
        for (size_t i = n_cols; i % CPU_LANES; i++) out[i] = -0.0f;
        return;
    }
    for (size_t g = 0; g < cpu_n_groups(n_cols); g++) quantise_group(cpu, kind, x, n_cols, g, (cpu_group *)row + g);
}

/* ---- packed */

/* The parts of one group of a tile of w tokens. */
typedef struct packed {
    uint32_t *q, *s16, *s32; /* four codes, two sums */
    float *d;
    size_t w;
} packed;

static packed packed_group(void *tile, size_t w, size_t g) {
    uint8_t *p = (uint8_t *)tile + g * w * CPU_GROUP_BYTES;
    return (packed){(void *)p, (void *)(p + 256 * w), (void *)(p + 288 * w), (void *)(p + 304 * w), w};
}

static inline uint32_t load_u32(const void *p) {
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return u;
}

static void pack_group(const cpu_group *g, packed to, size_t token) {
    for (size_t k = 0; k < 64; k++) to.q[k * to.w + token] = load_u32(g->q + 4 * k);
    for (size_t k = 0; k < 8; k++) to.s16[k * to.w + token] = load_u32(g->s16 + 2 * k);
    for (size_t k = 0; k < 4; k++) to.s32[k * to.w + token] = load_u32(g->s32 + 2 * k);
    for (size_t k = 0; k < 8; k++) to.d[k * to.w + token] = g->d[k];
}

static void fill_tile(const cpu_table *cpu, cpu_input kind, const float *const *x, size_t n, size_t n_cols, size_t w,
                      void *tile) {
    for (size_t g = 0; g < cpu_n_groups(n_cols); g++) {
        packed to = packed_group(tile, w, g);
        for (size_t t = 0; t < w; t++) {
            cpu_group group;
            if (t < n)
                quantise_group(cpu, kind, x[t], n_cols, g, &group);
            else
                memset(&group, 0, sizeof group);
            pack_group(&group, to, t);
        }
    }
}

static void *tile_at(const void *input, size_t n_cols, size_t t) {
    return (uint8_t *)(uintptr_t)input + t * cpu_n_groups(n_cols) * CPU_GROUP_BYTES;
}

void cpu_input_unpack(size_t n_cols, size_t n_tokens, const void *input, size_t t, cpu_group *row) {
    size_t t0 = t / CPU_TILE * CPU_TILE, w = cpu_tile_width(n_tokens - t0);
    for (size_t i = 0; i < cpu_n_groups(n_cols); i++) {
        packed from = packed_group(tile_at(input, n_cols, t0), w, i);
        cpu_group *g = row + i;
        for (size_t k = 0; k < 64; k++) memcpy(g->q + 4 * k, from.q + k * w + t - t0, 4);
        for (size_t k = 0; k < 8; k++) memcpy(g->s16 + 2 * k, from.s16 + k * w + t - t0, 4);
        for (size_t k = 0; k < 4; k++) memcpy(g->s32 + 2 * k, from.s32 + k * w + t - t0, 4);
        for (size_t k = 0; k < 8; k++) g->d[k] = from.d[k * w + t - t0];
    }
}

void cpu_input_prepare(const cpu_table *cpu, cpu_input kind, const float *x, size_t ldx, const uint32_t *index,
                       size_t n_cols, size_t n_tokens, size_t t0, size_t t1, void *input) {
    size_t stride = cpu_row_stride(kind, n_cols), step = cpu_input_grain(cpu, kind, n_tokens);
    for (size_t t = t0; t < t1; t += step) {
        const float *tokens[CPU_TILE];
        size_t n = t1 - t < step ? t1 - t : step;
        for (size_t i = 0; i < n; i++) tokens[i] = x + (index ? index[t + i] : t + i) * ldx;
        if (step == 1)
            fill_row(cpu, kind, tokens[0], n_cols, (uint8_t *)input + t * stride);
        else
            fill_tile(cpu, kind, tokens, n, n_cols, cpu_tile_width(n_tokens - t), tile_at(input, n_cols, t));
    }
}
