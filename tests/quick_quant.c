/* Block formats: sizes and names, dequantisation and quantisation bit for bit against the gguf Python package's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/blocks.h"
#include "support.h"

static void fail_at(const char *name, const void *ours, const void *want, size_t n_bytes) {
    const uint8_t *a = ours, *b = want;
    size_t i = 0;
    while (i < n_bytes && a[i] == b[i]) i++;
    if (i < n_bytes) fail_msg("%s differs from the golden bytes at offset %zu of %zu", name, i, n_bytes);
}

static void dequantises_bit_for_bit(void **state) {
    (void)state;
    golden g = golden_open("golden/quants.golden.gguf");
    size_t n_seen = 0;
    for (int type = QUANT_F16; type < QUANT_N_TYPES; type++) {
        const quant_format *f = quant_format_of((quant_type)type);
        char name[32];
        size_t n, n_blocks;
        snprintf(name, sizeof name, "%s.f32", f->name);
        const gguf_tensor *t = golden_tensor(&g, f->name);
        const float *want = golden_data(&g, name, &n);
        assert_int_equal(t->type_id, f->file_id);
        n_blocks = n / f->block;
        assert_int_equal(t->n_bytes, n_blocks * f->block_bytes);
        float *out = malloc(n * sizeof *out);
        uint8_t *odd = malloc(t->n_bytes + 1); /* blocks at an odd address, with nothing readable behind them */
        memcpy(odd + 1, t->data, t->n_bytes);
        f->dequantise(odd + 1, out, n_blocks);
        fail_at(f->name, out, want, n * sizeof *out);
        f->dequantise(odd + 1, out, 1); /* one block alone is the same */
        fail_at(f->name, out, want, f->block * sizeof *out);
        free(odd);
        free(out);
        n_seen++;
    }
    assert_int_equal(n_seen, QUANT_N_TYPES - 1);
    golden_close(&g);
}

/* CRC-32 as zlib computes it. */
static uint32_t crc32_of(const void *data, size_t n) {
    const uint8_t *p = data;
    uint32_t table[256], crc = 0xffffffffu;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
    }
    for (size_t i = 0; i < n; i++) crc = table[(crc ^ p[i]) & 255] ^ crc >> 8;
    return ~crc;
}

/* Random bytes with finite scales: the f16 values at the offsets, IQ1_M's among the scales. */
static void fill_block(uint8_t *block, const quant_format *f, const int offsets[2], uint32_t *seed) {
    for (uint32_t i = 0; i < f->block_bytes; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        block[i] = (uint8_t)(*seed >> 24);
    }
    for (int k = 0; k < 2 && offsets[k] >= 0; k++) block[offsets[k]] = 0x55, block[offsets[k] + 1] = 0x31;
    for (int j = 0; f->type == QUANT_IQ1_M && j < 4; j++) {
        block[49 + 2 * j] = (uint8_t)((block[49 + 2 * j] & 15) | (0x3155 >> 4 * j & 15) << 4);
    }
}

/* 1024 blocks of random codes hold every row of every codebook; the checksums are of the floats that the gguf package
 * makes of them (tests/data/golden/quant_codes.py). */
static void dequantises_every_code(void **state) {
    (void)state;
    enum { N = 1024 };
    static const struct {
        quant_type type;
        int offsets[2];
        uint32_t crc;
    } want[] = {
        {QUANT_Q4_0, {0, -1}, 0x72d26972},    {QUANT_Q4_1, {0, 2}, 0xd891931a},
        {QUANT_Q5_0, {0, -1}, 0xb8f1f479},    {QUANT_Q5_1, {0, 2}, 0x3258326b},
        {QUANT_Q8_0, {0, -1}, 0x3881178c},    {QUANT_Q2_K, {80, 82}, 0xdbac6647},
        {QUANT_Q3_K, {108, -1}, 0x16cbe64b},  {QUANT_Q4_K, {0, 2}, 0xe9a8f598},
        {QUANT_Q5_K, {0, 2}, 0x91c691c9},     {QUANT_Q6_K, {208, -1}, 0xd1ac5a88},
        {QUANT_IQ1_S, {0, -1}, 0x53623a3f},   {QUANT_IQ1_M, {-1, -1}, 0xce52508b},
        {QUANT_IQ2_XXS, {0, -1}, 0x82a11f7d}, {QUANT_IQ2_XS, {0, -1}, 0xe96001a5},
        {QUANT_IQ2_S, {0, -1}, 0x62d58ee5},   {QUANT_IQ3_XXS, {0, -1}, 0xd180dca6},
        {QUANT_IQ3_S, {0, -1}, 0x5b3ebefd},   {QUANT_IQ4_NL, {0, -1}, 0xee5bb81f},
        {QUANT_IQ4_XS, {0, -1}, 0x867257ea},  {QUANT_TQ1_0, {52, -1}, 0x750a0f06},
        {QUANT_TQ2_0, {64, -1}, 0x0ff0b145},  {QUANT_MXFP4, {-1, -1}, 0xe7140f21},
        {QUANT_NVFP4, {-1, -1}, 0x55488bed},
    };
    assert_int_equal(sizeof want / sizeof want[0], QUANT_N_TYPES - 3); /* all but the floats */
    for (size_t w = 0; w < sizeof want / sizeof want[0]; w++) {
        const quant_format *f = quant_format_of(want[w].type);
        uint32_t seed = f->file_id;
        uint8_t *blocks = malloc((size_t)N * f->block_bytes);
        float *out = malloc((size_t)N * f->block * sizeof *out);
        for (size_t i = 0; i < N; i++) fill_block(blocks + i * f->block_bytes, f, want[w].offsets, &seed);
        f->dequantise(blocks, out, N);
        if (crc32_of(out, (size_t)N * f->block * sizeof *out) != want[w].crc) fail_msg("%s: wrong checksum", f->name);
        free(out);
        free(blocks);
    }
}

static void quantises_bit_for_bit(void **state) {
    (void)state;
    static const quant_type types[] = {QUANT_F32,  QUANT_F16,  QUANT_BF16, QUANT_Q4_0,  QUANT_Q4_1,
                                       QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0, QUANT_TQ1_0, QUANT_TQ2_0};
    golden g = golden_open("golden/quantise.golden.gguf");
    size_t n;
    const float *x = golden_data(&g, "x", &n);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const quant_format *f = quant_format_of(types[i]);
        assert_non_null(f->quantise);
        const gguf_tensor *t = golden_tensor(&g, types[i] == QUANT_F32 ? "x" : f->name);
        uint8_t *odd = malloc(t->n_bytes + 1);
        f->quantise(x, odd + 1, n / f->block);
        fail_at(f->name, odd + 1, t->data, t->n_bytes);
        free(odd);
    }
    golden_close(&g);
}

/* What is not finite must come back as something, without undefined conversions. */
static void quantises_what_is_not_finite(void **state) {
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, 0.0f, -0.0f};
    float x[256], back[256];
    uint8_t blocks[1024];
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        for (int i = 0; i < 256; i++) x[i] = i % 3 ? values[v] : (float)i;
        for (int type = 0; type < QUANT_N_TYPES; type++) {
            const quant_format *f = quant_format_of((quant_type)type);
            if (!f->quantise) continue;
            f->quantise(x, blocks, 256 / f->block);
            f->dequantise(blocks, back, 256 / f->block);
        }
        quant_format_of(QUANT_F32)->quantise(x, blocks, 256);
        assert_memory_equal(x, blocks, sizeof x);
    }
    for (int i = 0; i < 256; i++) x[i] = i == 5 ? NAN : 1.0f;
    quant_format_of(QUANT_Q8_0)->quantise(x, blocks, 8);
    quant_format_of(QUANT_Q8_0)->dequantise(blocks, back, 8);
    for (int i = 0; i < 256; i++)
        assert_true(i < 32 ? isnan(back[i]) : back[i] > 0.99f); /* a NaN stays in its block */
}

static void table_is_what_files_use(void **state) {
    (void)state;
    /* id, name, weights in a block, bytes: written out from the format's description, apart from the table */
    static const struct {
        uint32_t id;
        const char *name;
        uint32_t block, bytes;
    } want[] = {{0, "F32", 1, 4},
                {1, "F16", 1, 2},
                {2, "Q4_0", 32, 2 + 16},
                {3, "Q4_1", 32, 2 + 2 + 16},
                {6, "Q5_0", 32, 2 + 4 + 16},
                {7, "Q5_1", 32, 2 + 2 + 4 + 16},
                {8, "Q8_0", 32, 2 + 32},
                {10, "Q2_K", 256, 2 + 2 + 16 + 64},
                {11, "Q3_K", 256, 2 + 64 + 32 + 12},
                {12, "Q4_K", 256, 2 + 2 + 128 + 12},
                {13, "Q5_K", 256, 2 + 2 + 128 + 32 + 12},
                {14, "Q6_K", 256, 2 + 128 + 64 + 16},
                {16, "IQ2_XXS", 256, 2 + 64},
                {17, "IQ2_XS", 256, 2 + 64 + 8},
                {18, "IQ3_XXS", 256, 2 + 64 + 32},
                {19, "IQ1_S", 256, 2 + 32 + 16},
                {20, "IQ4_NL", 32, 2 + 16},
                {21, "IQ3_S", 256, 2 + 64 + 32 + 8 + 4},
                {22, "IQ2_S", 256, 2 + 64 + 16},
                {23, "IQ4_XS", 256, 2 + 2 + 128 + 4},
                {29, "IQ1_M", 256, 32 + 16 + 8},
                {30, "BF16", 1, 2},
                {34, "TQ1_0", 256, 2 + 4 * 13},
                {35, "TQ2_0", 256, 2 + 64},
                {39, "MXFP4", 32, 1 + 16},
                {40, "NVFP4", 64, 4 + 32}};
    assert_int_equal(sizeof want / sizeof want[0], QUANT_N_TYPES);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const quant_format *f = quant_format_by_id(want[i].id);
        assert_non_null(f);
        assert_string_equal(f->name, want[i].name);
        assert_int_equal(f->block, want[i].block);
        assert_int_equal(f->block_bytes, want[i].bytes);
        assert_ptr_equal(quant_format_of(f->type), f);
        assert_ptr_equal(quant_format_by_name(want[i].name), f);
        assert_int_equal(quant_row_bytes(f, 3 * (uint64_t)f->block), 3 * f->block_bytes);
        if (f->block > 1) assert_int_equal(quant_row_bytes(f, 3 * (uint64_t)f->block + 1), 0);
        assert_null(quant_foreign_name(want[i].id));
    }
}

static void names_are_found_in_any_case(void **state) {
    (void)state;
    assert_int_equal(quant_format_by_name("q4_k")->type, QUANT_Q4_K);
    assert_int_equal(quant_format_by_name("Bf16")->type, QUANT_BF16);
    assert_null(quant_format_by_name("q4_"));
    assert_null(quant_format_by_name(""));
    assert_null(quant_format_by_name("Q1_0"));
}

static void foreign_types_are_named(void **state) {
    (void)state;
    static const struct {
        uint32_t id;
        const char *name;
    } want[] = {{9, "Q8_1"}, {15, "Q8_K"}, {24, "I8"}, {28, "F64"}, {41, "Q1_0"}, {42, "Q2_0"}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_null(quant_format_by_id(want[i].id));
        assert_string_equal(quant_foreign_name(want[i].id), want[i].name);
    }
    assert_null(quant_foreign_name(1000));
    assert_null(quant_format_by_id(1000));
    assert_null(quant_format_by_id(UINT32_MAX));
}

/* The scale decoders against their definitions in double precision, over every code. */
static void scale_decoders(void **state) {
    (void)state;
    for (int e = 0; e < 256; e++) assert_true((double)block_e8m0_half((uint8_t)e) == ldexp(0.5, e - 127));
    for (int x = 0; x < 128; x++) {
        int exponent = x >> 3, mantissa = x & 7;
        double value = exponent ? ldexp(1 + mantissa / 8.0, exponent - 7) : ldexp(mantissa / 8.0, -6);
        if (x == 0x7f) value = 0;
        assert_true((double)block_ue4m3_half((uint8_t)x) == value / 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_what_files_use), cmocka_unit_test(names_are_found_in_any_case),
        cmocka_unit_test(foreign_types_are_named), cmocka_unit_test(scale_decoders),
        cmocka_unit_test(dequantises_bit_for_bit), cmocka_unit_test(quantises_bit_for_bit),
        cmocka_unit_test(dequantises_every_code),  cmocka_unit_test(quantises_what_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
