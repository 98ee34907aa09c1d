/* Products on the fake CUDA driver (fake_cuda/), of the formats that `types` lists: few tokens and many, experts
 * chosen at random, rows and tokens that fill no tile; the bits are those of the CPU's reference kernels. */
#ifndef FACET_TESTS_CUDA_PRODUCTS_H
#define FACET_TESTS_CUDA_PRODUCTS_H

#include "fake_cuda_support.h"

#include "backend/gpu/parts.h"
#include "base/rng.h"
#include "cpu/cpu.h"
#include "par/pool.h"

enum { N_COLS = 512, N_ROWS = 70, N_TOKENS = 75, N_EXPERTS = 5, N_USED = 3, N_LAYERS = 5 };
enum { PLAIN_PER_LAYER = 9, EXPERTS_PER_LAYER = 4 };

typedef struct bench {
    gpu g;
    hparams h;
    weights w;
    layer_hparams layers[N_LAYERS + 1];
    layer_weights of[N_LAYERS + 1];
    float x[N_TOKENS * N_COLS], got[N_TOKENS * N_USED * N_ROWS], want[N_TOKENS * N_USED * N_ROWS];
    float scale[N_EXPERTS];
    int32_t chosen[N_TOKENS * N_USED];
    cpu_table *cpu;
    pool *threads;
    void *input, *scratch;
} bench;

/* NVFP4 comes from no quantiser: any bytes but a scale that is no number mean something. */
static void fill(const quant_format *f, uint8_t *data, size_t n_rows, float *x) {
    size_t n = n_rows * N_COLS;
    for (size_t i = 0; i < n; i++) x[i] = (float)(rng_unit(7, f->type, i) * 2 - 1);
    if (f->quantise) {
        f->quantise(x, data, n / f->block);
        return;
    }
    for (size_t i = 0; i < n / f->block * f->block_bytes; i++) {
        data[i] = (uint8_t)(rng_unit(9, f->type, i) * 256);
        if (i % f->block_bytes < 4) data[i] = (uint8_t)(data[i] % 0x7e);
    }
}

static weight random_weight(quant_type type, uint32_t index, uint32_t n_experts, const float *scale) {
    const quant_format *f = quant_format_of(type);
    size_t row_bytes = quant_row_bytes(f, N_COLS), n_rows = (size_t)N_ROWS * (n_experts ? n_experts : 1);
    float *x = malloc(n_rows * N_COLS * sizeof *x);
    uint8_t *data = malloc(n_rows * row_bytes);
    assert_true(x && data);
    fill(f, data, n_rows, x);
    free(x);
    return (weight){.m = {.data = data, .format = f, .n_rows = N_ROWS, .n_cols = N_COLS, .row_bytes = row_bytes},
                    .scale = scale,
                    .n_experts = n_experts,
                    .index = index};
}

static weight *plain_weight(bench *b, size_t i) {
    layer_weights *l = &b->of[i / PLAIN_PER_LAYER];
    weight *slots[PLAIN_PER_LAYER] = {&l->attn_q, &l->attn_k,   &l->attn_v,   &l->attn_output, &l->ffn_gate,
                                      &l->ffn_up, &l->ffn_down, &l->inp_gate, &l->proj};
    return slots[i % PLAIN_PER_LAYER];
}

static weight *expert_weight(bench *b, size_t i) {
    layer_weights *l = &b->of[i / EXPERTS_PER_LAYER];
    weight *slots[EXPERTS_PER_LAYER] = {&l->ffn_gate_exps, &l->ffn_gate_up_exps, &l->ffn_up_exps, &l->ffn_down_exps};
    return slots[i % EXPERTS_PER_LAYER];
}

static void make_numbers(bench *b) {
    for (size_t i = 0; i < N_TOKENS * N_COLS; i++) b->x[i] = (float)(rng_unit(8, 1, i) * 6 - 3);
    memset(b->x + 2 * N_COLS, 0, 256 * sizeof *b->x); /* a block of zeros */
    b->x[3 * N_COLS + 100] = 1e4f;                    /* and one whose other codes are small */
    for (size_t i = 0; i < N_EXPERTS; i++) b->scale[i] = 0.5f + (float)i;
    for (size_t i = 0; i < N_TOKENS * N_USED; i++) /* one expert is never chosen */
        b->chosen[i] = (int32_t)(rng_unit(10, 1, i / N_USED) * 2) + (int32_t)(i % N_USED);
    for (uint32_t i = 0; i < N_TYPES; i++) {
        *plain_weight(b, i) = random_weight(types[i], i, 0, i % 2 ? b->scale : NULL);
        *expert_weight(b, i) = random_weight(types[i], N_TYPES + i, N_EXPERTS, i % 2 ? NULL : b->scale);
    }
}

static bench *bench_open(void) {
    facet_error error;
    uint32_t used;
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    for (size_t i = 0; i <= N_LAYERS; i++) {
        b->layers[i] = (layer_hparams){.head_dim = 32, .n_head = 1, .n_head_kv = 1, .n_ff = N_COLS};
    }
    b->h = (hparams){.n_layer = N_LAYERS + 1,
                     .n_own = N_LAYERS + 1,
                     .n_embd = N_COLS,
                     .n_vocab = 8,
                     .n_expert = N_EXPERTS,
                     .n_expert_used = N_USED,
                     .layers = b->layers};
    b->w = (weights){.layers = b->of, .n_matrices = 2 * N_TYPES};
    make_numbers(b);
    b->g = (gpu){.h = &b->h, .w = &b->w, .ubatch = N_TOKENS, .options = {.first = 0, .end = N_LAYERS}};
    gpu *g = &b->g;
    assert_ok(cpu_table_new(&b->cpu, FACET_CPU_REFERENCE, &used, &error), &error);
    assert_ok(pool_new(&b->threads, 2, &error), &error);
    assert_ok(cuda_device_open(&g->device, 0, &error), &error);
    g->threads = b->threads;
    assert_ok(gpu_programs_open(g, &error), &error);
    assert_ok(gpu_weights_open(g, false, &error), &error);
    assert_ok(gpu_products_open(g, &error), &error);
    assert_ok(gpu_weights_upload(g, &error), &error);
    for (int kind = ROWS_CODES_256; kind < ROWS_N_INPUTS; kind++) {
        assert_ok(gpu_take(g, &g->input.codes[kind], N_TOKENS * N_COLS, false, &error), &error);
        assert_ok(gpu_take(g, &g->input.scales[kind], N_TOKENS * N_COLS / 8, false, &error), &error);
        assert_ok(gpu_take(g, &g->input.sums[kind], N_TOKENS * N_COLS / 8, false, &error), &error);
    }
    assert_ok(gpu_take(g, &g->x, sizeof b->x, false, &error), &error);
    assert_ok(gpu_take(g, &g->y, sizeof b->got, false, &error), &error);
    assert_ok(gpu_take(g, &g->chosen, sizeof b->chosen, false, &error), &error);
    assert_ok(gpu_take(g, &g->order, sizeof b->chosen, false, &error), &error);
    assert_ok(gpu_take(g, &g->tiles, gpu_most_tiles(g, N_TOKENS * N_USED) * 12, false, &error), &error);
    gpu_write(g, &g->x, b->x, sizeof b->x);
    gpu_write(g, &g->chosen, b->chosen, sizeof b->chosen);
    b->scratch = aligned_alloc(64, (cpu_scratch_bytes(b->cpu, N_COLS) + 63) / 64 * 64 + 64);
    assert_non_null(b->scratch);
    return b;
}

static void bench_close(bench *b) {
    for (uint32_t i = 0; i < N_TYPES; i++) {
        free((void *)(uintptr_t)plain_weight(b, i)->m.data);
        free((void *)(uintptr_t)expert_weight(b, i)->m.data);
    }
    gpu_memory_close(&b->g);
    gpu_weights_close(&b->g);
    gpu_programs_close(&b->g);
    b->g.device->driver->close(b->g.device);
    pool_free(b->threads);
    cpu_table_free(b->cpu);
    free(b->scratch);
    free(b);
}

/* out[t][r] = rows of `m` times tokens of x, times `factor`, as the CPU has it. */
static void reference(bench *b, const matrix *m, const float *x, size_t n_tokens, const float *factor, float *out) {
    cpu_input kind = cpu_input_for(b->cpu, m->format->type);
    void *input = aligned_alloc(64, (cpu_input_bytes(b->cpu, kind, N_COLS, n_tokens) + 63) / 64 * 64);
    assert_non_null(input);
    cpu_input_prepare(b->cpu, kind, x, N_COLS, NULL, N_COLS, n_tokens, 0, n_tokens, input);
    cpu_matmul(b->cpu, m, 0, N_ROWS, input, n_tokens, out, N_ROWS, b->scratch);
    for (size_t i = 0; factor && i < n_tokens * N_ROWS; i++) out[i] *= *factor;
    free(input);
}

/* Launches on matrix instructions so far, and whether a product is to be one of them. */
static size_t tile_runs(void) { return fake_cuda_runs("tile_product"); }
static bool in_tiles(const weight *w, bool many) {
    return many && rows_format_of(w->m.format->type)->input != ROWS_FLOAT;
}

static void compare(bench *b, const weight *w, size_t n) {
    assert_ok(b->g.status, &b->g.error);
    if (memcmp(b->want, b->got, n * N_ROWS * sizeof *b->want) == 0) return;
    fail_msg("%s, %zu tokens or slots: off by %g", w->m.format->name, n,
             test_max_difference(b->want, b->got, n * N_ROWS));
}

static void test_plain(void **state) {
    static const size_t counts[] = {1, 2, 4, 9, 33, N_TOKENS};
    bench *b = *state;
    if (!b) skip();
    gpu *g = &b->g;
    for (uint32_t i = 0; i < N_TYPES; i++) {
        const weight *w = plain_weight(b, i);
        reference(b, &w->m, b->x, N_TOKENS, w->scale, b->want);
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            size_t before = tile_runs();
            memset(b->got, 0, sizeof b->got);
            gpu_prepare(g, &g->x, counts[k], N_COLS, &w, 1);
            gpu_product(g, w, 0, N_ROWS, counts[k], &g->y, N_ROWS);
            gpu_read_at(g, &g->y, 0, b->got, counts[k] * N_ROWS);
            compare(b, w, counts[k]);
            assert_int_equal(tile_runs() - before, in_tiles(w, counts[k] > 8));
        }
    }
}

/* Rows from the middle of a matrix. */
static void test_some_rows(void **state) {
    enum { FIRST = 13, N = 41, TOKENS = 20 };
    bench *b = *state;
    if (!b) skip();
    gpu *g = &b->g;
    for (uint32_t i = 0; i < N_TYPES; i++) {
        const weight *w = plain_weight(b, i);
        reference(b, &w->m, b->x, TOKENS, w->scale, b->want);
        gpu_prepare(g, &g->x, TOKENS, N_COLS, &w, 1);
        gpu_product(g, w, FIRST, N, TOKENS, &g->y, N);
        gpu_read_at(g, &g->y, 0, b->got, TOKENS * N);
        assert_ok(g->status, &g->error);
        for (size_t t = 0; t < TOKENS; t++) {
            assert_memory_equal(b->got + t * N, b->want + t * N_ROWS + FIRST, N * sizeof *b->got);
        }
    }
}

static void test_experts(void **state) {
    static const size_t counts[] = {1, 3, 9, N_TOKENS};
    bench *b = *state;
    if (!b) skip();
    gpu *g = &b->g;
    for (uint32_t i = 0; i < N_TYPES; i++) {
        const weight *w = expert_weight(b, i);
        for (size_t s = 0; s < N_TOKENS * N_USED; s++) {
            matrix m = w->m;
            m.data += (size_t)b->chosen[s] * N_ROWS * m.row_bytes;
            reference(b, &m, b->x + s / N_USED * N_COLS, 1, w->scale ? &w->scale[b->chosen[s]] : NULL,
                      b->want + s * N_ROWS);
        }
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            size_t slots = counts[k] * N_USED, before = tile_runs();
            memset(b->got, 0, sizeof b->got);
            gpu_prepare(g, &g->x, counts[k], N_COLS, &w, 1);
            gpu_group_slots(g, slots);
            gpu_product_slots(g, w, slots, N_USED, &g->y, N_ROWS);
            gpu_read_at(g, &g->y, 0, b->got, slots * N_ROWS);
            compare(b, w, slots);
            assert_int_equal(tile_runs() - before, in_tiles(w, slots > 64));
        }
    }
}

static int open_group(void **state) {
    if (fake_cuda_there()) *state = bench_open();
    return 0;
}

static int close_group(void **state) {
    if (*state) bench_close(*state);
    return 0;
}

#define CUDA_PRODUCTS_TESTS                                                                                          \
    cmocka_unit_test(test_plain), cmocka_unit_test(test_some_rows), cmocka_unit_test(test_experts)

#endif
