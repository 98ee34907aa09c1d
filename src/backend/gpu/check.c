/* The self-test of a device: every kernel is compared with the CPU's numbers before anything relies on it, since
 * drivers miscompile. A product is checked with the model's own weights; its activations are whole numbers of one
 * power of two, so that codes and integer sums are the same everywhere and only roundings can differ. See parts.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/parts.h"
#include "base/rng.h"

enum { CHECK_TOKENS = 9, CHECK_ROWS = 70 };

typedef struct check {
    gpu *g;
    size_t n_tokens, n_cols;
    gpu_buffer in, out;
    float *x;    /* [n_tokens][n_cols] */
    float *want; /* [n_tokens][CHECK_ROWS] or [n_tokens][n_cols] */
    float *got;
    void *input, *scratch; /* the CPU's */
    facet_error *err;
} check;

static facet_status wrong(const check *c, const char *what, double difference) {
    return error_set(c->err, FACET_ERROR_STATE, "%s computes wrong numbers: %s is off by %g",
                     c->g->device->limits.name, what, difference);
}

/* The largest difference, relative to the largest number. */
static facet_status compare(const check *c, const char *what, size_t n, double bound) {
    double most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)c->got[i] - (double)c->want[i]), size = fabs((double)c->want[i]);
        if (!(d <= most)) most = d;
        if (size > scale) scale = size;
    }
    return most <= bound * scale ? FACET_OK : wrong(c, what, most / scale);
}

static facet_status device_status(const check *c) {
    if (c->g->status != FACET_OK && c->err) *c->err = c->g->error;
    return c->g->status;
}

/* ---- products */

static void fill_codes(check *c) {
    for (size_t i = 0; i < c->n_tokens * c->n_cols; i++) {
        int code = i % 32 == 0 ? 127 : (int)(rng_unit(1, 1, i) * 255) - 127;
        c->x[i] = (float)code * 0x1p-5f;
    }
}

static void cpu_product(check *c, const weight *w, size_t expert, size_t n_rows) {
    const cpu_table *cpu = c->g->cpu;
    cpu_input kind = cpu_input_for(cpu, w->m.format->type);
    matrix m = w->m;
    m.data += expert * m.n_rows * m.row_bytes;
    cpu_input_prepare(cpu, kind, c->x, c->n_cols, NULL, c->n_cols, c->n_tokens, 0, c->n_tokens, c->input);
    cpu_matmul(cpu, &m, 0, n_rows, c->input, c->n_tokens, c->want, n_rows, c->scratch);
    if (!w->scale) return;
    cpu_scale(cpu, c->want, w->scale[w->n_experts ? expert : 0], c->n_tokens * n_rows);
}

static facet_status check_product(check *c, const weight *w) {
    gpu *g = c->g;
    size_t n_rows = w->m.n_rows < CHECK_ROWS ? w->m.n_rows : CHECK_ROWS;
    c->n_cols = w->m.n_cols;
    fill_codes(c);
    gpu_write(g, &c->in, c->x, c->n_tokens * c->n_cols * sizeof *c->x);
    gpu_prepare(g, &c->in, c->n_tokens, c->n_cols, &w, 1);
    size_t expert = w->n_experts ? w->n_experts - 1 : 0;
    if (w->n_experts) {
        int32_t chosen[CHECK_TOKENS];
        for (size_t i = 0; i < c->n_tokens; i++) chosen[i] = (int32_t)expert;
        gpu_write(g, &g->chosen, chosen, c->n_tokens * sizeof *chosen);
        gpu_product_slots(g, w, c->n_tokens, 1, &c->out, w->m.n_rows);
        for (size_t i = 0; i < c->n_tokens; i++) {
            gpu_read_at(g, &c->out, i * w->m.n_rows, c->got + i * n_rows, n_rows);
        }
    } else {
        gpu_product(g, w, 0, n_rows, c->n_tokens, &c->out, n_rows);
        gpu_read_at(g, &c->out, 0, c->got, c->n_tokens * n_rows);
    }
    FACET_TRY(device_status(c));
    cpu_product(c, w, expert, n_rows);
    return compare(c, w->m.format->name, c->n_tokens * n_rows, 1e-5);
}

/* One matrix of each format and way of computing it; with one token and with several. */
static facet_status check_products(check *c) {
    bool seen[QUANT_N_TYPES][2] = {{false}};
    size_t all = c->n_tokens;
    for (size_t i = 0; i < c->g->w->n_matrices; i++) {
        const weight *w = c->g->matrices[i].of;
        if (!w || seen[w->m.format->type][w->n_experts > 0]) continue;
        seen[w->m.format->type][w->n_experts > 0] = true;
        c->n_tokens = all;
        FACET_TRY(check_product(c, w));
        c->n_tokens = 1;
        FACET_TRY(check_product(c, w));
    }
    c->n_tokens = all;
    return FACET_OK;
}

/* ---- steps */

static void fill_floats(float *x, size_t n, uint64_t stream) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(rng_unit(2, stream, i) * 5 - 2.5);
}

static facet_status check_norm(check *c) {
    gpu *g = c->g;
    size_t n = g->h->n_embd;
    const float *w = g->w->layers[g->options.first].attn_norm;
    fill_floats(c->x, c->n_tokens * n, 1);
    gpu_write(g, &c->in, c->x, c->n_tokens * n * sizeof *c->x);
    GPU_LAUNCH(g, g->residual_norm, c->n_tokens, 1, g->group, GPU_BUF(c->in), GPU_BUF(c->in), GPU_BUF(g->vectors),
               GPU_I(-1), GPU_I(-1), GPU_I(g->layers[g->options.first].attn_norm), GPU_BUF(c->out), GPU_I(n),
               GPU_F(g->h->eps));
    gpu_read_at(g, &c->out, 0, c->got, c->n_tokens * n);
    FACET_TRY(device_status(c));
    for (size_t i = 0; i < c->n_tokens; i++) {
        cpu_rms_norm(g->cpu, c->x + i * n, w, g->h->eps, n, c->want + i * n);
    }
    return compare(c, "RMSNorm", c->n_tokens * n, 1e-5);
}

static facet_status check_gelu(check *c) {
    gpu *g = c->g;
    size_t n = g->h->n_embd;
    fill_floats(c->x, n, 2);
    gpu_write(g, &c->out, c->x, n * sizeof *c->x);
    GPU_LAUNCH(g, g->gelu_mul, gpu_groups(n, g->group), 1, g->group, GPU_BUF(c->out), GPU_I(n), GPU_BUF(c->out),
               GPU_I(n), GPU_I(0), GPU_BUF(c->out), GPU_I(n));
    gpu_read_at(g, &c->out, 0, c->got, n);
    FACET_TRY(device_status(c));
    cpu_gelu_mul(g->cpu, c->x, c->x, n, c->want);
    return compare(c, "GELU", n, 1e-5);
}

static size_t widest(const gpu *g) {
    size_t n = g->h->n_embd;
    for (size_t i = 0; i < g->w->n_matrices; i++) {
        if (g->matrices[i].of && g->matrices[i].n_cols > n) n = g->matrices[i].n_cols;
        if (g->matrices[i].of && g->matrices[i].expert_groups && g->matrices[i].n_rows > n) n = g->matrices[i].n_rows;
    }
    return n;
}

static facet_status run_checks(check *c, size_t n) {
    gpu *g = c->g;
    size_t floats = c->n_tokens * (n < CHECK_ROWS ? CHECK_ROWS : n), input = 0;
    for (int kind = 0; kind < CPU_N_INPUTS; kind++) {
        for (size_t t = 1; t <= c->n_tokens; t++) {
            size_t bytes = cpu_input_bytes(g->cpu, (cpu_input)kind, (n + 255) / 256 * 256, t);
            if (bytes > input) input = bytes;
        }
    }
    FACET_TRY(gpu_take(g, &c->in, floats * sizeof(float), false, c->err));
    FACET_TRY(gpu_take(g, &c->out, floats * sizeof(float), false, c->err));
    c->x = malloc(floats * sizeof *c->x);
    c->want = malloc(floats * sizeof *c->want);
    c->got = malloc(floats * sizeof *c->got);
    c->input = aligned_alloc(64, input);
    c->scratch = aligned_alloc(64, (cpu_scratch_bytes(g->cpu, n) + 63) / 64 * 64 + 64);
    if (!c->x || !c->want || !c->got || !c->input || !c->scratch) return error_memory(c->err, floats * sizeof *c->x);
    FACET_TRY(check_products(c));
    FACET_TRY(check_norm(c));
    return check_gelu(c);
}

facet_status gpu_check(gpu *g, facet_error *err) {
    check c = {.g = g, .n_tokens = g->ubatch < CHECK_TOKENS ? g->ubatch : CHECK_TOKENS, .err = err};
    uint64_t bytes = g->bytes;
    facet_status status = run_checks(&c, widest(g));
    g->device->driver->buffer_free(g->device, &c.in);
    g->device->driver->buffer_free(g->device, &c.out);
    g->bytes = bytes;
    free(c.x);
    free(c.want);
    free(c.got);
    free(c.input);
    free(c.scratch);
    return status;
}
