/* The weights' way into the device's memory: planned, then streamed from where they lie, a few megabytes at a time:
 * one piece is packed by all threads while the device copies the one before it. See parts.h. */
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/parts.h"

enum { STAGE_BYTES = 4 << 20, MAX_LAYER_WEIGHTS = 16 };

facet_status gpu_take(gpu *g, gpu_buffer *out, uint64_t n_bytes, bool only_count, facet_error *err) {
    n_bytes = (n_bytes + 63) / 64 * 64;
    g->bytes += n_bytes;
    if (n_bytes == 0) return FACET_OK;
    if (!only_count) return g->device->driver->buffer_new(g->device, out, n_bytes, err);
    if (n_bytes <= g->device->limits.buffer_bytes) return FACET_OK;
    return error_set(err, FACET_ERROR_BUDGET, "%s: a buffer of %llu bytes is too large, at most %llu",
                     g->device->limits.name, (unsigned long long)n_bytes,
                     (unsigned long long)g->device->limits.buffer_bytes);
}

/* ---- vectors */

typedef struct vectors {
    float *data; /* NULL: only counting */
    size_t n;
} vectors;

static int add_vector(vectors *v, const float *data, size_t n) {
    if (!data) return -1;
    if (v->data) memcpy(v->data + v->n, data, n * sizeof *data);
    v->n += n;
    return (int)(v->n - n);
}

static void add_layer_vectors(gpu *g, vectors *v, uint32_t i) {
    const layer_weights *w = &g->w->layers[i];
    const layer_hparams *l = &g->h->layers[i];
    size_t n = g->h->n_embd, n_expert = g->h->n_expert;
    gpu_layer *out = &g->layers[i];
    out->attn_norm = add_vector(v, w->attn_norm, n);
    out->attn_q_norm = add_vector(v, w->attn_q_norm, l->head_dim);
    out->attn_k_norm = add_vector(v, w->attn_k_norm, l->head_dim);
    out->post_attention_norm = add_vector(v, w->post_attention_norm, n);
    out->ffn_norm = add_vector(v, w->ffn_norm, n);
    out->post_ffw_norm = add_vector(v, w->post_ffw_norm, n);
    out->output_scale = add_vector(v, w->layer_output_scale, 1);
    out->post_norm = g->h->n_ple ? add_vector(v, w->post_norm, n) : -1;
    out->router_scale = n_expert ? add_vector(v, w->ffn_gate_inp_scale, n) : -1;
    out->down_scale = n_expert ? add_vector(v, w->ffn_down_exps_scale, n_expert) : -1;
    out->pre_ffw_norm_2 = n_expert ? add_vector(v, w->pre_ffw_norm_2, n) : -1;
    out->post_ffw_norm_1 = n_expert ? add_vector(v, w->post_ffw_norm_1, n) : -1;
    out->post_ffw_norm_2 = n_expert ? add_vector(v, w->post_ffw_norm_2, n) : -1;
}

/* ---- matrices */

static size_t layer_list(const gpu *g, uint32_t i, const weight *list[MAX_LAYER_WEIGHTS]) {
    const layer_weights *w = &g->w->layers[i];
    const weight *all[] = {&w->attn_q,      &w->attn_k,       &w->attn_v,        &w->attn_output,
                           &w->ffn_gate,    &w->ffn_up,       &w->ffn_down,      &w->inp_gate,
                           &w->proj,        &w->ffn_gate_inp, &w->ffn_gate_exps, &w->ffn_gate_up_exps,
                           &w->ffn_up_exps, &w->ffn_down_exps};
    size_t n = 0;
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
        if (all[k]->m.format) list[n++] = all[k];
    }
    return n;
}

typedef facet_status (*weight_fn)(gpu *g, const weight *w, void *ctx, facet_error *err);

static facet_status for_weights(gpu *g, weight_fn fn, void *ctx, facet_error *err) {
    for (uint32_t i = g->options.first; i < g->options.end; i++) {
        const weight *list[MAX_LAYER_WEIGHTS];
        size_t n = layer_list(g, i, list);
        for (size_t k = 0; k < n; k++) FACET_TRY(fn(g, list[k], ctx, err));
    }
    if (g->h->n_ple) FACET_TRY(fn(g, &g->w->per_layer_model_proj, ctx, err));
    return g->options.end == g->h->n_layer ? fn(g, &g->w->output, ctx, err) : FACET_OK;
}

static size_t matrix_groups(const gpu_matrix *m, const weight *w) {
    size_t groups = gpu_groups(m->n_rows, ROWS_GROUP);
    return w->n_experts ? groups * w->n_experts : groups;
}

static facet_status plan_matrix(gpu *g, const weight *w, void *ctx, facet_error *err) {
    vectors *v = ctx;
    const rows_format *f = rows_format_of(w->m.format->type);
    gpu_matrix *m = &g->matrices[w->index];
    if (!f) {
        return error_set(err, FACET_ERROR_UNSUPPORTED, "weights of the type %s are computed by the CPU only",
                         w->m.format->name);
    }
    size_t words = rows_words(&w->m);
    *m = (gpu_matrix){.of = w,
                      .type = w->m.format->type,
                      .input = f->input,
                      .row_words = words,
                      .n_blocks = w->m.n_cols / w->m.format->block,
                      .n_rows = w->m.n_rows,
                      .n_cols = w->m.n_cols,
                      .scale_at = add_vector(v, w->scale, w->n_experts ? w->n_experts : 1)};
    if (w->n_experts) m->expert_groups = gpu_groups(m->n_rows, ROWS_GROUP);
    if (words) return FACET_OK;
    return error_set(err, FACET_ERROR_UNSUPPORTED, "rows of %zu weights are too long for a device", w->m.n_cols);
}

static facet_status take_matrix(gpu *g, const weight *w, void *ctx, facet_error *err) {
    const bool *only_count = ctx;
    gpu_matrix *m = &g->matrices[w->index];
    if (m->words.handle) return FACET_OK;
    uint64_t bytes = (uint64_t)matrix_groups(m, w) * ROWS_GROUP * m->row_words * sizeof(uint32_t);
    return gpu_take(g, &m->words, bytes, *only_count, err);
}

static void add_all_vectors(gpu *g, vectors *v) {
    for (uint32_t i = g->options.first; i < g->options.end; i++) add_layer_vectors(g, v, i);
    g->output_norm = add_vector(v, g->w->output_norm, g->h->n_embd);
    g->ple_norm = g->h->n_ple ? add_vector(v, g->w->per_layer_proj_norm, g->h->n_ple) : -1;
}

facet_status gpu_weights_open(gpu *g, bool only_count, facet_error *err) {
    g->matrices = calloc(g->w->n_matrices, sizeof *g->matrices);
    g->layers = calloc(g->h->n_layer, sizeof *g->layers);
    if (!g->matrices || !g->layers) return error_memory(err, g->w->n_matrices * sizeof *g->matrices);
    vectors count = {0};
    add_all_vectors(g, &count);
    FACET_TRY(for_weights(g, plan_matrix, &count, err));
    g->n_vectors = count.n;
    FACET_TRY(gpu_take(g, &g->vectors, (count.n + 1) * sizeof(float), only_count, err));
    return for_weights(g, take_matrix, &only_count, err);
}

void gpu_weights_close(gpu *g) {
    const gpu_driver *driver = g->device->driver;
    for (size_t i = 0; g->matrices && i < g->w->n_matrices; i++)
        driver->buffer_free(g->device, &g->matrices[i].words);
    driver->buffer_free(g->device, &g->vectors);
    free(g->matrices);
    free(g->layers);
}

/* ---- the bytes */

/* Groups of rows on their way, packed by all threads. */
typedef struct upload {
    uint8_t *done;          /* [n_matrices]: two names may stand for one matrix */
    uint32_t *own_stage;    /* NULL: the device has memory for it */
    uint32_t *stage, *work; /* work: a row for each thread */
    size_t work_words;
    const weight *w;
    size_t first, n; /* groups */
    uint64_t n_bytes, n_sent;
} upload;

static void pack_main(const pool_worker *t, void *ctx) {
    const upload *u = ctx;
    size_t begin, end, words = rows_words(&u->w->m), groups = gpu_groups(u->w->m.n_rows, ROWS_GROUP);
    while (pool_next(t, u->n, 1, &begin, &end)) {
        size_t group = u->first + begin;
        matrix m = u->w->m;
        m.data += group / groups * m.n_rows * m.row_bytes; /* of an expert */
        rows_pack(&m, group % groups * ROWS_GROUP, u->work + (size_t)t->index * u->work_words,
                  u->stage + begin * words * ROWS_GROUP);
    }
    pool_sync(t);
}

static facet_status tell(gpu *g, const upload *u, facet_error *err) {
    const gpu_options *o = &g->options;
    if (!o->progress || o->progress(o->progress_ctx, u->n_sent >> 10, u->n_bytes >> 10)) return FACET_OK;
    return error_set(err, FACET_ERROR_CANCELLED, "cancelled by the caller");
}

/* Where the next rows are packed: the device's memory for that, or our own. */
static facet_status take_stage(gpu *g, upload *u, size_t n_bytes, facet_error *err) {
    void *stage = u->own_stage;
    if (g->device->driver->stage) FACET_TRY(g->device->driver->stage(g->device, n_bytes, &stage, err));
    u->stage = stage;
    return FACET_OK;
}

static facet_status send_stage(gpu *g, const upload *u, const gpu_buffer *to, uint64_t at, size_t n_bytes,
                               facet_error *err) {
    const gpu_driver *driver = g->device->driver;
    return driver->stage ? driver->send(g->device, to, at, err)
                         : driver->write(g->device, to, at, u->stage, n_bytes, err);
}

static facet_status send_matrix(gpu *g, const weight *w, void *ctx, facet_error *err) {
    upload *u = ctx;
    const gpu_matrix *m = &g->matrices[w->index];
    if (u->done[w->index]) return FACET_OK;
    u->done[w->index] = 1;
    u->w = w;
    size_t group_bytes = m->row_words * ROWS_GROUP * sizeof *u->stage, total = matrix_groups(m, w);
    size_t most = STAGE_BYTES / group_bytes ? STAGE_BYTES / group_bytes : 1;
    for (u->first = 0; u->first < total; u->first += u->n) {
        u->n = total - u->first < most ? total - u->first : most;
        FACET_TRY(take_stage(g, u, u->n * group_bytes, err));
        pool_run(g->threads, pack_main, u);
        FACET_TRY(send_stage(g, u, &m->words, (uint64_t)u->first * group_bytes, u->n * group_bytes, err));
        u->n_sent += u->n * group_bytes;
        FACET_TRY(tell(g, u, err));
    }
    return FACET_OK;
}

/* In the order of plan_matrix. */
static facet_status fill_scale(gpu *g, const weight *w, void *ctx, facet_error *err) {
    (void)g;
    (void)err;
    add_vector(ctx, w->scale, w->n_experts ? w->n_experts : 1);
    return FACET_OK;
}

static size_t longest_row(const gpu *g) {
    size_t words = 0;
    for (size_t i = 0; i < g->w->n_matrices; i++) {
        if (g->matrices[i].row_words > words) words = g->matrices[i].row_words;
    }
    return words;
}

static facet_status upload_all(gpu *g, upload *u, vectors *v, facet_error *err) {
    add_all_vectors(g, v);
    FACET_TRY(for_weights(g, fill_scale, v, err));
    v->data[v->n] = 0; /* one more, so that there always is such a buffer */
    FACET_TRY(g->device->driver->write(g->device, &g->vectors, 0, v->data, (v->n + 1) * sizeof *v->data, err));
    return for_weights(g, send_matrix, u, err);
}

facet_status gpu_weights_upload(gpu *g, facet_error *err) {
    size_t words = longest_row(g), stage_words = words * ROWS_GROUP;
    if (stage_words < STAGE_BYTES / sizeof(uint32_t)) stage_words = STAGE_BYTES / sizeof(uint32_t);
    vectors v = {.data = malloc((g->n_vectors + 1) * sizeof *v.data)};
    upload u = {.done = calloc(g->w->n_matrices, 1),
                .own_stage = g->device->driver->stage ? NULL : malloc(stage_words * sizeof *u.stage),
                .work = malloc(words * (size_t)pool_size(g->threads) * sizeof *u.work),
                .work_words = words};
    for (size_t i = 0; i < g->w->n_matrices; i++) u.n_bytes += g->matrices[i].words.n_bytes;
    bool ok = v.data && u.done && u.work && (u.own_stage || g->device->driver->stage);
    facet_status status = ok ? upload_all(g, &u, &v, err) : error_memory(err, stage_words * sizeof *u.stage);
    free(v.data);
    free(u.done);
    free(u.own_stage);
    free(u.work);
    return status;
}
