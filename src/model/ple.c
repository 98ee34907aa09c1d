/* Per-layer embeddings: every layer adds a projection of its own embedding of the token, gated by the residual
 * stream. a = per_layer_token_embd[token], the layer's slice, * sqrt(n_ple) b = RMSNorm((per_layer_model_proj @ x0) /
 * sqrt(n_embd); per_layer_proj_norm), the layer's rows ple = (a + b) / sqrt(2) y = proj @ (gelu(inp_gate @ x) * ple)
 * The slices are read and projected layer by layer, so that tokens which leave the pass early never pay for the rest.
 */
#include <math.h>
#include <string.h>

#include "model/pass.h"

void ple_embed(const pool_worker *t, forward *f) {
    const weight *w = &f->w->per_layer_model_proj;
    if (t->index == 0) memcpy(f->x0, f->x, f->n_rows * f->h->n_embd * sizeof *f->x0);
    pass_prepare(t, f, &f->in_x0, pass_kinds(f, &w, 1), f->x, f->h->n_embd);
}

/* Columns [column, column + n) of one row, whole blocks around them first. The result lies inside `work`. */
static float *row_slice(const matrix *m, size_t row, size_t column, size_t n, float *work) {
    const quant_format *q = m->format;
    size_t first = column / q->block, end = (column + n + q->block - 1) / q->block;
    q->dequantise(m->data + row * m->row_bytes + first * q->block_bytes, work, end - first);
    return work + (column - first * q->block);
}

/* gelu(gate) * ple for one row, into the gate's place. */
static void gate_row(const pool_worker *t, forward *f, uint32_t layer, size_t i) {
    const hparams *h = f->h;
    size_t n = h->n_ple;
    float *b = f->ple_b + i * n, *gate = f->ple_gate + i * n;
    const matrix *table = &f->w->per_layer_token_embd.m;
    float *a = row_slice(table, (size_t)f->rows[i].token, layer * n, n, f->thread[t->index].head);
    float a_scale = sqrtf((float)n), half = sqrtf(0.5f);
    if (f->adapted) adapt_ple_slice(f, i, layer, a);
    cpu_scale(f->cpu, b, 1.0f / sqrtf((float)h->n_embd), n);
    cpu_rms_norm(f->cpu, b, f->w->per_layer_proj_norm, h->eps, n, b);
    for (size_t j = 0; j < n; j++) b[j] = (a[j] * a_scale + b[j]) * half;
    cpu_gelu_mul(f->cpu, gate, b, n, gate);
}

typedef struct slices_job {
    forward *f;
    uint32_t first, end;
    bool wanted_only;
    float *out;
} slices_job;

static void slices_main(const pool_worker *t, void *ctx) {
    const slices_job *job = ctx;
    forward *f = job->f;
    size_t n = f->h->n_ple, width = (job->end - job->first) * n, begin, end;
    const matrix *table = &f->w->per_layer_token_embd.m;
    while (pool_next(t, f->n_rows, 4, &begin, &end)) {
        size_t at = 0;
        for (size_t i = 0; job->wanted_only && i < begin; i++) at += f->rows[i].wanted;
        for (size_t i = begin; i < end; i++) {
            if (job->wanted_only && !f->rows[i].wanted) continue;
            float *out = job->out + (job->wanted_only ? at++ : i) * width;
            for (uint32_t l = job->first; l < job->end; l++, out += n) {
                float *a = row_slice(table, (size_t)f->rows[i].token, l * n, n, f->thread[t->index].head);
                if (f->adapted) adapt_ple_slice(f, i, l, a);
                memcpy(out, a, n * sizeof *out);
            }
        }
    }
    pool_sync(t);
}

void ple_slices(forward *f, uint32_t first, uint32_t end, bool wanted_only, float *out) {
    pool_run(f->threads, slices_main,
             &(slices_job){.f = f, .first = first, .end = end, .wanted_only = wanted_only, .out = out});
}

static void gate_rows(const pool_worker *t, forward *f, uint32_t layer, unsigned kinds) {
    size_t t0, t1;
    while (pool_next(t, f->n_rows, pass_group(f, kinds, f->n_rows), &t0, &t1)) {
        for (size_t i = t0; i < t1; i++) gate_row(t, f, layer, i);
        pass_prepare_rows(f, &f->in, kinds, f->ple_gate, f->h->n_ple, f->n_rows, t0, t1);
    }
    pool_sync(t);
}

void ple_project(const pool_worker *t, forward *f, uint32_t layer) {
    const layer_weights *w = &f->w->layers[layer];
    size_t n = f->h->n_ple;
    weight rows = f->w->per_layer_model_proj; /* this layer's */
    rows.m.data += (size_t)layer * n * rows.m.row_bytes;
    rows.m.n_rows = n;
    pass_product in[] = {
        {.w = &w->inp_gate, .in = &f->in, .x = f->x, .n_tokens = f->n_rows, .out = f->ple_gate, .ldo = n},
        {.w = &rows,
         .in = &f->in_x0,
         .x = f->x0,
         .n_tokens = f->n_rows,
         .out = f->ple_b,
         .ldo = n,
         .first_row = layer * n},
    };
    pass_products(t, f, in, 2);
    gate_rows(t, f, layer, pass_kinds(f, (const weight *[]){&w->proj}, 1));
    pass_product out = {
        .w = &w->proj, .in = &f->in, .x = f->ple_gate, .n_tokens = f->n_rows, .out = f->y, .ldo = f->h->n_embd};
    pass_products(t, f, &out, 1);
}
