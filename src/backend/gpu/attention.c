/* Attention on a device: what becomes of the projections, and what the heads make of keys and values. See parts.h. */
#include "backend/gpu/parts.h"

void gpu_finish_heads(gpu *g, uint32_t layer) {
    const layer_hparams *l = &g->h->layers[layer];
    const gpu_layer *at = &g->layers[layer];
    uint32_t units = l->owns_kv ? l->n_head_kv : 0;
    size_t cos_at = l->sliding ? 2 * g->pairs[0] : 0;
    GPU_LAUNCH(g, g->finish_heads, units + l->n_head, g->n_rows, g->group, GPU_PTR(g->q_now), GPU_BUF(g->k),
               GPU_PTR(g->w->layers[layer].attn_v.m.format ? &g->v : &g->k), GPU_I(l->n_head), GPU_I(units),
               GPU_I(l->n_head_kv), GPU_I(l->head_dim), GPU_BUF(g->vectors), GPU_I(at->attn_q_norm),
               GPU_I(at->attn_k_norm), GPU_BUF(g->angles), GPU_I(g->angle_width), GPU_I(cos_at),
               GPU_BUF(g->rows[g->part]), GPU_BUF(g->tables), GPU_I(l->sliding), GPU_BUF(g->pool[l->sliding]),
               GPU_WIDE(g->page_bytes[l->sliding]), GPU_WIDE(at->kv_at), GPU_F(g->h->eps));
}

/* Few rows leave a device idle: their spans are then computed side by side. */
static size_t attention_parts(const gpu *g, const layer_hparams *l) {
    size_t spans = g->n_spans[g->part][l->sliding], heads = g->n_rows * l->n_head;
    return spans > 1 && heads * spans <= GPU_PARTIALS ? spans : 1;
}

void gpu_attend(gpu *g, uint32_t layer) {
    const layer_hparams *l = &g->h->layers[layer];
    size_t parts = attention_parts(g, l);
    GPU_LAUNCH(g, g->attend, l->n_head * parts, g->n_rows, g->group, GPU_PTR(g->q_now), GPU_I(l->n_head),
               GPU_I(l->n_head / l->n_head_kv), GPU_I(l->head_dim), GPU_BUF(g->rows[g->part]), GPU_BUF(g->tables),
               GPU_I(l->sliding), GPU_I(g->h->window), GPU_BUF(g->pool[l->sliding]),
               GPU_WIDE(g->page_bytes[l->sliding]), GPU_WIDE(g->layers[l->kv_layer].kv_at), GPU_I(l->n_head_kv),
               GPU_I(g->first_span[g->part][l->sliding]), GPU_I(parts), GPU_BUF(g->partial));
    if (parts == 1) return;
    GPU_LAUNCH(g, g->attend_merge, l->n_head, g->n_rows, g->group, GPU_PTR(g->q_now), GPU_I(l->n_head),
               GPU_I(l->head_dim), GPU_I(parts), GPU_BUF(g->partial));
}
