/* The codebook formats IQ1 to IQ3, and IQ4 with its 16 values. Owns: reading them, in plain C. Layouts: blocks.h;
 * codebooks: iq_tables.h; the order of the float operations is that of the gguf Python package (gguf/quants.py). */
#include "quant/blocks.h"
#include "quant/families.h"
#include "quant/iq_tables.h"

const int8_t quant_codes_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static const uint8_t iq2_values[4] = {0x08, 0x19, 0x2b, 0};
static const uint8_t iq3_xxs_values[8] = {0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3e};
static const uint8_t iq3_s_values[8] = {1, 3, 5, 7, 9, 11, 13, 15};

/* Seven bits of signs: the eighth makes their number even. */
static inline unsigned even_signs(unsigned seven) { return seven | (unsigned)__builtin_parity(seven) << 7; }

static float *put_iq2(float *out, float d, unsigned row, unsigned signs) {
    for (int i = 0; i < 8; i++) {
        float v = d * (float)iq2_values[row >> 2 * i & 3];
        *out++ = signs >> i & 1 ? -v : v;
    }
    return out;
}

static float *put_iq3(float *out, float d, const uint8_t values[8], unsigned row, unsigned signs) {
    for (int i = 0; i < 4; i++) {
        float v = d * (float)values[row >> 4 * i & 7];
        *out++ = signs >> i & 1 ? -v : v;
    }
    return out;
}

static float *put_iq1(float *out, float d, unsigned row, float shift) {
    for (int i = 0; i < 8; i++) *out++ = d * ((float)((int)(row >> 2 * i & 3) - 1) + shift);
    return out;
}

void quant_dequantise_iq1_s(const void *blocks, float *out, size_t n_blocks) {
    const block_iq1_s *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int j = 0; j < 8; j++) {
            unsigned high = block_u16(b->qh[j]);
            float scale = d * (float)(2 * (high >> 12 & 7) + 1), shift = high & 0x8000 ? -0.125f : 0.125f;
            for (int i = 0; i < 4; i++) {
                out = put_iq1(out, scale, quant_iq1_grid[b->qs[4 * j + i] | (high >> 3 * i & 7) << 8], shift);
            }
        }
    }
}

static float iq1_m_scale(const block_iq1_m *b) {
    unsigned h = 0;
    for (int j = 0; j < 4; j++) h |= (unsigned)(block_u16(b->scales[j]) >> 12) << 4 * j;
    return f16_to_f32((uint16_t)h);
}

void quant_dequantise_iq1_m(const void *blocks, float *out, size_t n_blocks) {
    const block_iq1_m *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = iq1_m_scale(b);
        for (int i = 0; i < 32; i++) {
            unsigned scale = block_u16(b->scales[i / 8]) >> i / 2 % 4 * 3 & 7, high = b->qh[i / 2] >> i % 2 * 4;
            float shift = high & 8 ? -0.125f : 0.125f;
            out = put_iq1(out, d * (float)(2 * scale + 1), quant_iq1_grid[b->qs[i] | (high & 7) << 8], shift);
        }
    }
}

void quant_dequantise_iq2_xxs(const void *blocks, float *out, size_t n_blocks) {
    const block_iq2_xxs *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int j = 0; j < 8; j++) {
            uint32_t bits = block_u32(b->qs[j] + 4);
            float scale = d * (0.5f + (float)(bits >> 28)) * 0.25f;
            for (int i = 0; i < 4; i++) {
                out = put_iq2(out, scale, quant_iq2_xxs_grid[b->qs[j][i]], even_signs(bits >> 7 * i & 127));
            }
        }
    }
}

/* Scale j of four bits, of 16 weights, as IQ2_XS and IQ2_S have them. */
static inline float iq2_scale(float d, const uint8_t scales[8], int j) {
    return d * (0.5f + (float)(scales[j / 2] >> j % 2 * 4 & 15)) * 0.25f;
}

void quant_dequantise_iq2_xs(const void *blocks, float *out, size_t n_blocks) {
    const block_iq2_xs *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int i = 0; i < 32; i++) {
            unsigned q = block_u16(b->qs[i]);
            out = put_iq2(out, iq2_scale(d, b->scales, i / 2), quant_iq2_xs_grid[q & 511], even_signs(q >> 9));
        }
    }
}

void quant_dequantise_iq2_s(const void *blocks, float *out, size_t n_blocks) {
    const block_iq2_s *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int i = 0; i < 32; i++) {
            unsigned code = b->qs[i] | (b->qh[i / 4] >> i % 4 * 2 & 3u) << 8;
            out = put_iq2(out, iq2_scale(d, b->scales, i / 2), quant_iq2_s_grid[code], b->signs[i]);
        }
    }
}

void quant_dequantise_iq3_xxs(const void *blocks, float *out, size_t n_blocks) {
    const block_iq3_xxs *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int i = 0; i < 64; i++) {
            uint32_t bits = block_u32(b->scales[i / 8]);
            float scale = d * (0.5f + (float)(bits >> 28)) * 0.5f;
            unsigned signs = even_signs(bits >> i % 8 / 2 * 7 & 127) >> i % 2 * 4;
            out = put_iq3(out, scale, iq3_xxs_values, quant_iq3_xxs_grid[b->qs[i]], signs);
        }
    }
}

void quant_dequantise_iq3_s(const void *blocks, float *out, size_t n_blocks) {
    const block_iq3_s *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        float d = block_f16(b->d);
        for (int i = 0; i < 64; i++) {
            float scale = d * (float)(1 + 2 * (b->scales[i / 16] >> i / 8 % 2 * 4 & 15));
            unsigned code = b->qs[i] | (b->qh[i / 8] >> i % 8 & 1u) << 8, signs = b->signs[i / 2] >> i % 2 * 4;
            out = put_iq3(out, scale, iq3_s_values, quant_iq3_s_grid[code], signs);
        }
    }
}

static float *put_iq4(float *out, float d, const uint8_t qs[16]) {
    for (int i = 0; i < 32; i++) *out++ = d * (float)quant_codes_iq4[i < 16 ? qs[i] & 15 : qs[i - 16] >> 4];
    return out;
}

void quant_dequantise_iq4_nl(const void *blocks, float *out, size_t n_blocks) {
    const block_iq4_nl *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) out = put_iq4(out, block_f16(b->d), b->qs);
}

void quant_dequantise_iq4_xs(const void *blocks, float *out, size_t n_blocks) {
    const block_iq4_xs *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        int8_t scales[8];
        block_iq4_xs_scales(b, scales);
        float d = block_f16(b->d);
        for (int j = 0; j < 8; j++) out = put_iq4(out, d * (float)scales[j], b->qs[j]);
    }
}
