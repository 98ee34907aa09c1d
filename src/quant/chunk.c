/* Filling the lanes. See chunk.h. */
#include "quant/chunk.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

/* A power of two near the largest magnitude, so that the block's largest weight is between 1/2 and 1. */
static float unit_of(const float *x, int n) {
    uint32_t largest = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bits = bits_of_float(x[i]) & 0x7fffffffu;
        bits = bits < 0x7f800000u ? bits : 0;
        largest = bits > largest ? bits : largest;
    }
    uint32_t exponent = largest >> 23;
    exponent = exponent < 30 ? 30 : exponent > 250 ? 250 : exponent;
    return float_of_bits((exponent + 1) << 23);
}

/* 1 / the mean of the weights: only their proportions matter. */
static float weight_factor(const float *weights, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += weights[i];
    double factor = n / sum;
    return sum > 0 && factor < 1e30 ? (float)factor : 0.0f;
}

static void load_block(quant_chunk *c, const float *x, const float *weights, int lane, float per_unit) {
    int n = c->p.n, all = c->groups * n;
    float factor = weights ? weight_factor(weights, all) : 0.0f, clean[SEARCH_LANES * SEARCH_LONGEST];
    for (int i = 0; i < all; i++) {
        float v = x[i] * per_unit;
        clean[i] = fabsf(v) <= 2.0f ? v : 0.0f; /* not finite: 0 */
    }
    for (int i = 0; i < n; i++) {
        for (int g = 0; g < c->groups; g++) c->p.x[i][lane + g] = clean[g * n + i];
        for (int g = 0; g < c->groups; g++) c->p.w[i][lane + g] = 1.0f;
    }
    if (factor == 0.0f) return;
    for (int i = 0; i < n; i++) {
        /* a little for each weight, so that what never mattered while measuring is not thrown away */
        for (int g = 0; g < c->groups; g++) c->p.w[i][lane + g] = weights[g * n + i] * factor + 1e-4f;
    }
}

void quant_chunk_load(quant_chunk *c, const float *x, const float *weights, int n_blocks, int groups, int n) {
    if (n_blocks * groups < SEARCH_LANES) memset(&c->p, 0, sizeof c->p);
    c->p.n = n;
    c->n_blocks = n_blocks;
    c->groups = groups;
    for (int b = 0; b < n_blocks; b++) {
        size_t at = (size_t)(b * groups * n);
        c->unit[b] = unit_of(x + at, groups * n);
        load_block(c, x + at, weights ? weights + at : NULL, b * groups, 1.0f / c->unit[b]);
    }
}

void quant_chunks(const quant_format *f, int n, const float *x, const float *weights, void *blocks, size_t n_blocks,
                  quant_chunk_fn write, const void *rule) {
    int groups = (int)f->block / n;
    size_t step = (size_t)(SEARCH_LANES / groups);
    for (size_t k = 0; k < n_blocks; k += step) {
        quant_chunk c;
        size_t at = k * f->block, now = n_blocks - k < step ? n_blocks - k : step;
        quant_chunk_load(&c, x + at, weights ? weights + at : NULL, (int)now, groups, n);
        write(&c, rule, (uint8_t *)blocks + k * f->block_bytes);
    }
}

uint16_t quant_chunk_f16(float unit, float *v) {
    float real = *v * unit;
    if (!(fabsf(real) <= 65504.0f)) real = real > 0.0f ? 65504.0f : real < 0.0f ? -65504.0f : 0.0f;
    uint16_t h = f32_to_f16(real);
    *v = f16_to_f32(h) / unit;
    return h;
}

void quant_chunk_codes(const quant_chunk *c, const uint8_t (*codes)[SEARCH_LANES], int b, uint8_t out[256]) {
    for (int g = 0; g < c->groups; g++) {
        for (int i = 0; i < c->p.n; i++) *out++ = codes[i][b * c->groups + g];
    }
}

void quant_pack_four_bits(const uint8_t codes[256], int run, uint8_t out[128]) {
    for (int at = 0; at < 256; at += run) {
        for (int i = at; i < at + run / 2; i++) *out++ = (uint8_t)((codes[i] & 15) | (codes[i + run / 2] & 15) << 4);
    }
}

void quant_pack_two_bits(const uint8_t codes[256], int shift, uint8_t out[64]) {
    for (int at = 0; at < 256; at += 128) {
        for (const uint8_t *q = codes + at; q < codes + at + 32; q++) {
            *out++ = (uint8_t)((q[0] >> shift & 3) | (q[32] >> shift & 3) << 2 | (q[64] >> shift & 3) << 4 |
                               (q[96] >> shift & 3) << 6);
        }
    }
}
