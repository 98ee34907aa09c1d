/* The layers of Gemma 4 on a device: model/forward.c and its neighbours say the same for the CPU, the spec's formulas
 * stand there. Every function here launches kernels and returns at once. */
#include <math.h>

#include "backend/gpu/parts.h"

/* x += RMSNorm(y; after), x *= scale, normed = RMSNorm(x; before), as far as these are there (>= 0). */
static void residual_norm(gpu *g, int after, int scale, int before, const gpu_buffer *out) {
    GPU_LAUNCH(g, g->residual_norm, g->n_rows, 1, g->group, GPU_PTR(g->x_now), GPU_BUF(g->y), GPU_BUF(g->vectors),
               GPU_I(after), GPU_I(scale), GPU_I(before), GPU_PTR(out), GPU_I(g->h->n_embd), GPU_F(g->h->eps));
}

static void gather(gpu *g, const gpu_buffer *from, const gpu_buffer *to, size_t width) {
    GPU_LAUNCH(g, g->gather_rows, gpu_groups(width, g->group), g->n_wanted, g->group, GPU_PTR(from),
               GPU_BUF(g->index), GPU_I(0), GPU_I(width), GPU_PTR(to));
}

/* ---- attention */

/* q, k, v = norms and angles of the projections; k and v go to the cache. */
static void project_heads(gpu *g, uint32_t layer) {
    const layer_hparams *l = &g->h->layers[layer];
    const layer_weights *w = &g->w->layers[layer];
    size_t n_q = (size_t)l->n_head * l->head_dim, n_kv = (size_t)l->n_head_kv * l->head_dim;
    bool own = l->owns_kv, has_v = w->attn_v.m.format != NULL;
    gpu_prepare(g, &g->normed, g->n_rows, g->h->n_embd, (const weight *[]){&w->attn_q, &w->attn_k, &w->attn_v}, 3);
    gpu_product(g, &w->attn_q, 0, n_q, g->n_rows, g->q_now, n_q);
    if (own) gpu_product(g, &w->attn_k, 0, n_kv, g->n_rows, &g->k, n_kv);
    if (own && has_v) gpu_product(g, &w->attn_v, 0, n_kv, g->n_rows, &g->v, n_kv);
    gpu_finish_heads(g, layer);
}

static void project_output(gpu *g, uint32_t layer) {
    const weight *w = &g->w->layers[layer].attn_output;
    gpu_prepare(g, g->q_now, g->n_rows, w->m.n_cols, &w, 1);
    gpu_product(g, w, 0, w->m.n_rows, g->n_rows, &g->y, g->h->n_embd);
}

/* ---- feed-forward */

/* y = down @ (gelu(gate @ m) * (up @ m)) */
static void feed_forward(gpu *g, uint32_t layer) {
    const layer_weights *w = &g->w->layers[layer];
    size_t n_ff = w->ffn_gate.m.n_rows;
    gpu_prepare(g, &g->normed, g->n_rows, g->h->n_embd, (const weight *[]){&w->ffn_gate, &w->ffn_up}, 2);
    gpu_product(g, &w->ffn_gate, 0, n_ff, g->n_rows, &g->ff, n_ff);
    gpu_product(g, &w->ffn_up, 0, n_ff, g->n_rows, &g->up, n_ff);
    GPU_LAUNCH(g, g->gelu_mul, gpu_groups(n_ff, g->group), g->n_rows, g->group, GPU_BUF(g->ff), GPU_BUF(g->up),
               GPU_I(n_ff));
    gpu_prepare(g, &g->ff, g->n_rows, n_ff, (const weight *[]){&w->ffn_down}, 1);
    gpu_product(g, &w->ffn_down, 0, g->h->n_embd, g->n_rows, &g->y, g->h->n_embd);
}

/* The router's choice for every row, and the experts' input e. */
static void route_experts(gpu *g, uint32_t layer) {
    const hparams *h = g->h;
    const layer_weights *w = &g->w->layers[layer];
    const gpu_layer *at = &g->layers[layer];
    GPU_LAUNCH(g, g->router_input, g->n_rows, 1, g->group, GPU_PTR(g->x_now), GPU_BUF(g->vectors),
               GPU_I(at->router_scale), GPU_I(at->pre_ffw_norm_2), GPU_BUF(g->normed), GPU_BUF(g->e),
               GPU_I(h->n_embd), GPU_F(1.0f / sqrtf((float)h->n_embd)), GPU_F(h->eps));
    gpu_prepare(g, &g->normed, g->n_rows, h->n_embd, (const weight *[]){&w->ffn_gate_inp}, 1);
    gpu_product(g, &w->ffn_gate_inp, 0, h->n_expert, g->n_rows, &g->router, h->n_expert);
    GPU_LAUNCH(g, g->choose_experts, gpu_groups(g->n_rows, g->group), 1, g->group, GPU_BUF(g->router),
               GPU_I(h->n_expert), GPU_I(h->n_expert_used), GPU_I(g->n_rows), GPU_BUF(g->vectors),
               GPU_I(at->down_scale), GPU_BUF(g->chosen), GPU_BUF(g->factor));
}

/* y = RMSNorm(y) + RMSNorm(the weighted sum of the chosen experts' outputs) */
static void mix_experts(gpu *g, uint32_t layer) {
    const hparams *h = g->h;
    const layer_weights *w = &g->w->layers[layer];
    const gpu_layer *at = &g->layers[layer];
    size_t used = h->n_expert_used, slots = g->n_rows * used, ffe = h->n_ff_expert;
    route_experts(g, layer);
    gpu_prepare(g, &g->e, g->n_rows, h->n_embd,
                (const weight *[]){&w->ffn_gate_up_exps, &w->ffn_gate_exps, &w->ffn_up_exps}, 3);
    if (w->ffn_gate_up_exps.m.format) {
        gpu_product_slots(g, &w->ffn_gate_up_exps, slots, used, &g->slot_both, 2 * ffe);
        GPU_LAUNCH(g, g->gelu_mul_halves, gpu_groups(ffe, g->group), slots, g->group, GPU_BUF(g->slot_both),
                   GPU_BUF(g->slot_mid), GPU_I(ffe));
    } else {
        gpu_product_slots(g, &w->ffn_gate_exps, slots, used, &g->slot_mid, ffe);
        gpu_product_slots(g, &w->ffn_up_exps, slots, used, &g->slot_both, ffe);
        GPU_LAUNCH(g, g->gelu_mul, gpu_groups(ffe, g->group), slots, g->group, GPU_BUF(g->slot_mid),
                   GPU_BUF(g->slot_both), GPU_I(ffe));
    }
    gpu_prepare(g, &g->slot_mid, slots, ffe, (const weight *[]){&w->ffn_down_exps}, 1);
    gpu_product_slots(g, &w->ffn_down_exps, slots, 1, &g->slot_out, h->n_embd);
    GPU_LAUNCH(g, g->combine_experts, g->n_rows, 1, g->group, GPU_BUF(g->y), GPU_BUF(g->slot_out), GPU_BUF(g->factor),
               GPU_I(used), GPU_BUF(g->vectors), GPU_I(at->post_ffw_norm_1), GPU_I(at->post_ffw_norm_2),
               GPU_BUF(g->e), GPU_I(h->n_embd), GPU_F(h->eps));
}

/* ---- per-layer embeddings */

/* The projections of the embeddings for all layers of a part at once. */
static void ple_project_part(gpu *g) {
    const hparams *h = g->h;
    const weight *w = &g->w->per_layer_model_proj;
    size_t first = g->part_first[g->part] * h->n_ple, end = g->part_end[g->part] * h->n_ple;
    if (!h->n_ple || first == end) return;
    gpu_prepare(g, &g->x0, g->n_rows, h->n_embd, &w, 1);
    gpu_product(g, w, first, end - first, g->n_rows, &g->ple_b[g->part], end - first);
}

/* y = proj @ (gelu(inp_gate @ x) * ple) */
static void project_ple(gpu *g, uint32_t layer) {
    const hparams *h = g->h;
    const layer_weights *w = &g->w->layers[layer];
    size_t n = h->n_ple, width = (g->part_end[g->part] - g->part_first[g->part]) * n;
    size_t at = (layer - g->part_first[g->part]) * n;
    gpu_prepare(g, g->x_now, g->n_rows, h->n_embd, (const weight *[]){&w->inp_gate}, 1);
    gpu_product(g, &w->inp_gate, 0, n, g->n_rows, &g->ple_rows, n);
    GPU_LAUNCH(g, g->ple_gate, g->n_rows, 1, g->group, GPU_BUF(g->ple_rows), GPU_BUF(g->ple_a[g->part]), GPU_I(width),
               GPU_I(at), GPU_BUF(g->ple_b[g->part]), GPU_I(width), GPU_I(at), GPU_BUF(g->vectors),
               GPU_I(g->ple_norm), GPU_I(n), GPU_F(sqrtf((float)n)), GPU_F(1.0f / sqrtf((float)h->n_embd)),
               GPU_F(h->eps));
    gpu_prepare(g, &g->ple_rows, g->n_rows, n, (const weight *[]){&w->proj}, 1);
    gpu_product(g, &w->proj, 0, h->n_embd, g->n_rows, &g->y, h->n_embd);
}

/* ---- layers */

/* Rows that nobody wants stay behind, once their keys and values are stored. */
static void leave_early(gpu *g, uint32_t layer) {
    const layer_hparams *l = &g->h->layers[layer];
    if (g->n_wanted < g->n_rows) {
        gather(g, g->x_now, &g->gathered, g->h->n_embd);
        gather(g, g->q_now, &g->q_gathered, (size_t)l->n_head * l->head_dim);
        if (g->h->n_ple) { /* `normed` is free here */
            gather(g, &g->x0, &g->normed, g->h->n_embd);
            gpu_buffer x0 = g->x0;
            g->x0 = g->normed;
            g->normed = x0;
        }
        g->x_now = &g->gathered;
        g->q_now = &g->q_gathered;
        g->n_rows = g->n_wanted;
        if (g->row_sets) g->row_sets = g->hidden_sets;
        g->n_row_sets = g->n_wanted;
    }
}

static void enter_part(gpu *g, int part) {
    g->part = part;
    ple_project_part(g);
}

static void compute_layer(gpu *g, uint32_t layer) {
    const gpu_layer *at = &g->layers[layer];
    bool last = layer + 1 == g->h->n_layer, end = layer + 1 == g->options.end;
    project_heads(g, layer);
    if (layer + 1 == g->h->n_own) {
        leave_early(g, layer);
        enter_part(g, 1);
    }
    if (g->n_rows == 0) return;
    gpu_attend(g, layer);
    project_output(g, layer);
    residual_norm(g, at->post_attention_norm, -1, at->ffn_norm, &g->normed);
    feed_forward(g, layer);
    if (g->h->n_expert) mix_experts(g, layer);
    int after = at->post_ffw_norm;
    if (g->h->n_ple) {
        residual_norm(g, after, -1, -1, &g->normed);
        project_ple(g, layer);
        after = at->post_norm;
    }
    int before = last ? g->output_norm : end ? -1 : g->layers[layer + 1].attn_norm;
    residual_norm(g, after, at->output_scale, before, last ? &g->hidden : &g->normed);
}

void gpu_layers(gpu *g) {
    g->x_now = &g->x;
    g->q_now = &g->q;
    enter_part(g, g->options.first >= g->h->n_own ? 1 : 0);
    residual_norm(g, -1, -1, g->layers[g->options.first].attn_norm, &g->normed);
    for (uint32_t i = g->options.first; i < g->options.end && g->n_rows; i++) compute_layer(g, i);
}

/* logits = output @ hidden of the tokens that stand in `hidden` */
void gpu_logits(gpu *g, const gpu_buffer *hidden, size_t n_rows) {
    const weight *w = &g->w->output;
    size_t n_vocab = g->h->n_vocab;
    gpu_prepare(g, hidden, n_rows, g->h->n_embd, &w, 1);
    gpu_product(g, w, 0, n_vocab, n_rows, &g->logits, n_vocab);
    if (g->h->soft_cap <= 0) return;
    GPU_LAUNCH(g, g->soft_cap, gpu_groups(n_vocab, g->group), n_rows, g->group, GPU_BUF(g->logits), GPU_I(n_vocab),
               GPU_F(g->h->soft_cap));
}
