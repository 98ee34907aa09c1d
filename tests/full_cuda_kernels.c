/* Every program of the GPU kernels compiles for CUDA, from the oldest devices that facet knows to the newest that the
 * compiler does. Needs NVRTC and no device; skipped where there is no NVRTC. */
#include <stdio.h>
#include <string.h>

#include "backend/cuda/compile.h"
#include "backend/gpu/rows.h"
#include "backend/gpu/text.h"
#include "support.h"

static nvrtc_api nvrtc; /* of this test */

enum { N_TEXTS = 6 };

/* The dialect and the texts behind it; the last ones may be empty. */
static void compile_texts(int capability, const char *defines, const gpu_text more[N_TEXTS]) {
    const gpu_text texts[] = {GPU_TEXT(dialect), more[0], more[1], more[2], more[3], more[4], more[5]};
    const char *pieces[1 + N_TEXTS];
    size_t sizes[1 + N_TEXTS];
    for (size_t i = 0; i < 1 + N_TEXTS; i++) {
        pieces[i] = texts[i].begin;
        sizes[i] = texts[i].n_bytes;
    }
    gpu_source source = {
        .name = "kernels.cu", .defines = defines, .pieces = pieces, .piece_bytes = sizes, .n_pieces = 1 + N_TEXTS};
    facet_error error;
    buffer out;
    assert_ok(cuda_compile(&nvrtc, &source, (cuda_target){capability, false}, &out, &error), &error);
    assert_true(out.n > 1000 && memcmp(out.data, "\177ELF", 4) == 0);
    buffer_free(&out);
}

static const gpu_text nothing = {"", 0};

static void compile(int capability, const char *defines, gpu_text first, gpu_text second) {
    compile_texts(capability, defines, (const gpu_text[N_TEXTS]){first, second, nothing, nothing, nothing, nothing});
}

/* The heads of real models, and of those that share keys and values. */
static void compile_heads(int capability, const char *kv) {
    static const int heads[][2] = {{256, 8}, {512, 8}, {256, 2}, {64, 1}};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        char defines[100];
        snprintf(defines, sizeof defines, "-DGROUP=128 -DHEAD=%d -DHEADS=%d -D%s", heads[i][0], heads[i][1], kv);
        compile_texts(capability, defines,
                      (const gpu_text[N_TEXTS]){GPU_TEXT(pages), GPU_TEXT(attention_cuda), GPU_TEXT(attention_tiles),
                                                nothing, nothing, nothing});
    }
}

static void compile_product(int capability, quant_type type) {
    const rows_format *f = rows_format_of(type);
    static const char *const variants[] = {"-DTOKENS=1", "-DTOKENS=8", "-DTOKENS=1 -DEXPERTS"};
    for (size_t i = 0; f && i < 3; i++) {
        char defines[200];
        snprintf(defines, sizeof defines, "-DGROUP=128 -DPRODUCT_ROWS=32 -D%s %s", f->define, variants[i]);
        if (f->input == ROWS_FLOAT)
            compile(capability, defines, GPU_TEXT(product_float), nothing);
        else
            compile(capability, defines, GPU_TEXT(blocks), GPU_TEXT(product));
    }
}

static void compile_tiles(int capability, quant_type type) {
    static const char *const variants[] = {"-DTILE_TOKENS=32", "-DTILE_TOKENS=64", "-DTILE_TOKENS=32 -DEXPERTS"};
    const rows_format *f = rows_format_of(type);
    for (size_t i = 0; f && f->input != ROWS_FLOAT && i < 3; i++) {
        char defines[100];
        snprintf(defines, sizeof defines, "-DGROUP=128 -D%s %s", f->define, variants[i]);
        compile_texts(capability, defines,
                      (const gpu_text[N_TEXTS]){GPU_TEXT(blocks), GPU_TEXT(matrix), GPU_TEXT(tiles), nothing, nothing,
                                                nothing});
    }
}

/* Several steps in one launch: a token's ordinary product, and all that there may be around four tokens'. */
static void compile_decode(int capability, quant_type type) {
    const rows_format *f = rows_format_of(type);
    static const char *const variants[] = {
        "-DTOKENS=1 -DSTAGED=0 -DMATRICES=1 -DCAPPED",
        "-DTOKENS=1 -DSTAGED=0 -DMATRICES=1 -DGATED -DHALVES -DEXPERTS",
        "-DTOKENS=1 -DSTAGED=1 -DMATRICES=1 -DEMBEDDED -DSTREAM",
        "-DTOKENS=4 -DSTAGED=4 -DMATRICES=2 -DGATED -DSTREAM",
    };
    for (size_t i = 0; f && f->input != ROWS_FLOAT && i < sizeof variants / sizeof variants[0]; i++) {
        char defines[300], begin[80];
        int item = f->input == ROWS_CODES_256 ? 256 : type == QUANT_NVFP4 ? 16 : 32;
        snprintf(defines, sizeof defines,
                 "-DGROUP=128 -DCOLUMNS=1536 -DITEM_COLUMNS=%d -DRESULT_KINDS=%d -DFORMATS=1 -DFORMAT_OF_0=0 "
                 "-DFORMAT_OF_1=0 -DFORMAT_OF_2=0 %s",
                 item, f->minima ? 4 : 2, variants[i]);
        int n = snprintf(begin, sizeof begin, "\nnamespace format_0 {\n#define %s\n", f->define);
        compile_texts(capability, defines,
                      (const gpu_text[N_TEXTS]){GPU_TEXT(decode_begin),
                                                {begin, (size_t)n},
                                                GPU_TEXT(blocks),
                                                GPU_TEXT(decode_unit),
                                                {"}\n", 2},
                                                GPU_TEXT(decode)});
    }
}

static void compile_attention(int capability, const char *kv) {
    char defines[100];
    snprintf(defines, sizeof defines, "-DGROUP=128 -DMAX_HEAD=512 -D%s", kv);
    compile(capability, defines, GPU_TEXT(pages), GPU_TEXT(attention));
    compile_heads(capability, kv);
}

static void compile_format(int capability, quant_type type) {
    compile_product(capability, type);
    compile_tiles(capability, type);
    compile_decode(capability, type);
}

static void open_compiler(void) {
    facet_error error;
    if (nvrtc_api_open(&nvrtc, &error) == FACET_OK) return;
    print_message("%s\n", error.message);
    skip();
}

/* Everything. */
static void test_newest(void **state) {
    (void)state;
    open_compiler();
    compile(90, "-DGROUP=128", GPU_TEXT(steps), nothing);
    compile(90, "-DGROUP=256", GPU_TEXT(experts), nothing);
    compile_attention(90, "KV_F16");
    compile_attention(90, "KV_Q8_0");
    compile_attention(90, "KV_F32");
    for (int type = 0; type < QUANT_N_TYPES; type++) compile_format(90, (quant_type)type);
    nvrtc_api_close(&nvrtc);
}

/* What is other there: one format of each kind. */
static void test_oldest(void **state) {
    (void)state;
    static const quant_type kinds[] = {QUANT_F16, QUANT_Q4_0, QUANT_Q4_K, QUANT_Q6_K, QUANT_NVFP4};
    open_compiler();
    compile(75, "-DGROUP=128", GPU_TEXT(steps), nothing);
    compile(75, "-DGROUP=256", GPU_TEXT(experts), nothing);
    compile_attention(75, "KV_F16");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) compile_format(75, kinds[i]);
    nvrtc_api_close(&nvrtc);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_newest), cmocka_unit_test(test_oldest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
