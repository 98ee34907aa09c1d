/* The layers of Gemma 4 on a device: model/forward.c and its neighbours say the same for the CPU, the spec's formulas
 * stand there. Every function here launches kernels and returns at once. */
#include <math.h>

#include "backend/gpu/parts.h"

/* Products of the rows at hand. */
static gpu_join join_of(const gpu *g, gpu_from from) { return (gpu_join){.from = from, .n_tokens = g->n_rows}; }

/* out = w . input, where the model has w. */
static void add_product(gpu_join *j, const weight *w, const gpu_buffer *out) {
    if (w->m.format) j->products[j->n++] = (gpu_join_product){.w = w, .n_rows = w->m.n_rows, .out = out};
}

static void product_of(gpu *g, const gpu_buffer *values, const weight *w, const gpu_buffer *out) {
    gpu_join j = join_of(g, gpu_values(values));
    add_product(&j, w, out);
    gpu_compute(g, &j);
}

static void gather(gpu *g, const gpu_buffer *from, const gpu_buffer *to, size_t width) {
    GPU_LAUNCH(g, g->gather_rows, gpu_groups(width, g->group), g->n_wanted, g->group, GPU_PTR(from),
               GPU_BUF(g->index), GPU_I(0), GPU_I(width), GPU_PTR(to));
}

/* ---- attention */

/* q, k, v = norms and angles of the projections; k and v go to the cache. */
static void project_heads(gpu *g, uint32_t layer, gpu_from from) {
    const layer_hparams *l = &g->h->layers[layer];
    const layer_weights *w = &g->w->layers[layer];
    bool own = l->owns_kv;
    gpu_join j = join_of(g, from);
    add_product(&j, &w->attn_q, g->q_now);
    if (own) add_product(&j, &w->attn_k, &g->k);
    if (own) add_product(&j, &w->attn_v, &g->v);
    gpu_compute(g, &j);
    gpu_finish_heads(g, layer);
}

/* ---- feed-forward */

/* y = down @ (gelu(gate @ m) * (up @ m)) */
static void feed_forward(gpu *g, uint32_t layer, gpu_from from) {
    const layer_weights *w = &g->w->layers[layer];
    gpu_join j = join_of(g, from);
    j.ending = GPU_GATED;
    add_product(&j, &w->ffn_gate, &g->ff);
    add_product(&j, &w->ffn_up, &g->up);
    gpu_compute(g, &j);
    product_of(g, &g->ff, &w->ffn_down, &g->y);
}

/* The router's choice for every row, and the experts' input e. */
static void route_experts(gpu *g, uint32_t layer) {
    const hparams *h = g->h;
    const layer_weights *w = &g->w->layers[layer];
    const gpu_layer *at = &g->layers[layer];
    GPU_LAUNCH(g, g->router_input, g->n_rows, 1, g->group, GPU_PTR(g->x_now), GPU_BUF(g->vectors),
               GPU_I(at->router_scale), GPU_I(at->pre_ffw_norm_2), GPU_BUF(g->normed), GPU_BUF(g->e),
               GPU_I(h->n_embd), GPU_F(1.0f / sqrtf((float)h->n_embd)), GPU_F(h->eps));
    product_of(g, &g->normed, &w->ffn_gate_inp, &g->router);
    GPU_LAUNCH(g, g->choose_experts, gpu_groups(g->n_rows, g->group), 1, g->group, GPU_BUF(g->router),
               GPU_I(h->n_expert), GPU_I(h->n_expert_used), GPU_I(g->n_rows), GPU_BUF(g->vectors),
               GPU_I(at->down_scale), GPU_BUF(g->chosen), GPU_BUF(g->factor));
    gpu_group_slots(g, g->n_rows * h->n_expert_used);
}

/* slot_mid = gelu(gate) * up of the chosen experts, from one matrix or two */
static void expert_gates(gpu *g, const layer_weights *w) {
    gpu_join j = {.from = gpu_values(&g->e),
                  .n_tokens = g->n_rows * g->h->n_expert_used,
                  .per_row = g->h->n_expert_used,
                  .ending = GPU_GATED};
    if (w->ffn_gate_up_exps.m.format) {
        j.halves = &g->slot_both;
        add_product(&j, &w->ffn_gate_up_exps, &g->slot_mid);
    } else {
        add_product(&j, &w->ffn_gate_exps, &g->slot_mid);
        add_product(&j, &w->ffn_up_exps, &g->slot_both);
    }
    gpu_compute(g, &j);
}

/* y = RMSNorm(y) + RMSNorm(the weighted sum of the chosen experts' outputs) */
static void mix_experts(gpu *g, uint32_t layer) {
    const hparams *h = g->h;
    const layer_weights *w = &g->w->layers[layer];
    const gpu_layer *at = &g->layers[layer];
    size_t used = h->n_expert_used;
    route_experts(g, layer);
    expert_gates(g, w);
    gpu_join down = {.from = gpu_values(&g->slot_mid), .n_tokens = g->n_rows * used, .per_row = 1};
    add_product(&down, &w->ffn_down_exps, &g->slot_out);
    gpu_compute(g, &down);
    GPU_LAUNCH(g, g->combine_experts, g->n_rows, 1, g->group, GPU_BUF(g->y), GPU_BUF(g->slot_out), GPU_BUF(g->factor),
               GPU_I(used), GPU_BUF(g->vectors), GPU_I(at->post_ffw_norm_1), GPU_I(at->post_ffw_norm_2),
               GPU_BUF(g->e), GPU_I(h->n_embd), GPU_F(h->eps));
}

/* ---- per-layer embeddings */

/* What the tokens' own embeddings give to all layers of a part: ple = (a * sqrt(n_ple) + RMSNorm(b / sqrt(n_embd))) /
 * sqrt(2), b = model_proj @ x0. */
static void embed_part(gpu *g) {
    const hparams *h = g->h;
    size_t first = g->part_first[g->part], n_layers = g->part_end[g->part] - first, n = h->n_ple;
    if (!n || !n_layers) return;
    gpu_join j = join_of(g, gpu_values(&g->x0));
    j.products[j.n++] = (gpu_join_product){&g->w->per_layer_model_proj, first * n, n_layers * n, &g->ple[g->part]};
    gpu_compute(g, &j);
    GPU_LAUNCH(g, g->ple_combine, n_layers, g->n_rows, g->group, GPU_BUF(g->ple_a[g->part]), GPU_BUF(g->ple[g->part]),
               GPU_I(n_layers * n), GPU_BUF(g->vectors), GPU_I(g->ple_norm), GPU_I(n), GPU_F(sqrtf((float)n)),
               GPU_F(1.0f / sqrtf((float)h->n_embd)), GPU_F(h->eps));
}

/* y = proj @ (gelu(inp_gate @ x) * ple) */
static void project_ple(gpu *g, uint32_t layer, gpu_from from) {
    const layer_weights *w = &g->w->layers[layer];
    gpu_join j = join_of(g, from);
    j.ending = GPU_EMBEDDED;
    j.layer = layer;
    add_product(&j, &w->inp_gate, &g->ple_rows);
    gpu_compute(g, &j);
    product_of(g, &g->ple_rows, &w->proj, &g->y);
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
    embed_part(g);
}

/* Returns what the layer leaves to do with the stream and its last products, y: the next products begin with it. */
static gpu_from compute_layer(gpu *g, uint32_t layer, gpu_from from) {
    const gpu_layer *at = &g->layers[layer];
    project_heads(g, layer, from);
    if (layer + 1 == g->h->n_own) {
        leave_early(g, layer);
        enter_part(g, 1);
    }
    if (g->n_rows == 0) return from;
    gpu_attend(g, layer);
    product_of(g, g->q_now, &g->w->layers[layer].attn_output, &g->y);
    feed_forward(g, layer, gpu_stream(at->post_attention_norm, -1, at->ffn_norm));
    if (g->h->n_expert) mix_experts(g, layer);
    int after = at->post_ffw_norm;
    if (g->h->n_ple) {
        project_ple(g, layer, gpu_stream(after, -1, -1));
        after = at->post_norm;
    }
    bool last = layer + 1 == g->h->n_layer, end = layer + 1 == g->options.end;
    return gpu_stream(after, at->output_scale, last ? g->output_norm : end ? -1 : g->layers[layer + 1].attn_norm);
}

void gpu_layers(gpu *g) {
    gpu_from from = gpu_stream(-1, -1, g->layers[g->options.first].attn_norm);
    g->x_now = &g->x;
    g->x_spare = &g->x_other;
    g->q_now = &g->q;
    enter_part(g, g->options.first >= g->h->n_own ? 1 : 0);
    for (uint32_t i = g->options.first; i < g->options.end && g->n_rows; i++) from = compute_layer(g, i, from);
    gpu_settle(g, from, g->options.end == g->h->n_layer ? &g->hidden : &g->normed);
}

/* logits = output @ hidden of the tokens that stand in `hidden` */
void gpu_logits(gpu *g, const gpu_buffer *hidden, size_t n_rows) {
    gpu_join j = {
        .from = gpu_values(hidden), .n_tokens = n_rows, .ending = g->h->soft_cap > 0 ? GPU_CAPPED : GPU_PLAIN};
    add_product(&j, &g->w->output, &g->logits);
    gpu_compute(g, &j);
}
