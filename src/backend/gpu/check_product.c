/* The self-test of products: one matrix of each format and way of computing it, with the model's own weights. The
 * activations are whole numbers of one power of two, so that codes and integer sums are the same everywhere and only
 * roundings can differ. A format whose numbers are wrong gives up one way after the other (ways.c). See check.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/gpu/check.h"
#include "base/rng.h"

/* The CPU's work space. */
typedef struct cpu_side {
    void *input, *scratch;
} cpu_side;

static facet_status open_cpu_side(cpu_side *s, const check *c, const weight *w) {
    const cpu_table *cpu = c->g->cpu;
    size_t bytes = cpu_input_bytes(cpu, cpu_input_for(cpu, w->m.format->type), w->m.n_cols, c->n_tokens);
    s->input = aligned_alloc(64, bytes);
    s->scratch = aligned_alloc(64, (cpu_scratch_bytes(cpu, w->m.n_cols) + 63) / 64 * 64 + 64);
    return s->input && s->scratch ? FACET_OK : error_memory(c->err, bytes);
}

static void close_cpu_side(cpu_side *s) {
    free(s->input);
    free(s->scratch);
}

static void fill_codes(check *c, size_t n_cols) {
    for (size_t i = 0; i < c->n_tokens * n_cols; i++) {
        int code = i % 32 == 0 ? 127 : (int)(rng_unit(1, 1, i) * 255) - 127;
        c->x[i] = (float)code * 0x1p-5f;
    }
}

/* One expert's, where there are experts. */
static size_t expert_of(const weight *w) { return w->n_experts ? w->n_experts - 1 : 0; }

static void cpu_product(check *c, const weight *w, size_t n_rows, const cpu_side *s) {
    const cpu_table *cpu = c->g->cpu;
    cpu_input kind = cpu_input_for(cpu, w->m.format->type);
    size_t n_cols = w->m.n_cols, expert = expert_of(w);
    matrix m = w->m;
    m.data += expert * m.n_rows * m.row_bytes;
    cpu_input_prepare(cpu, kind, c->x, n_cols, NULL, n_cols, c->n_tokens, 0, c->n_tokens, s->input);
    cpu_matmul(cpu, &m, 0, n_rows, s->input, c->n_tokens, c->want, n_rows, s->scratch);
    if (w->scale) cpu_scale(cpu, c->want, w->scale[expert], c->n_tokens * n_rows);
}

static void device_slots(check *c, const weight *w, size_t n_rows) {
    gpu *g = c->g;
    int32_t chosen[CHECK_TOKENS];
    for (size_t i = 0; i < c->n_tokens; i++) chosen[i] = (int32_t)expert_of(w);
    gpu_write(g, &g->chosen, chosen, c->n_tokens * sizeof *chosen);
    gpu_group_slots(g, c->n_tokens);
    gpu_product_slots(g, w, c->n_tokens, 1, &c->out, w->m.n_rows);
    for (size_t i = 0; i < c->n_tokens; i++) {
        gpu_read_at(g, &c->out, i * w->m.n_rows, c->got + i * n_rows, n_rows);
    }
}

static void device_product(check *c, const weight *w, size_t n_rows) {
    gpu *g = c->g;
    gpu_write(g, &c->in, c->x, c->n_tokens * w->m.n_cols * sizeof *c->x);
    gpu_prepare(g, &c->in, c->n_tokens, w->m.n_cols, &w, 1);
    if (w->n_experts) {
        device_slots(c, w, n_rows);
        return;
    }
    gpu_product(g, w, 0, n_rows, c->n_tokens, &c->out, n_rows);
    gpu_read_at(g, &c->out, 0, c->got, c->n_tokens * n_rows);
}

static facet_status check_product(check *c, const weight *w) {
    size_t n_rows = w->m.n_rows < CHECK_ROWS ? w->m.n_rows : CHECK_ROWS;
    cpu_side side;
    fill_codes(c, w->m.n_cols);
    device_product(c, w, n_rows);
    FACET_TRY(check_device(c));
    facet_status status = open_cpu_side(&side, c, w);
    if (status == FACET_OK) {
        cpu_product(c, w, n_rows, &side);
        status = check_compare(c, w->m.format->name, c->n_tokens * n_rows);
    }
    close_cpu_side(&side);
    return status;
}

/* With as many tokens as there are programs for. */
static facet_status check_numbers(check *c, const weight *w) {
    size_t most = c->n_tokens;
    const size_t counts[] = {most, 20, PRODUCT_TOKENS, 1};
    facet_status status = FACET_OK;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0] && status == FACET_OK; i++) {
        if (counts[i] > most) continue;
        c->n_tokens = counts[i];
        status = check_product(c, w);
    }
    c->n_tokens = most;
    return status;
}

static void tell(const check *c, const char *way) {
    const gpu_options *o = &c->g->options;
    char line[600];
    if (!o->log) return;
    snprintf(line, sizeof line, "without %s: %s", way, c->err ? c->err->message : "wrong numbers");
    o->log(o->log_ctx, line);
}

/* Until the numbers are right, or the plain way is wrong too. */
static facet_status check_ways(check *c, const weight *w) {
    for (;;) {
        facet_status status = check_numbers(c, w);
        if (status == FACET_OK || status == FACET_ERROR_MEMORY) return status;
        const char *way = gpu_ways_give_up(c->g, w->m.format->type);
        if (!way) return status;
        tell(c, way);
        FACET_TRY(gpu_products_open(c->g, c->err));
    }
}

facet_status check_products(check *c) {
    bool seen[QUANT_N_TYPES][2][2] = {{{false}}};
    for (size_t i = 0; i < c->g->w->n_matrices; i++) {
        const weight *w = c->g->matrices[i].of;
        if (!w) continue;
        bool *done = &seen[w->m.format->type][w->n_experts > 0][c->g->matrices[i].words.image != NULL];
        if (!*done) FACET_TRY(check_ways(c, w));
        *done = true;
    }
    return FACET_OK;
}
