/* The blocks of 32 with uniform codes: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. Owns: both directions, in plain C. The KV
 * cache's Q8_0 rows are written by this quantiser. Layouts: blocks.h; rules of the quantisers: the gguf Python
 * package (gguf/quants.py), every step in float. Where 1/d overflows or an input is not finite, the package leaves
 * the codes to the machine; here they are 0. */
#include <math.h>

#include "quant/blocks.h"
#include "quant/families.h"

/* The two nibbles of byte i belong to weights i and 16 + i. */
static inline int nibble(const uint8_t qs[16], int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

void quant_dequantise_q4_0(const void *blocks, float *out, size_t n_blocks) {
    const block_q4_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int i = 0; i < 32; i++) *out++ = d * (float)(nibble(b->qs, i) - 8);
    }
}

void quant_dequantise_q4_1(const void *blocks, float *out, size_t n_blocks) {
    const block_q4_1 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d), m = block_f16(b->m);
        for (int i = 0; i < 32; i++) *out++ = d * (float)nibble(b->qs, i) + m;
    }
}

void quant_dequantise_q5_0(const void *blocks, float *out, size_t n_blocks) {
    const block_q5_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        uint32_t fifth = block_u32(b->qh);
        for (int i = 0; i < 32; i++) *out++ = d * (float)((nibble(b->qs, i) | (int)(fifth >> i & 1) << 4) - 16);
    }
}

void quant_dequantise_q5_1(const void *blocks, float *out, size_t n_blocks) {
    const block_q5_1 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d), m = block_f16(b->m);
        uint32_t fifth = block_u32(b->qh);
        for (int i = 0; i < 32; i++) *out++ = d * (float)(nibble(b->qs, i) | (int)(fifth >> i & 1) << 4) + m;
    }
}

void quant_dequantise_q8_0(const void *blocks, float *out, size_t n_blocks) {
    const block_q8_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int i = 0; i < 32; i++) *out++ = d * (float)b->qs[i];
    }
}

/* How a block becomes codes 0..top: q = (x - low) * inverse + offset, cut towards zero. */
typedef struct uniform {
    float d, low, inverse, offset;
    int top;
} uniform;

static float inverse_of(float d) {
    float inverse = d == 0.0f ? 0.0f : 1.0f / d;
    return isinf(inverse) ? NAN : inverse;
}

/* Codes around zero: the value that is largest in magnitude, the first of equals, gets code 0. */
static uniform fit_signed(const float x[32], int half) {
    float largest = x[0];
    for (int i = 1; i < 32; i++) {
        if (fabsf(x[i]) > fabsf(largest) || isnan(x[i])) largest = x[i];
    }
    float d = largest / (float)-half;
    return (uniform){.d = d, .inverse = inverse_of(d), .offset = (float)half + 0.5f, .top = 2 * half - 1};
}

/* Codes from the smallest value, 0, to the largest, top. */
static uniform fit_range(const float x[32], int top) {
    float low = x[0], high = x[0];
    for (int i = 1; i < 32; i++) {
        if (x[i] < low || isnan(x[i])) low = x[i];
        if (x[i] > high || isnan(x[i])) high = x[i];
    }
    float d = (high - low) / (float)top;
    return (uniform){.d = d, .low = low, .inverse = inverse_of(d), .offset = 0.5f, .top = top};
}

static int code_of(const uniform *u, float x) {
    float q = (x - u->low) * u->inverse + u->offset;
    if (!(q > 0.0f)) return 0;
    return q >= (float)u->top ? u->top : (int)q;
}

/* Writes the low four bits of the codes; returns the fifth bits. */
static uint32_t pack(const uniform *u, const float x[32], uint8_t qs[16]) {
    uint32_t fifth = 0;
    for (int i = 0; i < 16; i++) {
        unsigned a = (unsigned)code_of(u, x[i]), b = (unsigned)code_of(u, x[16 + i]);
        qs[i] = (uint8_t)((a & 15) | (b & 15) << 4);
        fifth |= a >> 4 << i | b >> 4 << (16 + i);
    }
    return fifth;
}

static void put_fifth(uint8_t qh[4], uint32_t fifth) {
    block_put_u16(qh, (uint16_t)fifth);
    block_put_u16(qh + 2, (uint16_t)(fifth >> 16));
}

void quant_quantise_q4_0(const float *x, void *blocks, size_t n_blocks) {
    block_q4_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++, x += 32) {
        uniform u = fit_signed(x, 8);
        block_put_u16(b->d, f32_to_f16(u.d));
        pack(&u, x, b->qs);
    }
}

void quant_quantise_q4_1(const float *x, void *blocks, size_t n_blocks) {
    block_q4_1 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++, x += 32) {
        uniform u = fit_range(x, 15);
        block_put_u16(b->d, f32_to_f16(u.d));
        block_put_u16(b->m, f32_to_f16(u.low));
        pack(&u, x, b->qs);
    }
}

void quant_quantise_q5_0(const float *x, void *blocks, size_t n_blocks) {
    block_q5_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++, x += 32) {
        uniform u = fit_signed(x, 16);
        block_put_u16(b->d, f32_to_f16(u.d));
        put_fifth(b->qh, pack(&u, x, b->qs));
    }
}

void quant_quantise_q5_1(const float *x, void *blocks, size_t n_blocks) {
    block_q5_1 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++, x += 32) {
        uniform u = fit_range(x, 31);
        block_put_u16(b->d, f32_to_f16(u.d));
        block_put_u16(b->m, f32_to_f16(u.low));
        put_fifth(b->qh, pack(&u, x, b->qs));
    }
}

void quant_quantise_q8_0(const float *x, void *blocks, size_t n_blocks) {
    block_q8_0 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++, x += 32) {
        float largest = 0.0f;
        for (int i = 0; i < 32; i++) {
            if (fabsf(x[i]) > largest || isnan(x[i])) largest = fabsf(x[i]);
        }
        float d = largest / 127.0f, inverse = inverse_of(d);
        block_put_u16(b->d, f32_to_f16(d));
        for (int i = 0; i < 32; i++) {
            float q = roundf(x[i] * inverse); /* halves away from zero */
            b->qs[i] = (int8_t)(isnan(q) ? 0 : q);
        }
    }
}
