/* Products that share their input, with what stands before them (the residual stream, norms) and behind them (gates).
 * Owns the choice of how they are computed. Here is the way that every device and any number of tokens can go: a
 * launch for each of these steps; decode.c has another for few tokens. See parts.h. */
#include "backend/gpu/check.h"

/* ---- a launch for each step */

void gpu_settle(gpu *g, gpu_from from, const gpu_buffer *out) {
    GPU_LAUNCH(g, g->residual_norm, g->n_rows, 1, g->group, GPU_PTR(g->x_now), GPU_BUF(g->y), GPU_BUF(g->vectors),
               GPU_I(from.after), GPU_I(from.scale), GPU_I(from.before), GPU_PTR(out), GPU_I(g->h->n_embd),
               GPU_F(g->h->eps));
}

/* The rows that the products read. */
static const gpu_buffer *input_of(gpu *g, const gpu_join *j) {
    if (j->from.values) return j->from.values;
    gpu_settle(g, j->from, &g->normed);
    return j->from.before >= 0 ? &g->normed : g->x_now;
}

static void compute_products(gpu *g, const gpu_join *j) {
    for (size_t i = 0; i < j->n; i++) {
        const gpu_join_product *p = &j->products[i];
        const gpu_buffer *out = j->halves ? j->halves : p->out;
        if (j->per_row)
            gpu_product_slots(g, p->w, j->n_tokens, j->per_row, out, p->n_rows);
        else
            gpu_product(g, p->w, p->first_row, p->n_rows, j->n_tokens, out, p->n_rows);
    }
}

/* out = gelu(gate) * up, see the kernel. */
static void gate(gpu *g, const gpu_join *j, const gpu_buffer *gate, size_t gate_width, const gpu_buffer *up,
                 size_t up_width, size_t up_at, size_t n) {
    GPU_LAUNCH(g, g->gelu_mul, gpu_groups(n, g->group), j->n_tokens, g->group, GPU_PTR(gate), GPU_I(gate_width),
               GPU_PTR(up), GPU_I(up_width), GPU_I(up_at), GPU_PTR(j->products[0].out), GPU_I(n));
}

static void finish(gpu *g, const gpu_join *j) {
    const gpu_join_product *p = &j->products[0];
    size_t n = p->n_rows, first = g->part_first[g->part], end = g->part_end[g->part];
    switch (j->ending) {
    case GPU_PLAIN: return;
    case GPU_GATED:
        if (j->halves)
            gate(g, j, j->halves, n, j->halves, n, n / 2, n / 2);
        else
            gate(g, j, p->out, n, j->products[1].out, n, 0, n);
        return;
    case GPU_EMBEDDED: gate(g, j, p->out, n, &g->ple[g->part], (end - first) * n, (j->layer - first) * n, n); return;
    case GPU_CAPPED:
        GPU_LAUNCH(g, g->soft_cap, gpu_groups(n, g->group), j->n_tokens, g->group, GPU_PTR(p->out), GPU_I(n),
                   GPU_F(g->h->soft_cap));
        return;
    }
}

void gpu_compute_steps(gpu *g, const gpu_join *j) {
    const weight *list[3];
    for (size_t i = 0; i < j->n; i++) list[i] = j->products[i].w;
    size_t n_rows = j->per_row ? j->n_tokens / j->per_row : j->n_tokens;
    gpu_prepare(g, input_of(g, j), n_rows, list[0]->m.n_cols, list, j->n);
    compute_products(g, j);
    finish(g, j);
}

/* ---- the choice */

void gpu_compute(gpu *g, const gpu_join *j) {
    if (g->check)
        check_join(g->check, j);
    else if (!gpu_decode(g, j))
        gpu_compute_steps(g, j);
}
