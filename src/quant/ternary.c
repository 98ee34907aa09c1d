/* The ternary formats: TQ1_0 (five base-3 digits a byte) and TQ2_0 (two bits). Owns: both directions, in plain C.
 * Layouts: blocks.h; rules: the gguf Python package (gguf/quants.py). A byte of TQ1_0 is ceil(v * 256 / 243) for the
 * five digits' number v, so that a digit is read by multiplying and taking the carry: no division. */
#include <math.h>

#include "quant/blocks.h"
#include "quant/families.h"

/* The runs of a TQ1_0 block: `width` bytes of `digits` digits; digit j of byte i is weight first + width * j + i. */
typedef struct run {
    int byte, width, digits, first;
} run;
static const run runs[] = {{0, 32, 5, 0}, {32, 16, 5, 160}, {48, 4, 4, 240}};
enum { N_RUNS = sizeof runs / sizeof runs[0] };

static inline const uint8_t *run_bytes(const block_tq1_0 *b, const run *r) {
    return r->byte < 48 ? b->qs + r->byte : b->qh;
}

void quant_dequantise_tq1_0(const void *blocks, float *out, size_t n_blocks) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    const block_tq1_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (const run *r = runs; r < runs + N_RUNS; r++) {
            const uint8_t *q = run_bytes(b, r);
            for (int i = 0; i < r->width * r->digits; i++) {
                uint8_t rest = (uint8_t)(q[i % r->width] * power[i / r->width]);
                *out++ = d * (float)((rest * 3 >> 8) - 1);
            }
        }
    }
}

void quant_dequantise_tq2_0(const void *blocks, float *out, size_t n_blocks) {
    const block_tq2_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int i = 0; i < 256; i++)
            *out++ = d * (float)((b->qs[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - 1);
    }
}

/* Digits 0, 1, 2 of a block; returns its scale. Where nothing finite comes out, the digit is that of zero. */
static float ternary_digits(const float x[256], uint8_t digits[256]) {
    float d = 0.0f;
    for (int i = 0; i < 256; i++) {
        if (fabsf(x[i]) > d || isnan(x[i])) d = fabsf(x[i]);
    }
    float inverse = d == 0.0f ? 0.0f : 1.0f / d;
    for (int i = 0; i < 256; i++) {
        float q = roundf(x[i] * inverse);
        digits[i] = (uint8_t)(1 + (isfinite(q) ? (int)q : 0));
    }
    return d;
}

void quant_quantise_tq1_0(const float *x, void *blocks, size_t n_blocks) {
    block_tq1_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++, x += 256) {
        uint8_t digits[256];
        block_put_u16(b->d, f32_to_f16(ternary_digits(x, digits)));
        for (const run *r = runs; r < runs + N_RUNS; r++) {
            uint8_t *q = r->byte < 48 ? b->qs + r->byte : b->qh;
            for (int i = 0; i < r->width; i++) {
                int v = 0;
                for (int j = 0; j < 5; j++) v = 3 * v + (j < r->digits ? digits[r->first + r->width * j + i] : 0);
                q[i] = (uint8_t)((v * 256 + 242) / 243);
            }
        }
    }
}

void quant_quantise_tq2_0(const float *x, void *blocks, size_t n_blocks) {
    block_tq2_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++, x += 256) {
        uint8_t digits[256];
        block_put_u16(b->d, f32_to_f16(ternary_digits(x, digits)));
        for (int i = 0; i < 64; i++) {
            const uint8_t *g = digits + i / 32 * 128 + i % 32;
            b->qs[i] = (uint8_t)(g[0] | g[32] << 2 | g[64] << 4 | g[96] << 6);
        }
    }
}
