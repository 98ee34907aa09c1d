/* The layer loop of the forward pass. See forward.h.
 *
 * Tokens whose logits nobody wants leave after the last layer that owns its KV has stored their keys and values: what
 * follows could only reach their own logits. */
#include "model/forward.h"

#include <math.h>
#include <string.h>

#include "model/pass.h"
#include "os/system.h"

void forward_observe(forward *f, forward_observer fn, void *ctx) {
    f->observer = fn;
    f->observer_ctx = ctx;
}

void forward_set_gate(forward *f, forward_gate fn, void *ctx) {
    f->gate = fn;
    f->gate_ctx = ctx;
}

/* ---- rows */

static void collect_rows(forward *f, const forward_segment *segments, size_t n_segments) {
    f->n_rows = f->n_wanted = 0;
    f->adapted = false;
    f->n_segments = n_segments;
    f->kv_type = kv_sequence_type(segments[0].kv);
    for (size_t s = 0; s < n_segments; s++) {
        const forward_segment *in = &segments[s];
        f->segments[s] =
            (pass_segment){.kv = in->kv, .adapters = in->adapters, .first_row = f->n_rows, .n_rows = in->n};
        f->adapted |= in->adapters && in->adapters->n;
        for (size_t i = 0; i < in->n; i++) {
            f->rows[f->n_rows++] = (pass_row){.token = in->tokens[i],
                                              .position = (int32_t)(in->position + i),
                                              .segment = (uint32_t)s,
                                              .wanted = i >= in->wanted_from};
        }
        f->n_wanted += in->n - (in->wanted_from < in->n ? in->wanted_from : in->n);
    }
}

static void move_row(float *buffer, size_t from, size_t to, size_t width) {
    if (buffer && from != to) memcpy(buffer + to * width, buffer + from * width, width * sizeof *buffer);
}

/* One thread: drops the rows that are not wanted. */
static void keep_wanted(forward *f, uint32_t layer) {
    const layer_hparams *l = &f->h->layers[layer];
    size_t to = 0;
    for (size_t s = 0; s < f->n_segments; s++) {
        size_t first = f->segments[s].first_row, end = first + f->segments[s].n_rows, begin = to;
        for (size_t from = first; from < end; from++) {
            if (!f->rows[from].wanted) continue;
            f->rows[to] = f->rows[from];
            move_row(f->x, from, to, f->h->n_embd);
            move_row(f->x0, from, to, f->h->n_embd);
            move_row(f->q, from, to, (size_t)l->n_head * l->head_dim);
            for (int kind = 0; kind < 2; kind++) {
                move_row(f->cosine[kind], from, to, f->pairs[kind]);
                move_row(f->sine[kind], from, to, f->pairs[kind]);
            }
            to++;
        }
        f->segments[s].first_row = begin;
        f->segments[s].n_rows = to - begin;
    }
    f->n_rows = to;
}

static void leave_early(const pool_worker *t, forward *f, uint32_t layer) {
    if (layer + 1 != f->h->n_own || f->n_wanted == f->n_rows) return;
    pool_sync(t); /* everybody has read n_rows */
    if (t->index == 0) keep_wanted(f, layer);
    pool_sync(t);
    if (f->x0 && f->n_rows) {
        const weight *w = &f->w->per_layer_model_proj;
        pass_prepare(t, f, &f->in_x0, pass_kinds(f, &w, 1), f->x0, f->h->n_embd);
    }
}

/* ---- steps over all rows */

typedef void (*row_fn)(forward *f, uint32_t layer, size_t row);

/* Runs `fn` on every row, then prepares the row that it left in `x`. */
static void for_rows(const pool_worker *t, forward *f, uint32_t layer, row_fn fn, unsigned kinds, const float *x) {
    size_t t0, t1, n = f->h->n_embd;
    while (pool_next(t, f->n_rows, pass_group(f, kinds, f->n_rows), &t0, &t1)) {
        for (size_t i = t0; i < t1; i++) fn(f, layer, i);
        if (kinds) pass_prepare_rows(f, &f->in, kinds, x, n, f->n_rows, t0, t1);
    }
    pool_sync(t);
}

/* x = token_embd[token] * sqrt(n_embd) */
static void embed_row(forward *f, uint32_t layer, size_t i) {
    (void)layer;
    size_t n = f->h->n_embd;
    const weight *w = &f->w->token_embd;
    cpu_row(&w->m, (size_t)f->rows[i].token, f->x + i * n);
    if (w->scale) cpu_scale(f->cpu, f->x + i * n, w->scale[0], n);
    if (f->adapted) adapt_embedding(f, i, f->x + i * n);
    cpu_scale(f->cpu, f->x + i * n, sqrtf((float)n), n);
}

static void attention_norm_row(forward *f, uint32_t layer, size_t i) {
    size_t n = f->h->n_embd;
    cpu_rms_norm(f->cpu, f->x + i * n, f->w->layers[layer].attn_norm, f->h->eps, n, f->normed + i * n);
}

static void after_attention_row(forward *f, uint32_t layer, size_t i) {
    size_t n = f->h->n_embd;
    const layer_weights *w = &f->w->layers[layer];
    cpu_rms_norm_add(f->cpu, f->y + i * n, w->post_attention_norm, f->h->eps, n, f->x + i * n);
    cpu_rms_norm(f->cpu, f->x + i * n, w->ffn_norm, f->h->eps, n, f->normed + i * n);
}

static void after_ffn_row(forward *f, uint32_t layer, size_t i) {
    size_t n = f->h->n_embd;
    cpu_rms_norm_add(f->cpu, f->y + i * n, f->w->layers[layer].post_ffw_norm, f->h->eps, n, f->x + i * n);
}

static void after_ple_row(forward *f, uint32_t layer, size_t i) {
    size_t n = f->h->n_embd;
    cpu_rms_norm_add(f->cpu, f->y + i * n, f->w->layers[layer].post_norm, f->h->eps, n, f->x + i * n);
}

/* The end of one layer and the beginning of the next. */
static void next_layer_row(forward *f, uint32_t layer, size_t i) {
    size_t n = f->h->n_embd;
    const layer_weights *w = &f->w->layers[layer];
    if (f->h->n_ple) after_ple_row(f, layer, i);
    if (w->layer_output_scale) cpu_scale(f->cpu, f->x + i * n, w->layer_output_scale[0], n);
    if (layer + 1 < f->h->n_layer)
        attention_norm_row(f, layer + 1, i);
    else
        cpu_rms_norm(f->cpu, f->x + i * n, f->w->output_norm, f->h->eps, n, f->hidden + i * n);
}

/* ---- layers */

static unsigned attention_kinds(const forward *f, uint32_t layer) {
    if (layer >= f->h->n_layer) return 0;
    const layer_weights *w = &f->w->layers[layer];
    return pass_kinds(f, (const weight *[]){&w->attn_q, &w->attn_k, &w->attn_v}, 3);
}

static void observe(const pool_worker *t, forward *f, uint32_t layer) {
    if (!f->observer) return;
    if (t->index == 0) f->observer(f->observer_ctx, layer, f->x, f->n_rows, f->h->n_embd);
    pool_sync(t);
}

/* Starts with the layer's attention input prepared in `in`, ends with the next layer's. */
static void compute_layer(const pool_worker *t, forward *f, uint32_t layer) {
    const layer_weights *w = &f->w->layers[layer];
    attention_project(t, f, layer);
    leave_early(t, f, layer);
    pass_mark(t, f, FACET_PART_QKV);
    if (f->n_rows == 0) return;
    attention_attend(t, f, layer);
    pass_mark(t, f, FACET_PART_ATTENTION);
    attention_output(t, f, layer);
    pass_mark(t, f, FACET_PART_ATTENTION_OUTPUT);
    unsigned ffn_kinds = pass_kinds(f, (const weight *[]){&w->ffn_gate, &w->ffn_up}, 2);
    for_rows(t, f, layer, after_attention_row, ffn_kinds, f->normed);
    pass_mark(t, f, FACET_PART_NORMS);
    ffn_dense(t, f, layer);
    if (f->h->n_expert) {
        experts_compute(t, f, layer);
        pass_mark(t, f, FACET_PART_EXPERTS);
    }
    if (f->h->n_ple) {
        for_rows(t, f, layer, after_ffn_row, pass_kinds(f, (const weight *[]){&w->inp_gate}, 1), f->x);
        pass_mark(t, f, FACET_PART_NORMS);
        ple_project(t, f, layer);
        pass_mark(t, f, FACET_PART_PER_LAYER);
    } else {
        for_rows(t, f, layer, after_ffn_row, 0, NULL);
    }
    for_rows(t, f, layer, next_layer_row, attention_kinds(f, layer + 1), f->normed);
    pass_mark(t, f, FACET_PART_NORMS);
    observe(t, f, layer);
}

/* False when the step ends here: nobody is left, or the gate is closed. */
static bool enter_layer(const pool_worker *t, forward *f, uint32_t layer) {
    if (f->gate) {
        pool_sync(t); /* everybody has read n_rows */
        if (t->index == 0 && f->n_rows && !f->gate(f->gate_ctx, layer)) f->n_rows = 0;
        pool_sync(t);
    }
    return f->n_rows > 0;
}

static void begin_step(const pool_worker *t, forward *f) {
    if (t->index == 0) f->part_began = os_now();
    for_rows(t, f, 0, embed_row, 0, NULL);
    rope_prepare(t, f);
    if (f->h->n_ple) ple_embed(t, f);
    pass_mark(t, f, FACET_PART_EMBED);
}

static void compute_layers(const pool_worker *t, forward *f, uint32_t first, uint32_t end) {
    if (t->index == 0) f->part_began = os_now();
    for_rows(t, f, first, attention_norm_row, attention_kinds(f, first), f->normed);
    pass_mark(t, f, FACET_PART_NORMS);
    for (uint32_t layer = first; layer < end && enter_layer(t, f, layer); layer++) compute_layer(t, f, layer);
}

static void step_main(const pool_worker *t, void *ctx) {
    forward *f = ctx;
    begin_step(t, f);
    compute_layers(t, f, 0, f->h->n_layer);
}

/* Where no layer shares KV and a token is not wanted it leaves in the last layer, so `hidden` holds wanted rows only.
 */
void forward_step(forward *f, const forward_segment *segments, size_t n_segments, const float **hidden,
                  size_t *n_hidden) {
    collect_rows(f, segments, n_segments);
    pool_run(f->threads, step_main, f);
    *hidden = f->hidden;
    *n_hidden = f->n_rows;
}

/* ---- a step in parts */

static void begin_main(const pool_worker *t, void *ctx) { begin_step(t, ctx); }

void forward_begin(forward *f, const forward_segment *segments, size_t n_segments) {
    collect_rows(f, segments, n_segments);
    pool_run(f->threads, begin_main, f);
}

typedef struct layers_job {
    forward *f;
    uint32_t first, end;
} layers_job;

static void layers_main(const pool_worker *t, void *ctx) {
    const layers_job *job = ctx;
    compute_layers(t, job->f, job->first, job->end);
}

void forward_layers(forward *f, uint32_t first, uint32_t end) {
    pool_run(f->threads, layers_main, &(layers_job){.f = f, .first = first, .end = end});
}

void forward_results(const forward *f, const float **hidden, size_t *n_hidden) {
    *hidden = f->hidden;
    *n_hidden = f->n_rows;
}

/* ---- head */

typedef struct head_job {
    forward *f;
    const float *hidden;
    size_t n_rows;
    float *logits;
} head_job;

static void head_main(const pool_worker *t, void *ctx) {
    head_job *job = ctx;
    forward *f = job->f;
    const weight *w = &f->w->output;
    size_t n_vocab = f->h->n_vocab, n = job->n_rows, r0, r1;
    unsigned kinds = pass_kinds(f, &w, 1);
    if (t->index == 0) pass_prepare_rows(f, &f->in, kinds, job->hidden, f->h->n_embd, n, 0, n);
    pool_sync(t);
    uint32_t rows[FORWARD_HEAD_ROWS];
    for (size_t i = 0; i < n; i++) rows[i] = (uint32_t)((size_t)(job->hidden - f->hidden) / f->h->n_embd + i);
    pass_product p = {
        .w = w, .in = &f->in, .x = job->hidden, .rows = rows, .n_tokens = n, .out = job->logits, .ldo = n_vocab};
    adapt_products(t, f, &p, 1);
    while (pool_next_part(t, n_vocab, 64, n_vocab, &r0, &r1)) {
        pass_product_rows(f, t, &p, r0, r1);
        if (f->h->soft_cap <= 0) continue;
        for (size_t i = 0; i < n; i++) cpu_soft_cap(f->cpu, job->logits + i * n_vocab + r0, f->h->soft_cap, r1 - r0);
    }
}

void forward_head(forward *f, const float *hidden, size_t n_rows, float *logits) {
    double began = os_now();
    pool_run(f->threads, head_main, &(head_job){.f = f, .hidden = hidden, .n_rows = n_rows, .logits = logits});
    f->part_seconds[FACET_PART_HEAD] += os_now() - began;
}

const double *forward_part_seconds(const forward *f) { return f->part_seconds; }

const float *forward_recall(forward *f, const float *hidden, size_t n_rows, const lora_set *adapters) {
    memcpy(f->hidden, hidden, n_rows * f->h->n_embd * sizeof *hidden);
    f->segments[0].adapters = adapters;
    for (size_t i = 0; i < n_rows; i++) f->rows[i].segment = 0;
    return f->hidden;
}
