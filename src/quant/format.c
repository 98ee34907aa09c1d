/* The table of all block formats. See format.h. Numbers and names: enum ggml_type, as in the GGUF specification. */
#include "quant/format.h"

#include "quant/families.h"

#define READ_ONLY(NAME, id, name, block, bytes)                                                                      \
    [QUANT_##NAME] = {QUANT_##NAME, id, #NAME, block, bytes, quant_dequantise_##name, NULL}
#define READ_WRITE(NAME, id, name, block, bytes)                                                                     \
    [QUANT_##NAME] = {QUANT_##NAME, id, #NAME, block, bytes, quant_dequantise_##name, quant_quantise_##name}

static const quant_format formats[QUANT_N_TYPES] = {
    READ_WRITE(F32, 0, f32, 1, 4),
    READ_WRITE(F16, 1, f16, 1, 2),
    READ_WRITE(BF16, 30, bf16, 1, 2),
    READ_WRITE(Q4_0, 2, q4_0, 32, 18),
    READ_WRITE(Q4_1, 3, q4_1, 32, 20),
    READ_WRITE(Q5_0, 6, q5_0, 32, 22),
    READ_WRITE(Q5_1, 7, q5_1, 32, 24),
    READ_WRITE(Q8_0, 8, q8_0, 32, 34),
    READ_WRITE(Q2_K, 10, q2_k, 256, 84),
    READ_WRITE(Q3_K, 11, q3_k, 256, 110),
    READ_WRITE(Q4_K, 12, q4_k, 256, 144),
    READ_WRITE(Q5_K, 13, q5_k, 256, 176),
    READ_WRITE(Q6_K, 14, q6_k, 256, 210),
    READ_ONLY(IQ1_S, 19, iq1_s, 256, 50),
    READ_ONLY(IQ1_M, 29, iq1_m, 256, 56),
    READ_ONLY(IQ2_XXS, 16, iq2_xxs, 256, 66),
    READ_ONLY(IQ2_XS, 17, iq2_xs, 256, 74),
    READ_ONLY(IQ2_S, 22, iq2_s, 256, 82),
    READ_ONLY(IQ3_XXS, 18, iq3_xxs, 256, 98),
    READ_ONLY(IQ3_S, 21, iq3_s, 256, 110),
    READ_WRITE(IQ4_NL, 20, iq4_nl, 32, 18),
    READ_WRITE(IQ4_XS, 23, iq4_xs, 256, 136),
    READ_WRITE(TQ1_0, 34, tq1_0, 256, 54),
    READ_WRITE(TQ2_0, 35, tq2_0, 256, 66),
    READ_WRITE(MXFP4, 39, mxfp4, 32, 17),
    READ_WRITE(NVFP4, 40, nvfp4, 64, 36),
};

/* Known to the format, not to facet: integers, formats of activations, those taken back, and newer ones. */
static const struct {
    uint32_t file_id;
    const char *name;
} foreign[] = {
    {4, "Q4_2"},        {5, "Q4_3"},        {9, "Q8_1"},        {15, "Q8_K"},     {24, "I8"},       {25, "I16"},
    {26, "I32"},        {27, "I64"},        {28, "F64"},        {31, "Q4_0_4_4"}, {32, "Q4_0_4_8"}, {33, "Q4_0_8_8"},
    {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}, {41, "Q1_0"},     {42, "Q2_0"},
};

const quant_format *quant_format_of(quant_type type) { return &formats[type]; }

const quant_format *quant_format_by_id(uint32_t file_id) {
    for (size_t i = 0; i < QUANT_N_TYPES; i++) {
        if (formats[i].file_id == file_id) return &formats[i];
    }
    return NULL;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

bool quant_same_name(const char *a, const char *b) {
    while (*a && lower(*a) == lower(*b)) a++, b++;
    return lower(*a) == lower(*b);
}

const quant_format *quant_format_by_name(const char *name) {
    for (size_t i = 0; i < QUANT_N_TYPES; i++) {
        if (quant_same_name(formats[i].name, name)) return &formats[i];
    }
    return NULL;
}

const char *quant_foreign_name(uint32_t file_id) {
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        if (foreign[i].file_id == file_id) return foreign[i].name;
    }
    return NULL;
}
