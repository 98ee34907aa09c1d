/* How the blocks of each format lie in memory. Owns: the layouts, and the unpacking of scales that every user of a
 * layout needs. Knows nothing of kernels. All fields are bytes, so that a block may stand at any address; two-byte
 * and four-byte values are little-endian and read with block_u16, block_u32 and block_f16.
 * Source: the ggml block formats, as the gguf Python package describes them (gguf/quants.py, gguf/constants.py). */
#ifndef FACET_QUANT_BLOCKS_H
#define FACET_QUANT_BLOCKS_H

#include <assert.h>
#include <stdint.h>

#include "base/half.h"

/* Blocks of 32: weight i of the first half is the low four bits of qs[i], weight 16 + i the high four. */
typedef struct block_q4_0 {
    uint8_t d[2];
    uint8_t qs[16]; /* weight = d * (q - 8) */
} block_q4_0;

typedef struct block_q4_1 {
    uint8_t d[2], m[2];
    uint8_t qs[16]; /* weight = d * q + m */
} block_q4_1;

typedef struct block_q5_0 {
    uint8_t d[2];
    uint8_t qh[4]; /* bit i: the fifth bit of weight i */
    uint8_t qs[16];
} block_q5_0; /* weight = d * (q - 16) */

typedef struct block_q5_1 {
    uint8_t d[2], m[2];
    uint8_t qh[4];
    uint8_t qs[16];
} block_q5_1; /* weight = d * q + m */

typedef struct block_q8_0 {
    uint8_t d[2];
    int8_t qs[32]; /* weight = d * q */
} block_q8_0;

/* Blocks of 256. */
typedef struct block_q2_k {
    uint8_t scales[16]; /* of 16 weights: low four bits scale, high four bits minimum */
    uint8_t qs[64];     /* two halves of 32 bytes; bits 2j, 2j + 1 of a half's byte i: weight 32 j + i of its 128 */
    uint8_t d[2], dmin[2];
} block_q2_k; /* weight = (d * scale) * q - (dmin * minimum) */

typedef struct block_q3_k {
    uint8_t hmask[32];  /* bit j of byte i: weight 32 j + i has NOT 4 subtracted */
    uint8_t qs[64];     /* as in block_q2_k */
    uint8_t scales[12]; /* 16 of six bits, see block_q3_k_scales */
    uint8_t d[2];
} block_q3_k; /* weight = (d * scale) * q */

typedef struct block_q4_k {
    uint8_t d[2], dmin[2];
    uint8_t scales[12]; /* 8 scales and 8 minima of six bits, see block_k_scales */
    uint8_t qs[128]; /* four runs of 32 bytes: low four bits of run r are weights 64 r .., high four 64 r + 32 .. */
} block_q4_k;        /* weight = (d * scale) * q - (dmin * minimum) */

typedef struct block_q5_k {
    uint8_t d[2], dmin[2];
    uint8_t scales[12];
    uint8_t qh[32]; /* bit j of byte i: the fifth bit of weight 32 j + i */
    uint8_t qs[128];
} block_q5_k;

typedef struct block_q6_k {
    uint8_t ql[128]; /* two halves of 64 bytes: low four bits are weights 0..63 of a half's 128, high four 64..127 */
    uint8_t qh[64];  /* two halves of 32 bytes; bits 2j, 2j + 1 of byte i: the upper bits of weight 32 j + i */
    int8_t scales[16]; /* of 16 weights */
    uint8_t d[2];
} block_q6_k; /* weight = (d * scale) * (q - 32) */

/* The codebook formats: each code names a row of 8 (IQ3: 4) magnitudes in iq_tables.h. */
typedef struct block_iq1_s {
    uint8_t d[2];
    uint8_t qs[32];   /* low eight bits of the codes of 8 weights */
    uint8_t qh[8][2]; /* of 32 weights: four times three upper bits, three bits scale, sign of the shift */
} block_iq1_s;

typedef struct block_iq1_m {
    uint8_t qs[32];
    uint8_t qh[16];       /* of 16 weights: per 8 three upper bits and the sign of the shift */
    uint8_t scales[4][2]; /* of 64 weights: four times three bits; the top four bits of each make the f16 scale d */
} block_iq1_m;

typedef struct block_iq2_xxs {
    uint8_t d[2];
    uint8_t qs[8][8]; /* of 32 weights: four codes; then 32 bits: four times seven bits of signs, four bits scale */
} block_iq2_xxs;

typedef struct block_iq2_xs {
    uint8_t d[2];
    uint8_t qs[32][2]; /* of 8 weights: nine bits code, seven bits signs */
    uint8_t scales[8]; /* four bits for each 16 weights */
} block_iq2_xs;

typedef struct block_iq2_s {
    uint8_t d[2];
    uint8_t qs[32];
    uint8_t signs[32];
    uint8_t qh[8]; /* of 32 weights: four times the two upper bits of a code */
    uint8_t scales[8];
} block_iq2_s;

typedef struct block_iq3_xxs {
    uint8_t d[2];
    uint8_t qs[64];       /* codes of 4 weights */
    uint8_t scales[8][4]; /* of 32 weights: four times seven bits of signs, four bits scale */
} block_iq3_xxs;

typedef struct block_iq3_s {
    uint8_t d[2];
    uint8_t qs[64];
    uint8_t qh[8]; /* bit j of byte i: the ninth bit of code 8 i + j */
    uint8_t signs[32];
    uint8_t scales[4]; /* four bits for each 32 weights */
} block_iq3_s;

typedef struct block_iq4_nl {
    uint8_t d[2];
    uint8_t qs[16]; /* as in block_q4_0, the code through quant_codes_iq4 */
} block_iq4_nl;

typedef struct block_iq4_xs {
    uint8_t d[2];
    uint8_t scales_h[2]; /* bits 2j, 2j + 1: upper bits of scale j */
    uint8_t scales_l[4]; /* four bits for each 32 weights */
    uint8_t qs[8][16];   /* each as in block_iq4_nl */
} block_iq4_xs;          /* weight = (d * (scale - 32)) * code */

/* Ternary. */
typedef struct block_tq1_0 {
    uint8_t
        qs[48]; /* five base-3 digits a byte: 32 bytes hold weights 32 j + i, then 16 bytes weights 160 + 16 j + i */
    uint8_t qh[4]; /* four digits a byte: weights 240 + 4 j + i */
    uint8_t d[2];
} block_tq1_0;

typedef struct block_tq2_0 {
    uint8_t qs[64]; /* as in block_q2_k; weight = d * (q - 1) */
    uint8_t d[2];
} block_tq2_0;

/* Four-bit floats. */
typedef struct block_mxfp4 {
    uint8_t e;      /* power of two, see block_e8m0_half */
    uint8_t qs[16]; /* as in block_q4_0, the code through quant_codes_fp4 (twice the value) */
} block_mxfp4;

typedef struct block_nvfp4 {
    uint8_t d[4];     /* of 16 weights, see block_ue4m3_half */
    uint8_t qs[4][8]; /* of 16 weights: low four bits the first 8, high four the others */
} block_nvfp4;

static_assert(sizeof(block_q4_0) == 18, "layout");
static_assert(sizeof(block_q4_1) == 20, "layout");
static_assert(sizeof(block_q5_0) == 22, "layout");
static_assert(sizeof(block_q5_1) == 24, "layout");
static_assert(sizeof(block_q8_0) == 34, "layout");
static_assert(sizeof(block_q2_k) == 84, "layout");
static_assert(sizeof(block_q3_k) == 110, "layout");
static_assert(sizeof(block_q4_k) == 144, "layout");
static_assert(sizeof(block_q5_k) == 176, "layout");
static_assert(sizeof(block_q6_k) == 210, "layout");
static_assert(sizeof(block_iq1_s) == 50, "layout");
static_assert(sizeof(block_iq1_m) == 56, "layout");
static_assert(sizeof(block_iq2_xxs) == 66, "layout");
static_assert(sizeof(block_iq2_xs) == 74, "layout");
static_assert(sizeof(block_iq2_s) == 82, "layout");
static_assert(sizeof(block_iq3_xxs) == 98, "layout");
static_assert(sizeof(block_iq3_s) == 110, "layout");
static_assert(sizeof(block_iq4_nl) == 18, "layout");
static_assert(sizeof(block_iq4_xs) == 136, "layout");
static_assert(sizeof(block_tq1_0) == 54, "layout");
static_assert(sizeof(block_tq2_0) == 66, "layout");
static_assert(sizeof(block_mxfp4) == 17, "layout");
static_assert(sizeof(block_nvfp4) == 36, "layout");

/* The values of four-bit codes: IQ4_NL and IQ4_XS; MXFP4 and NVFP4 (doubled, so that they are integers). */
extern const int8_t quant_codes_iq4[16];
extern const int8_t quant_codes_fp4[16];

static inline uint16_t block_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t block_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline float block_f16(const uint8_t *p) { return f16_to_f32(block_u16(p)); }
static inline void block_put_u16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* Scales and minima of Q4_K and Q5_K, 0..63. */
static inline void block_k_scales(const uint8_t packed[12], uint8_t scales[8], uint8_t minima[8]) {
    for (int j = 0; j < 4; j++) {
        scales[j] = packed[j] & 63;
        minima[j] = packed[4 + j] & 63;
        scales[4 + j] = (uint8_t)((packed[8 + j] & 15) | (packed[j] >> 6) << 4);
        minima[4 + j] = (uint8_t)(packed[8 + j] >> 4 | (packed[4 + j] >> 6) << 4);
    }
}

/* Scales of Q3_K, -32..31. */
static inline void block_q3_k_scales(const uint8_t packed[12], int8_t scales[16]) {
    for (int j = 0; j < 16; j++) {
        int low = packed[j & 7] >> (j < 8 ? 0 : 4) & 15, high = packed[8 + (j & 3)] >> (j >> 2) * 2 & 3;
        scales[j] = (int8_t)((low | high << 4) - 32);
    }
}

/* Scales of IQ4_XS, -32..31. */
static inline void block_iq4_xs_scales(const block_iq4_xs *b, int8_t scales[8]) {
    uint32_t upper = block_u16(b->scales_h);
    for (int j = 0; j < 8; j++) {
        int low = b->scales_l[j / 2] >> (j & 1) * 4 & 15, high = (int)(upper >> 2 * j & 3);
        scales[j] = (int8_t)((low | high << 4) - 32);
    }
}

/* Half of 2^(e - 127), exact: the codes of quant_codes_fp4 are doubled. */
static inline float block_e8m0_half(uint8_t e) {
    return float_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half of an unsigned E4M3 float, exact; its NaN and the unused top bit count as the reference reads them. */
static inline float block_ue4m3_half(uint8_t x) {
    uint32_t exponent = x >> 3 & 15, mantissa = x & 7;
    if (x == 0x7f) return 0.0f;
    if (exponent == 0) return (float)mantissa * 0x1p-10f;
    return float_of_bits((exponent + 119) << 23 | mantissa << 20);
}

#endif
