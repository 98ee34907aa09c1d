/* The four-bit float formats: MXFP4 (OCP Microscaling 1.0) and NVFP4. Owns: reading them, in plain C. The codes'
 * values are doubled to be integers, and the scales halved. Layouts: blocks.h, after the gguf Python package. */
#include "quant/blocks.h"
#include "quant/families.h"

const int8_t quant_codes_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void quant_dequantise_mxfp4(const void *blocks, float *out, size_t n_blocks) {
    const block_mxfp4 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++, out += 32) {
        float d = block_e8m0_half(b->e);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)quant_codes_fp4[b->qs[i] & 15];
            out[16 + i] = d * (float)quant_codes_fp4[b->qs[i] >> 4];
        }
    }
}

void quant_dequantise_nvfp4(const void *blocks, float *out, size_t n_blocks) {
    const block_nvfp4 *b = blocks;
    for (size_t k = 0; k < n_blocks; k++, b++) {
        for (int s = 0; s < 4; s++, out += 16) {
            float d = block_ue4m3_half(b->d[s]);
            for (int i = 0; i < 8; i++) {
                out[i] = d * (float)quant_codes_fp4[b->qs[s][i] & 15];
                out[8 + i] = d * (float)quant_codes_fp4[b->qs[s][i] >> 4];
            }
        }
    }
}
