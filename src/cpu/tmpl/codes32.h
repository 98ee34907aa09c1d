/* A block of 32 weights as the contract's rule 1 sees it: signed codes, a scale, and for two formats a minimum. Owns:
 * the unpacking of every 32 format in plain C, for the reference and for kernels that want any format in one form.
 * Layouts: quant/blocks.h. */
#ifndef FACET_CPU_TMPL_CODES32_H
#define FACET_CPU_TMPL_CODES32_H

#include "quant/blocks.h"

typedef struct codes32 {
    _Alignas(32) int8_t code[32];
    float d, m; /* m: formats with a minimum */
} codes32;

static inline void codes32_nibbles(const uint8_t qs[16], int offset, int8_t code[32]) {
    for (int i = 0; i < 16; i++) {
        code[i] = (int8_t)((qs[i] & 15) - offset);
        code[16 + i] = (int8_t)((qs[i] >> 4) - offset);
    }
}
static inline void codes32_fifth_bits(const uint8_t qh[4], int8_t code[32]) {
    uint32_t bits = block_u32(qh);
    for (int i = 0; i < 32; i++) code[i] = (int8_t)(code[i] + (int)(bits >> i & 1) * 16);
}
static inline void codes32_table(const uint8_t qs[16], const int8_t table[16], int8_t code[32]) {
    for (int i = 0; i < 16; i++) {
        code[i] = table[qs[i] & 15];
        code[16 + i] = table[qs[i] >> 4];
    }
}

static inline void codes32_q4_0(const block_q4_0 *b, codes32 *out) {
    codes32_nibbles(b->qs, 8, out->code);
    out->d = block_f16(b->d);
}
static inline void codes32_q4_1(const block_q4_1 *b, codes32 *out) {
    codes32_nibbles(b->qs, 0, out->code);
    out->d = block_f16(b->d);
    out->m = block_f16(b->m);
}
static inline void codes32_q5_0(const block_q5_0 *b, codes32 *out) {
    codes32_nibbles(b->qs, 16, out->code);
    codes32_fifth_bits(b->qh, out->code);
    out->d = block_f16(b->d);
}
static inline void codes32_q5_1(const block_q5_1 *b, codes32 *out) {
    codes32_nibbles(b->qs, 0, out->code);
    codes32_fifth_bits(b->qh, out->code);
    out->d = block_f16(b->d);
    out->m = block_f16(b->m);
}
static inline void codes32_q8_0(const block_q8_0 *b, codes32 *out) {
    for (int i = 0; i < 32; i++) out->code[i] = b->qs[i];
    out->d = block_f16(b->d);
}
static inline void codes32_iq4_nl(const block_iq4_nl *b, codes32 *out) {
    codes32_table(b->qs, quant_codes_iq4, out->code);
    out->d = block_f16(b->d);
}
static inline void codes32_mxfp4(const block_mxfp4 *b, codes32 *out) {
    codes32_table(b->qs, quant_codes_fp4, out->code);
    out->d = block_e8m0_half(b->e);
}

/* NVFP4: four runs of 16 with a scale each. */
typedef struct codes64 {
    _Alignas(32) int8_t code[64];
    float d[4];
} codes64;
static inline void codes64_nvfp4(const block_nvfp4 *b, codes64 *out) {
    for (int s = 0; s < 4; s++) {
        for (int i = 0; i < 8; i++) {
            out->code[16 * s + i] = quant_codes_fp4[b->qs[s][i] & 15];
            out->code[16 * s + 8 + i] = quant_codes_fp4[b->qs[s][i] >> 4];
        }
        out->d[s] = block_ue4m3_half(b->d[s]);
    }
}

#endif
