/* The launches that do several steps for few tokens, on the fake CUDA device: products of every format against the
 * CPU's bits, and what stands before and behind them against the bits of a launch for each step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/parts.h"
#include "base/rng.h"
#include "support.h"

enum { N_ROWS = 77, N_COLS = 768, N_TOKENS = 8, N_LAYERS = 4, PER_LAYER = 9 };

static const quant_type types[] = {QUANT_Q4_K,   QUANT_Q5_K,  QUANT_Q6_K,  QUANT_Q2_K, QUANT_Q3_K,
                                   QUANT_IQ4_XS, QUANT_TQ1_0, QUANT_TQ2_0, QUANT_Q4_K, QUANT_Q4_0,
                                   QUANT_Q4_1,   QUANT_Q5_0,  QUANT_Q5_1,  QUANT_Q8_0, QUANT_IQ4_NL,
                                   QUANT_MXFP4,  QUANT_Q4_0,  QUANT_Q4_0,  QUANT_NVFP4};
enum { N_TYPES = sizeof types / sizeof types[0] };

typedef struct bench {
    cpu_table *cpu;
    pool *threads;
    layer_hparams layers[N_LAYERS];
    layer_weights of[N_LAYERS];
    hparams h;
    weights w;
    gpu g;
    gpu_buffer in, out[3];
    float x[N_TOKENS * N_COLS], y[N_TOKENS * N_COLS], norms[2][N_COLS], scale[1];
} bench;

static void fill(float *x, size_t n, uint64_t stream, float size) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(rng_unit(9, stream, i) * 2 - 1) * size;
}

/* NVFP4 has no quantiser: any bytes are weights. */
static void random_rows(const quant_format *f, uint32_t index, uint8_t *data, size_t n_bytes) {
    float *x = malloc(N_ROWS * N_COLS * sizeof *x);
    assert_non_null(x);
    fill(x, N_ROWS * N_COLS, index, 1);
    if (f->quantise)
        f->quantise(x, data, N_ROWS * N_COLS / f->block);
    else
        for (size_t i = 0; i < n_bytes; i++) data[i] = (uint8_t)(rng_unit(3, index, i) * 256);
    free(x);
}

static weight random_weight(bench *b, uint32_t index) {
    const quant_format *f = quant_format_of(types[index]);
    size_t row_bytes = quant_row_bytes(f, N_COLS);
    uint8_t *data = malloc(N_ROWS * row_bytes);
    assert_non_null(data);
    random_rows(f, index, data, N_ROWS * row_bytes);
    return (weight){.m = {.data = data, .format = f, .n_rows = N_ROWS, .n_cols = N_COLS, .row_bytes = row_bytes},
                    .index = index,
                    .scale = index % 2 ? b->scale : NULL};
}

static weight *weight_at(bench *b, size_t i) {
    layer_weights *l = &b->of[i / PER_LAYER];
    weight *slots[PER_LAYER] = {&l->attn_q, &l->attn_k,   &l->attn_v,   &l->attn_output, &l->ffn_gate,
                                &l->ffn_up, &l->ffn_down, &l->inp_gate, &l->proj};
    return slots[i % PER_LAYER];
}

static void open_buffers(bench *b) {
    gpu *g = &b->g;
    facet_error error;
    gpu_buffer *rows[] = {&g->x,  &g->x_other, &g->y,      &g->normed, &g->ple[0],
                          &b->in, &b->out[0],  &b->out[1], &b->out[2]};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_ok(gpu_take(g, rows[i], N_TOKENS * N_COLS * sizeof(float), false, &error), &error);
    }
    for (int kind = ROWS_CODES_256; kind < ROWS_N_INPUTS; kind++) {
        assert_ok(gpu_take(g, &g->input.codes[kind], N_TOKENS * N_COLS, false, &error), &error);
        assert_ok(gpu_take(g, &g->input.scales[kind], N_TOKENS * N_COLS, false, &error), &error);
        assert_ok(gpu_take(g, &g->input.sums[kind], N_TOKENS * N_COLS, false, &error), &error);
    }
}

static int open_bench(void **state) {
    bench *b = calloc(1, sizeof *b);
    uint32_t used;
    facet_error error;
    assert_non_null(b);
    *state = b;
    b->h = (hparams){.n_layer = N_LAYERS, .n_own = N_LAYERS, .n_embd = N_COLS, .n_vocab = 8, .layers = b->layers};
    b->h.eps = 1e-6f;
    b->h.soft_cap = 3;
    b->w = (weights){.layers = b->of, .n_matrices = N_TYPES};
    for (size_t i = 0; i < N_LAYERS; i++) b->layers[i] = (layer_hparams){.head_dim = 32, .n_head = 1, .n_head_kv = 1};
    fill(b->norms[0], 2 * (size_t)N_COLS, 100, 2);
    b->scale[0] = 0.7f;
    b->of[0].attn_norm = b->norms[0];
    b->of[0].post_attention_norm = b->norms[1];
    b->of[0].layer_output_scale = b->scale;
    for (uint32_t i = 0; i < N_TYPES; i++) *weight_at(b, i) = random_weight(b, i);
    fill(b->x, N_TOKENS * N_COLS, 101, 3);
    fill(b->y, N_TOKENS * N_COLS, 102, 3);
    memset(b->x + N_COLS / 3, 0, 256 * sizeof(float)); /* a block of zeros */
    gpu *g = &b->g;
    *g = (gpu){.h = &b->h, .w = &b->w, .ubatch = N_TOKENS, .options = {.first = 0, .end = N_LAYERS - 1}};
    g->part_end[0] = 2;
    g->n_rows = N_TOKENS;
    assert_ok(cpu_table_new(&b->cpu, FACET_CPU_REFERENCE, &used, &error), &error);
    assert_ok(pool_new(&b->threads, 2, &error), &error);
    g->threads = b->threads;
    if (cuda_device_open(&g->device, 0, &error) != FACET_OK) return print_message("%s\n", error.message), 0;
    assert_ok(gpu_programs_open(g, &error), &error);
    assert_ok(gpu_weights_open(g, false, &error), &error);
    assert_ok(gpu_products_open(g, &error), &error);
    assert_ok(gpu_weights_upload(g, &error), &error);
    open_buffers(b);
    return 0;
}

static int close_bench(void **state) {
    bench *b = *state;
    gpu *g = &b->g;
    for (uint32_t i = 0; i < N_TYPES; i++) free((void *)(uintptr_t)weight_at(b, i)->m.data);
    if (g->device) {
        gpu_memory_close(g);
        for (size_t i = 0; i < 3; i++) g->device->driver->buffer_free(g->device, &b->out[i]);
        g->device->driver->buffer_free(g->device, &b->in);
        gpu_weights_close(g);
        gpu_programs_close(g);
        g->device->driver->close(g->device);
    }
    pool_free(b->threads);
    cpu_table_free(b->cpu);
    free(b);
    return 0;
}

static bench *bench_or_skip(void **state) {
    bench *b = *state;
    if (!b->g.device || strncmp(b->g.device->limits.name, "Fake", 4)) skip();
    return b;
}

/* ---- products */

static void cpu_product(bench *b, const weight *w, size_t n_tokens, float *out) {
    cpu_input kind = cpu_input_for(b->cpu, w->m.format->type);
    void *input = aligned_alloc(64, cpu_input_bytes(b->cpu, kind, N_COLS, n_tokens));
    void *scratch = aligned_alloc(64, (cpu_scratch_bytes(b->cpu, N_COLS) + 63) / 64 * 64 + 64);
    assert_true(input && scratch);
    cpu_input_prepare(b->cpu, kind, b->x, N_COLS, NULL, N_COLS, n_tokens, 0, n_tokens, input);
    cpu_matmul(b->cpu, &w->m, 0, N_ROWS, input, n_tokens, out, N_ROWS, scratch);
    if (w->scale) cpu_scale(b->cpu, out, w->scale[0], n_tokens * N_ROWS);
    free(input);
    free(scratch);
}

/* Three matrices at once, of different formats. */
static void check_products(bench *b, size_t first, size_t n, size_t n_tokens) {
    gpu *g = &b->g;
    static float got[N_TOKENS * N_ROWS], want[N_TOKENS * N_ROWS];
    gpu_join j = {.from = gpu_values(&b->in), .n_tokens = g->n_rows = n_tokens};
    for (size_t i = 0; i < n; i++) {
        j.products[j.n++] = (gpu_join_product){.w = weight_at(b, first + i), .n_rows = N_ROWS, .out = &b->out[i]};
    }
    gpu_write(g, &b->in, b->x, n_tokens * N_COLS * sizeof *b->x);
    if (!gpu_decode(g, &j)) fail_msg("%s is not computed in one launch", j.products[0].w->m.format->name);
    for (size_t i = 0; i < n; i++) {
        gpu_read_at(g, &b->out[i], 0, got, n_tokens * N_ROWS);
        assert_ok(g->status, &g->error);
        cpu_product(b, j.products[i].w, n_tokens, want);
        if (memcmp(got, want, n_tokens * N_ROWS * sizeof *want))
            fail_msg("%s, %zu tokens", j.products[i].w->m.format->name, n_tokens);
    }
}

static void test_products(void **state) {
    bench *b = bench_or_skip(state);
    static const size_t tokens[] = {1, 3, 8};
    static const size_t groups[][2] = {{0, 3}, {3, 3}, {6, 3}, {9, 3}, {12, 3}, {15, 3}, {18, 1}};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        for (size_t k = 0; k < sizeof tokens / sizeof tokens[0]; k++)
            check_products(b, groups[i][0], groups[i][1], tokens[k]);
    }
}

/* The number of processors decides who computes which rows, not what comes out. */
static void test_processors(void **state) {
    bench *b = bench_or_skip(state);
    size_t processors = b->g.device->limits.processors;
    for (size_t n = 1; n < 50; n = 3 * n + 1) {
        b->g.device->limits.processors = n;
        check_products(b, 0, 3, 1);
        check_products(b, 9, 3, 3);
    }
    b->g.device->limits.processors = processors;
}

/* ---- before and behind */

typedef struct results {
    float out[3][N_TOKENS * N_ROWS], x[N_TOKENS * N_COLS];
} results;

static void compute(bench *b, const gpu_join *j, bool together, results *out) {
    gpu *g = &b->g;
    memset(out, 0, sizeof *out);
    g->x_now = &g->x;
    g->x_spare = &g->x_other;
    gpu_write(g, &g->x, b->x, j->n_tokens * N_COLS * sizeof *b->x);
    gpu_write(g, &g->y, b->y, j->n_tokens * N_COLS * sizeof *b->y);
    gpu_write(g, &g->ple[0], b->y, N_TOKENS * N_COLS * sizeof *b->y);
    g->n_rows = j->n_tokens;
    g->device->limits.warps = together;
    gpu_compute(g, j);
    g->device->limits.warps = true;
    assert_true((g->x_now != &g->x) == (together && !j->from.values));
    gpu_read_at(g, g->x_now, 0, out->x, j->n_tokens * N_COLS);
    for (size_t i = 0; i < (j->ending == GPU_PLAIN ? j->n : 1); i++)
        gpu_read_at(g, &b->out[i], 0, out->out[i], j->n_tokens * j->products[i].n_rows);
    assert_ok(g->status, &g->error);
}

static void check_join(bench *b, const gpu_join *j) {
    static results together, steps;
    compute(b, j, true, &together);
    compute(b, j, false, &steps);
    assert_memory_equal(together.out, steps.out, sizeof steps.out);
    assert_memory_equal(together.x, steps.x, sizeof steps.x);
}

static gpu_join join_of(bench *b, gpu_from from, gpu_ending ending, size_t n_tokens, size_t first, size_t n) {
    gpu_join j = {.from = from, .ending = ending, .n_tokens = n_tokens, .layer = 1};
    for (size_t i = 0; i < n; i++) {
        j.products[j.n++] = (gpu_join_product){.w = weight_at(b, first + i), .n_rows = N_ROWS, .out = &b->out[i]};
    }
    return j;
}

static void test_joins(void **state) {
    bench *b = bench_or_skip(state);
    const gpu_layer *at = &b->g.layers[0];
    for (size_t n = 1; n < 5; n += n) {
        gpu_join heads = join_of(b, gpu_stream(-1, -1, at->attn_norm), GPU_PLAIN, n, 0, 3);
        check_join(b, &heads);
        heads.from = gpu_stream(at->post_attention_norm, at->output_scale, at->attn_norm);
        check_join(b, &heads);
        gpu_join gated = join_of(b, heads.from, GPU_GATED, n, 9, 2),
                 embedded = join_of(b, gpu_stream(at->post_attention_norm, -1, -1), GPU_EMBEDDED, n, 2, 1);
        check_join(b, &gated);
        check_join(b, &embedded);
        gpu_join capped = join_of(b, gpu_values(&b->g.y), GPU_CAPPED, n, 2, 1);
        capped.products[0].first_row = 11; /* a part of the rows */
        capped.products[0].n_rows = 43;
        check_join(b, &capped);
    }
}

/* NaNs and infinities go the same ways. */
static void test_hostile(void **state) {
    bench *b = bench_or_skip(state);
    b->x[5] = NAN;
    b->x[N_COLS + 5] = INFINITY;
    gpu_join j = join_of(b, gpu_stream(-1, -1, -1), GPU_EMBEDDED, 4, 2, 1);
    results out;
    compute(b, &j, true, &out);
    for (size_t i = 0; i < 2 * N_ROWS; i++) assert_true(isnan(out.out[0][i]));
    for (size_t i = 2 * N_ROWS; i < 4 * N_ROWS; i++) assert_false(isnan(out.out[0][i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_processors),
        cmocka_unit_test(test_joins),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, open_bench, close_bench);
}
