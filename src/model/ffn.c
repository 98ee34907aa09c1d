/* The dense feed-forward: down @ (gelu(gate @ m) * (up @ m)). Gate, up and gelu go in one sweep over chunks of rows,
 * so that the second factor never leaves the cache. */
#include "model/pass.h"

static void gate_up(const pool_worker *t, forward *f, const layer_weights *w) {
    size_t n_ff = w->ffn_gate.m.n_rows, n = f->n_rows, r0, r1;
    float *up = f->thread[t->index].up;
    pass_product both[2] = {
        {.w = &w->ffn_gate, .in = &f->in, .x = f->normed, .n_tokens = n, .out = f->ff, .ldo = n_ff},
        {.w = &w->ffn_up, .in = &f->in, .x = f->normed, .n_tokens = n, .out = up},
    };
    adapt_products(t, f, both, 2);
    size_t most = f->up_floats / n, grain = cpu_matmul_grain(f->cpu, w->ffn_gate.m.format->type, n);
    if (grain > most) grain = most;
    while (pool_next_part(t, n_ff, grain, most / grain * grain, &r0, &r1)) {
        both[1].ldo = r1 - r0;
        pass_product_rows(f, t, &both[0], r0, r1);
        pass_product_part(f, t, &both[1], r0, r1);
        for (size_t i = 0; i < n; i++) {
            float *g = f->ff + i * n_ff + r0;
            cpu_gelu_mul(f->cpu, g, up + i * (r1 - r0), r1 - r0, g);
        }
    }
    pool_sync(t);
}

void ffn_dense(const pool_worker *t, forward *f, uint32_t layer) {
    const layer_weights *w = &f->w->layers[layer];
    gate_up(t, f, w);
    pass_mark(t, f, FACET_PART_GATE_UP);
    pass_prepare(t, f, &f->in, pass_kinds(f, (const weight *[]){&w->ffn_down}, 1), f->ff, w->ffn_down.m.n_cols);
    pass_product down = {
        .w = &w->ffn_down, .in = &f->in, .x = f->ff, .n_tokens = f->n_rows, .out = f->y, .ldo = f->h->n_embd};
    pass_products(t, f, &down, 1);
    pass_mark(t, f, FACET_PART_DOWN);
}
