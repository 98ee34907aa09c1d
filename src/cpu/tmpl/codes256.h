/* A block of 256 weights as the contract's rule 1 sees it: codes, integer scales of 16 weights each, and the floats
 * between blocks. Formats with scales of 32 weights name each twice: the integers are the same. Owns: the unpacking
 * of every 256 format in plain C, for the reference and for kernels that want any format in one form. Layouts:
 * quant/blocks.h. */
#ifndef FACET_CPU_TMPL_CODES256_H
#define FACET_CPU_TMPL_CODES256_H

#include <stdbool.h>

#include "quant/blocks.h"

typedef struct codes256 {
    _Alignas(32) int8_t code[256];
    int8_t scale[16];
    uint8_t minimum[16];
    float d, dmin; /* dmin: formats with minima */
} codes256;

/* Two-bit fields: bits 2j of byte 32 h + i are weight 128 h + 32 j + i. */
static inline void codes256_two_bits(const uint8_t qs[64], int8_t code[256]) {
    for (int h = 0; h < 2; h++) {
        for (int j = 0; j < 4; j++) {
            for (int i = 0; i < 32; i++) code[128 * h + 32 * j + i] = (int8_t)(qs[32 * h + i] >> 2 * j & 3);
        }
    }
}

static inline void codes256_q2_k(const block_q2_k *b, codes256 *out) {
    codes256_two_bits(b->qs, out->code);
    for (int j = 0; j < 16; j++) {
        out->scale[j] = (int8_t)(b->scales[j] & 15);
        out->minimum[j] = b->scales[j] >> 4;
    }
    out->d = block_f16(b->d);
    out->dmin = block_f16(b->dmin);
}

static inline void codes256_q3_k(const block_q3_k *b, codes256 *out) {
    codes256_two_bits(b->qs, out->code);
    for (int j = 0; j < 8; j++) {
        for (int i = 0; i < 32; i++) {
            int8_t *c = out->code + 32 * j + i;
            *c = (int8_t)(*c - 4 + (b->hmask[i] >> j & 1) * 4);
        }
    }
    block_q3_k_scales(b->scales, out->scale);
    out->d = block_f16(b->d);
}

static inline void codes256_k_scales(const uint8_t packed[12], codes256 *out) {
    uint8_t scales[8], minima[8];
    block_k_scales(packed, scales, minima);
    for (int j = 0; j < 16; j++) {
        out->scale[j] = (int8_t)scales[j / 2];
        out->minimum[j] = minima[j / 2];
    }
}

static inline void codes256_nibbles(const uint8_t qs[128], int8_t code[256]) {
    for (int r = 0; r < 4; r++) {
        for (int i = 0; i < 32; i++) {
            code[64 * r + i] = (int8_t)(qs[32 * r + i] & 15);
            code[64 * r + 32 + i] = (int8_t)(qs[32 * r + i] >> 4);
        }
    }
}

static inline void codes256_q4_k(const block_q4_k *b, codes256 *out) {
    codes256_nibbles(b->qs, out->code);
    codes256_k_scales(b->scales, out);
    out->d = block_f16(b->d);
    out->dmin = block_f16(b->dmin);
}

static inline void codes256_q5_k(const block_q5_k *b, codes256 *out) {
    codes256_nibbles(b->qs, out->code);
    for (int j = 0; j < 8; j++) {
        for (int i = 0; i < 32; i++) {
            int8_t *c = out->code + 32 * j + i;
            *c = (int8_t)(*c + (b->qh[i] >> j & 1) * 16);
        }
    }
    codes256_k_scales(b->scales, out);
    out->d = block_f16(b->d);
    out->dmin = block_f16(b->dmin);
}

static inline void codes256_q6_k(const block_q6_k *b, codes256 *out) {
    for (int h = 0; h < 2; h++) {
        const uint8_t *ql = b->ql + 64 * h, *qh = b->qh + 32 * h;
        for (int j = 0; j < 4; j++) {
            for (int i = 0; i < 32; i++) {
                int low = ql[32 * (j & 1) + i] >> (j >> 1) * 4 & 15, high = qh[i] >> 2 * j & 3;
                out->code[128 * h + 32 * j + i] = (int8_t)((low | high << 4) - 32);
            }
        }
    }
    for (int j = 0; j < 16; j++) out->scale[j] = b->scales[j];
    out->d = block_f16(b->d);
}

static inline void codes256_iq4_xs(const block_iq4_xs *b, codes256 *out) {
    int8_t scales[8];
    block_iq4_xs_scales(b, scales);
    for (int j = 0; j < 8; j++) {
        for (int i = 0; i < 16; i++) {
            out->code[32 * j + i] = quant_codes_iq4[b->qs[j][i] & 15];
            out->code[32 * j + 16 + i] = quant_codes_iq4[b->qs[j][i] >> 4];
        }
        out->scale[2 * j] = out->scale[2 * j + 1] = scales[j];
    }
    out->d = block_f16(b->d);
}

static inline void codes256_digits(const uint8_t *bytes, int width, int n_digits, int8_t *code) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    for (int j = 0; j < n_digits; j++) {
        for (int i = 0; i < width; i++) {
            uint8_t rest = (uint8_t)(bytes[i] * power[j]);
            code[width * j + i] = (int8_t)((rest * 3 >> 8) - 1);
        }
    }
}

static inline void codes256_tq1_0(const block_tq1_0 *b, codes256 *out) {
    codes256_digits(b->qs, 32, 5, out->code);
    codes256_digits(b->qs + 32, 16, 5, out->code + 160);
    codes256_digits(b->qh, 4, 4, out->code + 240);
    for (int j = 0; j < 16; j++) out->scale[j] = 1;
    out->d = block_f16(b->d);
}

static inline void codes256_tq2_0(const block_tq2_0 *b, codes256 *out) {
    codes256_two_bits(b->qs, out->code);
    for (int i = 0; i < 256; i++) out->code[i]--;
    for (int j = 0; j < 16; j++) out->scale[j] = 1;
    out->d = block_f16(b->d);
}

#endif
