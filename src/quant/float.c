/* The float formats: F32, F16, BF16. Owns: reading and writing them at any alignment. Rounding: base/half.h. */
#include <string.h>

#include "quant/blocks.h"
#include "quant/families.h"

void quant_dequantise_f32(const void *blocks, float *out, size_t n_blocks) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n_blocks; i++) out[i] = float_of_bits(block_u32(p + 4 * i));
}

void quant_dequantise_f16(const void *blocks, float *out, size_t n_blocks) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n_blocks; i++) out[i] = block_f16(p + 2 * i);
}

void quant_dequantise_bf16(const void *blocks, float *out, size_t n_blocks) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n_blocks; i++) out[i] = bf16_to_f32(block_u16(p + 2 * i));
}

void quant_quantise_f32(const float *x, void *blocks, size_t n_blocks) {
    uint8_t *p = blocks;
    for (size_t i = 0; i < n_blocks; i++) {
        uint32_t u = bits_of_float(x[i]);
        block_put_u16(p + 4 * i, (uint16_t)u);
        block_put_u16(p + 4 * i + 2, (uint16_t)(u >> 16));
    }
}

void quant_quantise_f16(const float *x, void *blocks, size_t n_blocks) {
    uint8_t *p = blocks;
    for (size_t i = 0; i < n_blocks; i++) block_put_u16(p + 2 * i, f32_to_f16(x[i]));
}

void quant_quantise_bf16(const float *x, void *blocks, size_t n_blocks) {
    uint8_t *p = blocks;
    for (size_t i = 0; i < n_blocks; i++) block_put_u16(p + 2 * i, f32_to_bf16(x[i]));
}
