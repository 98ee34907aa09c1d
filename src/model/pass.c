/* Operations that all parts of the forward pass use: preparing rows for products, and products. See pass.h. */
#include "model/pass.h"

#include "os/system.h"

void pass_mark(const pool_worker *t, forward *f, facet_part part) {
    if (t->index) return;
    double now = os_now();
    f->part_seconds[part] += now - f->part_began;
    f->part_began = now;
}

unsigned pass_kinds(const forward *f, const weight *const *list, size_t n) {
    unsigned kinds = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i]->m.format) kinds |= 1u << cpu_input_for(f->cpu, list[i]->m.format->type);
    }
    return kinds;
}

size_t pass_group(const forward *f, unsigned kinds, size_t n_rows) {
    size_t group = 1;
    for (int kind = 0; kind < CPU_N_INPUTS; kind++) {
        if (!(kinds >> kind & 1)) continue;
        size_t grain = cpu_input_grain(f->cpu, (cpu_input)kind, n_rows);
        if (group % grain) group = grain % group ? group * grain : grain;
    }
    return group;
}

void pass_prepare_rows(const forward *f, const pass_input *in, unsigned kinds, const float *x, size_t n_cols,
                       size_t n_rows, size_t t0, size_t t1) {
    for (int kind = 0; kind < CPU_N_INPUTS; kind++) {
        if (kinds >> kind & 1) {
            cpu_input_prepare(f->cpu, (cpu_input)kind, x, n_cols, NULL, n_cols, n_rows, t0, t1, in->kinds[kind]);
        }
    }
}

void pass_prepare(const pool_worker *t, forward *f, const pass_input *in, unsigned kinds, const float *x,
                  size_t n_cols) {
    size_t t0, t1;
    while (pool_next(t, f->n_rows, pass_group(f, kinds, f->n_rows), &t0, &t1)) {
        pass_prepare_rows(f, in, kinds, x, n_cols, f->n_rows, t0, t1);
    }
    pool_sync(t);
}

static matrix expert_matrix(const pass_product *p) {
    matrix m = p->w->m;
    m.data += (size_t)p->expert * m.n_rows * m.row_bytes;
    return m;
}

/* Rows [r0, r1) of m, which begins at row `first` of the product's matrix. */
static void product_rows(const forward *f, const pool_worker *t, const pass_product *p, const matrix *m, size_t first,
                         size_t r0, size_t r1) {
    const void *input = p->in->kinds[cpu_input_for(f->cpu, m->format->type)];
    cpu_matmul(f->cpu, m, r0, r1, input, p->n_tokens, p->out, p->ldo, f->thread[t->index].scratch);
    if (p->w->scale) {
        float scale = p->w->scale[p->w->n_experts ? p->expert : 0];
        for (size_t i = 0; i < p->n_tokens; i++) cpu_scale(f->cpu, p->out + i * p->ldo + r0, scale, r1 - r0);
    }
    adapt_rows(f, p, first + r0, first + r1, p->out + r0);
}

void pass_product_rows(const forward *f, const pool_worker *t, const pass_product *p, size_t r0, size_t r1) {
    matrix m = expert_matrix(p);
    product_rows(f, t, p, &m, 0, r0, r1);
}

void pass_product_part(const forward *f, const pool_worker *t, const pass_product *p, size_t r0, size_t r1) {
    matrix m = expert_matrix(p);
    m.data += r0 * m.row_bytes;
    m.n_rows = r1 - r0;
    product_rows(f, t, p, &m, r0, 0, r1 - r0);
}

static size_t grain_of(const forward *f, const pass_product *products, size_t n) {
    size_t grain = 1;
    for (size_t i = 0; i < n; i++) {
        size_t g = cpu_matmul_grain(f->cpu, products[i].w->m.format->type, products[i].n_tokens);
        if (g > grain) grain = g;
    }
    return grain;
}

void pass_products(const pool_worker *t, forward *f, pass_product *products, size_t n) {
    size_t total = 0, begin, end;
    adapt_products(t, f, products, n);
    for (size_t i = 0; i < n; i++) total += products[i].w->m.n_rows;
    size_t grain = grain_of(f, products, n);
    while (pool_next_part(t, total, grain, total, &begin, &end)) {
        size_t at = 0;
        for (size_t i = 0; i < n; at += products[i++].w->m.n_rows) {
            size_t rows = products[i].w->m.n_rows;
            size_t r0 = begin > at ? begin - at : 0, r1 = end > at ? end - at : 0;
            if (r1 > rows) r1 = rows;
            if (r0 < r1) pass_product_rows(f, t, &products[i], r0, r1);
        }
    }
    pool_sync(t);
}
