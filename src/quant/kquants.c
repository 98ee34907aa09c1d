/* The blocks of 256 with scaled scales: Q2_K to Q6_K. Owns: reading them, in plain C. Layouts: blocks.h; the order of
 * the float operations is that of the gguf Python package (gguf/quants.py): scales first, then the code. */
#include "quant/blocks.h"
#include "quant/families.h"

/* Q2_K, Q3_K: the two bits of weight i of 256. */
static inline int two_bits(const uint8_t qs[64], int i) { return qs[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3; }

/* Q4_K, Q5_K: the low four bits of weight i of 256. */
static inline int four_bits(const uint8_t qs[128], int i) { return qs[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15; }

void quant_dequantise_q2_k(const void *blocks, float *out, size_t n_blocks) {
    const block_q2_k *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d), dmin = block_f16(b->dmin);
        for (int j = 0; j < 16; j++) {
            float scale = d * (float)(b->scales[j] & 15), minimum = dmin * (float)(b->scales[j] >> 4);
            for (int i = 16 * j; i < 16 * j + 16; i++) *out++ = scale * (float)two_bits(b->qs, i) - minimum;
        }
    }
}

void quant_dequantise_q3_k(const void *blocks, float *out, size_t n_blocks) {
    const block_q3_k *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        int8_t scales[16];
        block_q3_k_scales(b->scales, scales);
        float d = block_f16(b->d);
        for (int j = 0; j < 16; j++) {
            float scale = d * (float)scales[j];
            for (int i = 16 * j; i < 16 * j + 16; i++) {
                int high = b->hmask[i % 32] >> i / 32 & 1;
                *out++ = scale * (float)(two_bits(b->qs, i) - (high ? 0 : 4));
            }
        }
    }
}

void quant_dequantise_q4_k(const void *blocks, float *out, size_t n_blocks) {
    const block_q4_k *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        uint8_t scales[8], minima[8];
        block_k_scales(b->scales, scales, minima);
        float d = block_f16(b->d), dmin = block_f16(b->dmin);
        for (int j = 0; j < 8; j++) {
            float scale = d * (float)scales[j], minimum = dmin * (float)minima[j];
            for (int i = 32 * j; i < 32 * j + 32; i++) *out++ = scale * (float)four_bits(b->qs, i) - minimum;
        }
    }
}

void quant_dequantise_q5_k(const void *blocks, float *out, size_t n_blocks) {
    const block_q5_k *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        uint8_t scales[8], minima[8];
        block_k_scales(b->scales, scales, minima);
        float d = block_f16(b->d), dmin = block_f16(b->dmin);
        for (int j = 0; j < 8; j++) {
            float scale = d * (float)scales[j], minimum = dmin * (float)minima[j];
            for (int i = 0; i < 32; i++) {
                int q = four_bits(b->qs, 32 * j + i) | (b->qh[i] >> j & 1) << 4;
                *out++ = scale * (float)q - minimum;
            }
        }
    }
}

void quant_dequantise_q6_k(const void *blocks, float *out, size_t n_blocks) {
    const block_q6_k *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int i = 0; i < 256; i++) {
            float scale = d * (float)b->scales[i / 16];
            int low = b->ql[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
            int high = b->qh[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
            *out++ = scale * (float)((low | high << 4) - 32);
        }
    }
}
