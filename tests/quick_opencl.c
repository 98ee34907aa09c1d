/* OpenCL devices against the CPU: whole models of every kind, partly and wholly on the device, prompts and single
 * tokens, sequences that share pages, adapters, every type of stored keys and values; and every format's product by
 * itself. Runs on whatever OpenCL offers (PoCL), and is skipped where that is nothing. PoCL rounds as IEEE has it, so
 * its results must be the CPU's, bit for bit; other devices have to stay within the bounds. */
#include "device_support.h"

#include "backend/gpu/parts.h"
#include "base/rng.h"

#define GOLDEN(name) FACET_TEST_DATA "/models/" name ".gguf"
#define TINY         FACET_TEST_DATA "/tiny/tiny-q4_k_m.gguf"
#define DEMO         FACET_SOURCE_DIR "/models/tiny-q8_0.gguf"
#define PIRATE       FACET_SOURCE_DIR "/models/tiny-pirate-lora.gguf"

typedef struct found {
    bool any, exact;
} found;

static void look(void *ctx, const facet_device *d) {
    found *f = ctx;
    if (strcmp(d->kind, "opencl") != 0 || d->index != 0) return;
    f->any = d->problem == NULL;
    f->exact = d->processor;
    if (d->problem) print_message("%s\n", d->problem);
}

static void ask(void) {
    found f;
    facet_device_list(look, &f);
}

/* Asks in another process first, since drivers crash; once, since one that has run does not outlive a fork. */
static found find_or_skip(void) {
    static found f;
    static bool asked;
    if (!asked && test_survives(ask)) facet_device_list(look, &f);
    asked = true;
    if (!f.any) skip();
    return f;
}

static void test_golden_models(void **state) {
    (void)state;
    found f = find_or_skip();
    static const struct {
        const char *path;
        int32_t n_layer;
    } models[] = {
        {GOLDEN("ple-shared"), 8},
        {GOLDEN("ple-gqa"), 6},
        {GOLDEN("dense-keqv"), 6},
        {GOLDEN("moe-keqv"), 4}, /* the tests below have those that are quantised */
    };
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        device_run run = {.model = models[i].path, .device = "opencl", .n_layers = -1, .n = 70};
        assert_like_cpu(&run, f.exact, models[i].n_layer);
    }
}

/* Shared layers stay with the owners of their keys and values, so some wishes get fewer layers. */
static void test_some_layers(void **state) {
    (void)state;
    found f = find_or_skip();
    static const struct { int32_t wanted, got; } cases[] = {{3, 2}, {6, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        device_run run = {.model = GOLDEN("ple-shared"), .device = "opencl", .n_layers = cases[i].wanted, .n = 40};
        assert_like_cpu(&run, f.exact, cases[i].got);
    }
    device_run run = {.model = GOLDEN("moe-keqv"), .device = "opencl", .n_layers = 2, .n = 40};
    assert_like_cpu(&run, f.exact, 2);
}

static void test_batches(void **state) {
    (void)state;
    found f = find_or_skip();
    device_run run = {.model = TINY, .device = "opencl", .n_layers = -1, .n = 20, .one_by_one = true};
    assert_like_cpu(&run, f.exact, 8);
    run = (device_run){.model = TINY, .device = "opencl", .n_layers = -1, .n = 70, .ubatch = 13};
    assert_like_cpu(&run, f.exact, 8);
}

static void test_kv_types(void **state) {
    (void)state;
    found f = find_or_skip();
    device_run run = {.model = TINY, .device = "opencl", .n_layers = -1, .n = 30, .kv = FACET_KV_Q8_0};
    assert_like_cpu(&run, f.exact, 8);
    run.kv = FACET_KV_F32;
    assert_like_cpu(&run, f.exact, 8);
}

static void test_adapters(void **state) {
    (void)state;
    found f = find_or_skip();
    device_run run = {.model = DEMO, .device = "opencl", .n_layers = -1, .n = 20, .adapter = PIRATE};
    assert_like_cpu(&run, f.exact, 8);
}

/* A second session takes over a part of the first one's pages, and copies the rows of a page that is not full. */
static void test_shared_prefix(void **state) {
    (void)state;
    find_or_skip();
    facet_model *model;
    facet_error error;
    device_result r = {0};
    device_run run = {.model = TINY, .device = "opencl", .n_layers = -1};
    enum { N = 100, SAME = 87 };
    int32_t ids[N], other[N];
    facet_session *a, *b, *fresh;
    size_t n_reused;
    assert_ok(facet_model_open(&model, run.model, NULL, &error), &error);
    device_tokens(ids, N, 512);
    memcpy(other, ids, sizeof ids);
    for (size_t i = SAME; i < N; i++) other[i] = ids[i] + 1;
    facet_engine *engine = device_engine(model, &run, &r);
    facet_session_options alone;
    facet_session_options_defaults(&alone);
    alone.share_prefix = false;
    assert_ok(facet_session_new(&a, engine, NULL, &error), &error);
    assert_ok(facet_session_sync(a, ids, N, NULL, NULL, NULL, &error), &error);
    facet_session_free(a);
    assert_ok(facet_session_new(&b, engine, NULL, &error), &error);
    assert_ok(facet_session_sync(b, other, N, NULL, NULL, &n_reused, &error), &error);
    assert_int_equal(n_reused, SAME);
    float *shared = malloc(sizeof(float) * 4096);
    assert_non_null(shared);
    memcpy(shared, facet_session_logits(b), sizeof(float) * 4096);
    facet_session_free(b);
    assert_ok(facet_session_new(&fresh, engine, &alone, &error), &error);
    assert_ok(facet_session_sync(fresh, other, N, NULL, NULL, &n_reused, &error), &error);
    assert_int_equal(n_reused, 0);
    assert_memory_equal(shared, facet_session_logits(fresh), sizeof(float) * 4096);
    free(shared);
    facet_session_free(fresh);
    facet_engine_free(engine);
    facet_model_free(model);
}

/* ---- every format's product: rows that fill no group of 32, and for some the shortest rows there can be */

enum { N_ROWS = 70, N_COLS = 768, N_TOKENS = 9, PER_LAYER = 9, N_LAYERS = 3, N_SHAPES = N_LAYERS * PER_LAYER };

static const struct {
    quant_type type;
    size_t n_cols;
} shapes[N_SHAPES] = {
    {QUANT_F32, N_COLS},   {QUANT_F16, N_COLS},    {QUANT_BF16, N_COLS},   {QUANT_Q4_0, N_COLS},
    {QUANT_Q4_1, N_COLS},  {QUANT_Q5_0, N_COLS},   {QUANT_Q5_1, N_COLS},   {QUANT_Q8_0, N_COLS},
    {QUANT_Q2_K, N_COLS},  {QUANT_Q3_K, N_COLS},   {QUANT_Q4_K, N_COLS},   {QUANT_Q5_K, N_COLS},
    {QUANT_Q6_K, N_COLS},  {QUANT_IQ4_NL, N_COLS}, {QUANT_IQ4_XS, N_COLS}, {QUANT_TQ1_0, N_COLS},
    {QUANT_TQ2_0, N_COLS}, {QUANT_MXFP4, N_COLS},  {QUANT_NVFP4, N_COLS},  {QUANT_F32, 5},
    {QUANT_F16, 33},       {QUANT_Q4_0, 32},       {QUANT_Q5_1, 96},       {QUANT_MXFP4, 32},
    {QUANT_NVFP4, 64},     {QUANT_Q4_K, 256},      {QUANT_Q6_K, 256},
};

/* NVFP4 is never written by facet; any bytes are blocks, but for the sign of the four scales, which have none. */
static void random_blocks(const quant_format *f, uint8_t *data, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++) {
        uint8_t byte = (uint8_t)(rng_unit(9, f->type, i) * 256);
        data[i] = i % f->block_bytes < 4 ? byte & 0x7f : byte;
    }
}

static weight random_weight(quant_type type, size_t n_cols, uint32_t index) {
    const quant_format *f = quant_format_of(type);
    size_t row_bytes = quant_row_bytes(f, n_cols), n = N_ROWS * n_cols;
    float *x = malloc(n * sizeof *x);
    uint8_t *data = malloc(N_ROWS * row_bytes);
    assert_true(x && data);
    for (size_t i = 0; i < n; i++) x[i] = (float)(rng_unit(7, type, i) * 2 - 1);
    if (f->quantise)
        f->quantise(x, data, n / f->block);
    else
        random_blocks(f, data, N_ROWS * row_bytes);
    free(x);
    return (weight){.m = {.data = data, .format = f, .n_rows = N_ROWS, .n_cols = n_cols, .row_bytes = row_bytes},
                    .index = index};
}

static weight *slot_of(layer_weights *l, size_t i) {
    weight *slots[PER_LAYER] = {&l->attn_q, &l->attn_k,   &l->attn_v,   &l->attn_output, &l->ffn_gate,
                                &l->ffn_up, &l->ffn_down, &l->inp_gate, &l->proj};
    return slots[i];
}

static void check_format(gpu *g, const cpu_table *cpu, const weight *w, const float *x, size_t n_tokens, bool exact) {
    gpu_buffer in = {0}, out = {0};
    float got[N_TOKENS * N_ROWS], want[N_TOKENS * N_ROWS];
    facet_error error;
    size_t n_cols = w->m.n_cols;
    assert_ok(gpu_take(g, &in, n_tokens * n_cols * sizeof *x, false, &error), &error);
    assert_ok(gpu_take(g, &out, sizeof got, false, &error), &error);
    gpu_write(g, &in, x, n_tokens * n_cols * sizeof *x);
    gpu_prepare(g, &in, n_tokens, n_cols, &w, 1);
    gpu_product(g, w, 0, N_ROWS, n_tokens, &out, N_ROWS);
    gpu_read_at(g, &out, 0, got, n_tokens * N_ROWS);
    assert_ok(g->status, &g->error);
    cpu_input kind = cpu_input_for(cpu, w->m.format->type);
    void *input = aligned_alloc(64, cpu_input_bytes(cpu, kind, n_cols, n_tokens));
    void *scratch = aligned_alloc(64, (cpu_scratch_bytes(cpu, n_cols) + 63) / 64 * 64 + 64);
    assert_true(input && scratch);
    cpu_input_prepare(cpu, kind, x, n_cols, NULL, n_cols, n_tokens, 0, n_tokens, input);
    cpu_matmul(cpu, &w->m, 0, N_ROWS, input, n_tokens, want, N_ROWS, scratch);
    double scale = 0;
    for (size_t i = 0; i < n_tokens * N_ROWS; i++) {
        double size = fabs((double)want[i]);
        if (size > scale) scale = size;
    }
    double difference = test_max_difference(want, got, n_tokens * N_ROWS);
    if (!(difference <= 1e-2 * scale) || (exact && memcmp(want, got, n_tokens * N_ROWS * sizeof *want))) {
        print_message("%s, %zu tokens: off by %g of %g\n", w->m.format->name, n_tokens, difference, scale);
        fail();
    }
    free(input);
    free(scratch);
    g->device->driver->buffer_free(g->device, &in);
    g->device->driver->buffer_free(g->device, &out);
}

static void test_formats(void **state) {
    (void)state;
    found f = find_or_skip();
    facet_error error;
    cpu_table *cpu;
    pool *threads;
    uint32_t used;
    layer_hparams layers[N_LAYERS + 1] = {{.head_dim = 32, .n_head = 1, .n_head_kv = 1, .n_ff = N_COLS}};
    layer_weights of[N_LAYERS + 1] = {{.attn_norm = NULL}};
    hparams h = {.n_layer = N_LAYERS + 1, .n_own = N_LAYERS, .n_embd = N_COLS, .n_vocab = 8, .layers = layers};
    weights w = {.layers = of, .n_matrices = N_SHAPES};
    gpu g = {.h = &h, .w = &w, .ubatch = N_TOKENS, .options = {.first = 0, .end = N_LAYERS}};
    for (size_t i = 1; i <= N_LAYERS; i++) layers[i] = layers[0];
    for (uint32_t i = 0; i < N_SHAPES; i++) {
        *slot_of(&of[i / PER_LAYER], i % PER_LAYER) = random_weight(shapes[i].type, shapes[i].n_cols, i);
    }
    assert_ok(cpu_table_new(&cpu, FACET_CPU_REFERENCE, &used, &error), &error);
    assert_ok(pool_new(&threads, 2, &error), &error);
    assert_ok(opencl_device_open(&g.device, 0, &error), &error);
    g.threads = threads;
    assert_ok(gpu_programs_open(&g, &error), &error);
    assert_ok(gpu_weights_open(&g, false, &error), &error);
    assert_ok(gpu_products_open(&g, &error), &error);
    assert_ok(gpu_weights_upload(&g, &error), &error);
    for (int kind = ROWS_CODES_256; kind < ROWS_N_INPUTS; kind++) {
        assert_ok(gpu_take(&g, &g.input.codes[kind], N_TOKENS * N_COLS, false, &error), &error);
        assert_ok(gpu_take(&g, &g.input.scales[kind], N_TOKENS * N_COLS, false, &error), &error);
        assert_ok(gpu_take(&g, &g.input.sums[kind], N_TOKENS * N_COLS, false, &error), &error);
    }
    static float x[N_TOKENS * N_COLS];
    for (size_t i = 0; i < N_TOKENS * N_COLS; i++) x[i] = (float)(rng_unit(8, 1, i) * 6 - 3);
    memset(x + 2 * N_COLS, 0, 256 * sizeof *x); /* a block of zeros */
    for (uint32_t i = 0; i < N_SHAPES; i++) {
        const weight *one = slot_of(&of[i / PER_LAYER], i % PER_LAYER);
        check_format(&g, cpu, one, x, 1, f.exact);
        check_format(&g, cpu, one, x, N_TOKENS, f.exact);
        free((void *)(uintptr_t)one->m.data);
    }
    gpu_memory_close(&g);
    gpu_weights_close(&g);
    gpu_programs_close(&g);
    g.device->driver->close(g.device);
    pool_free(threads);
    cpu_table_free(cpu);
}

/* ---- what cannot be */

static void test_refusals(void **state) {
    (void)state;
    facet_model *model;
    facet_engine *engine;
    facet_error error;
    facet_engine_options o;
    facet_engine_options_defaults(&o);
    assert_ok(facet_model_open(&model, GOLDEN("ple-gqa"), NULL, &error), &error);
    o.device = "abacus";
    assert_int_equal(facet_engine_new(&engine, model, &o, &error), FACET_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "abacus"));
    facet_model_free(model);
    device_run run = {.model = GOLDEN("ple-gqa"), .device = "opencl:63", .n_layers = -1, .n = 3};
    device_result r = device_logits(&run);
    assert_int_equal(r.n_device_layers, 0);
    assert_non_null(strstr(r.log, "the CPU computes"));
    free(r.logits);
}

static bool stop_upload(void *ctx, size_t done, size_t total) {
    size_t *calls = ctx;
    ++*calls;
    return done > total;
}

static void test_cancelled_upload(void **state) {
    (void)state;
    find_or_skip();
    facet_model *model;
    facet_engine *engine;
    facet_error error;
    size_t calls = 0;
    facet_engine_options o;
    facet_engine_options_defaults(&o);
    o.device = "opencl";
    o.upload_progress = stop_upload;
    o.upload_ctx = &calls;
    assert_ok(facet_model_open(&model, GOLDEN("ple-gqa"), NULL, &error), &error);
    assert_int_equal(facet_engine_new(&engine, model, &o, &error), FACET_ERROR_CANCELLED);
    assert_null(engine);
    assert_int_equal(calls, 1);
    facet_model_free(model);
}

/* More pages than the device has memory for. */
static void test_small_device(void **state) {
    (void)state;
    find_or_skip();
    facet_model *model;
    facet_engine *engine;
    facet_error error;
    device_result r = {0};
    facet_engine_options o;
    facet_engine_info info = {.size = sizeof info};
    facet_engine_options_defaults(&o);
    o.device = "opencl";
    o.kv_bytes = UINT64_C(1) << 42;
    o.log = keep_log;
    o.log_ctx = &r;
    assert_ok(facet_model_open(&model, GOLDEN("ple-gqa"), NULL, &error), &error);
    facet_status status = facet_engine_new(&engine, model, &o, &error);
    if (status == FACET_OK) {
        facet_engine_get_info(engine, &info);
        assert_int_equal(info.n_device_layers, 0);
        assert_non_null(strstr(r.log, "too large"));
    } else {
        assert_int_equal(status, FACET_ERROR_MEMORY); /* the host refused first */
    }
    facet_engine_free(engine);
    facet_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_models),    cmocka_unit_test(test_some_layers),
        cmocka_unit_test(test_batches),          cmocka_unit_test(test_kv_types),
        cmocka_unit_test(test_adapters),         cmocka_unit_test(test_shared_prefix),
        cmocka_unit_test(test_formats),          cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_cancelled_upload), cmocka_unit_test(test_small_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
