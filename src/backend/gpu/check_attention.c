/* The self-test of attention: a few rows at the end of a context whose keys and values are made up, within one span
 * of positions and over two, in the first layer of each kind. The CPU stores and reads the same pages. See check.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/check.h"

enum { MAX_ROWS = 2, MAX_PAGES = CPU_SPAN_PAGES + 2, MADE_UP = 64 };

typedef struct scene {
    check *c;
    uint32_t layer;
    const layer_hparams *l;
    size_t n_rows, first; /* the last rows of the context, and the position of the first of them */
    size_t n_pages;
    size_t row_bytes, section_bytes; /* of a stored row; of the layer in a page */
    uint8_t *pages;                  /* [n_pages][section_bytes], as on the device */
    float *q, *k, *v;                /* [n_rows][heads][head_dim], the projections */
    float *angles;                   /* [n_rows][angle_width] */
} scene;

static uint8_t *row_at(const scene *s, size_t page, size_t plane, size_t row) {
    return s->pages + page * s->section_bytes + (plane * CPU_PAGE + row) * s->row_bytes;
}

/* ---- what both sides begin with */

/* All positions, from a few rows of numbers. */
static void fill_pages(const scene *s) {
    const gpu *g = s->c->g;
    size_t n_planes = 2 * (size_t)s->l->n_head_kv;
    for (size_t i = 0; i < MADE_UP; i++) {
        check_fill(s->c->got, s->l->head_dim, 100 + i);
        cpu_kv_store(g->cpu, g->kv_type, s->c->got, s->l->head_dim, row_at(s, 0, 0, i));
    }
    for (size_t i = s->n_pages * n_planes * CPU_PAGE; i-- > MADE_UP;) {
        memcpy(s->pages + i * s->row_bytes, s->pages + (i * 7 + i / MADE_UP) % MADE_UP * s->row_bytes, s->row_bytes);
    }
}

static void fill_rows(scene *s) {
    const gpu *g = s->c->g;
    size_t n_q = s->n_rows * s->l->n_head * s->l->head_dim, n_kv = s->n_rows * s->l->n_head_kv * s->l->head_dim;
    s->q = s->c->x;
    s->k = s->q + n_q;
    s->v = s->k + n_kv;
    s->angles = s->v + n_kv;
    check_fill(s->q, n_q + 2 * n_kv + s->n_rows * g->angle_width, 99);
}

/* The context's pages are those of the same numbers. */
static void send_tables(const scene *s) {
    gpu *g = s->c->g;
    int32_t *rows = g->host_ints, tables[MAX_PAGES];
    for (size_t i = 0; i < s->n_pages; i++) tables[i] = (int32_t)i;
    for (size_t i = 0; i < s->n_rows; i++) {
        rows[4 * i] = (int32_t)(s->first + i);
        rows[4 * i + 1] = rows[4 * i + 2] = 0;
        rows[4 * i + 3] = (int32_t)i;
    }
    gpu_send_rows(g, 0, s->n_rows);
    gpu_write(g, &g->tables, tables, s->n_pages * sizeof *tables);
}

static void send_numbers(const scene *s) {
    gpu *g = s->c->g;
    int kind = s->l->sliding;
    size_t n_q = s->n_rows * s->l->n_head * s->l->head_dim, n_kv = s->n_rows * s->l->n_head_kv * s->l->head_dim;
    gpu_write(g, &g->q, s->q, n_q * sizeof *s->q);
    gpu_write(g, &g->k, s->k, n_kv * sizeof *s->k);
    gpu_write(g, &g->v, s->v, n_kv * sizeof *s->v);
    gpu_write(g, &g->angles, s->angles, s->n_rows * g->angle_width * sizeof *s->angles);
    for (size_t i = 0; i < s->n_pages && g->status == FACET_OK; i++) {
        g->status = g->device->driver->write(g->device, &g->pool, i * g->page_bytes[kind] + g->layers[s->layer].kv_at,
                                             row_at(s, i, 0, 0), s->section_bytes, &g->error);
    }
}

/* ---- the device */

static size_t first_seen(const scene *s, size_t position) {
    size_t window = s->c->g->h->window;
    return s->l->sliding && position + 1 > window ? position + 1 - window : 0;
}

static void compute_on_device(const scene *s) {
    gpu *g = s->c->g;
    g->part = 0;
    g->n_rows = s->n_rows;
    g->q_now = &g->q;
    gpu_finish_heads(g, s->layer);
    gpu_attend(g, s->layer);
}

/* ---- the CPU: model/attention.c says the same for whole steps */

static void rotate(const scene *s, size_t row, float *x) {
    const gpu *g = s->c->g;
    const float *cosine = s->angles + row * g->angle_width + (s->l->sliding ? 2 * g->pairs[0] : 0);
    size_t pairs = s->l->head_dim / 2;
    cpu_rope(g->cpu, x, cosine, cosine + pairs, pairs);
}

static void store_rows(const scene *s, float *work) {
    const gpu *g = s->c->g;
    const layer_weights *w = &g->w->layers[s->layer];
    size_t dim = s->l->head_dim, n_kv = s->l->n_head_kv;
    for (size_t i = 0; i < s->n_rows * n_kv; i++) {
        size_t row = i / n_kv, head = i % n_kv, position = s->first + row;
        size_t page = position / CPU_PAGE, at = position % CPU_PAGE;
        const float *v = (w->attn_v.m.format ? s->v : s->k) + i * dim;
        cpu_rms_norm(g->cpu, v, NULL, g->h->eps, dim, work);
        cpu_kv_store(g->cpu, g->kv_type, work, dim, row_at(s, page, n_kv + head, at));
        cpu_rms_norm(g->cpu, s->k + i * dim, w->attn_k_norm, g->h->eps, dim, work);
        rotate(s, row, work);
        cpu_kv_store(g->cpu, g->kv_type, work, dim, row_at(s, page, head, at));
    }
}

static void attend_span(const scene *s, size_t kv_head, const float *query, cpu_range range, size_t span, float *max,
                        float *sum, float *out) {
    cpu_span of = {.type = s->c->g->kv_type,
                   .head_dim = s->l->head_dim,
                   .n_queries = 1,
                   .queries = &query,
                   .ranges = &range,
                   .max = max,
                   .sum = sum,
                   .out = out};
    for (size_t i = 0; i < CPU_SPAN_PAGES && span * CPU_SPAN_PAGES + i < s->n_pages; i++) {
        of.keys[i] = row_at(s, span * CPU_SPAN_PAGES + i, kv_head, 0);
        of.values[i] = row_at(s, span * CPU_SPAN_PAGES + i, s->l->n_head_kv + kv_head, 0);
    }
    cpu_attend(s->c->g->cpu, &of);
}

/* One head of one row; `work` has room for two heads. */
static void attend_head(const scene *s, size_t row, size_t head, float *out, float *work) {
    const gpu *g = s->c->g;
    size_t dim = s->l->head_dim, position = s->first + row, begin = first_seen(s, position);
    float *query = work, *span_out = work + dim, max = -INFINITY, sum = 0, span_max, span_sum;
    cpu_rms_norm(g->cpu, s->q + (row * s->l->n_head + head) * dim, g->w->layers[s->layer].attn_q_norm, g->h->eps, dim,
                 query);
    rotate(s, row, query);
    memset(out, 0, dim * sizeof *out);
    for (size_t span = begin / CPU_SPAN; span <= position / CPU_SPAN; span++) {
        size_t at = span * CPU_SPAN, from = begin > at ? begin - at : 0, end = position + 1 - at;
        cpu_range range = {(uint16_t)from, (uint16_t)(end < CPU_SPAN ? end : CPU_SPAN)};
        attend_span(s, head / (s->l->n_head / s->l->n_head_kv), query, range, span, &span_max, &span_sum, span_out);
        cpu_attend_merge(g->cpu, &max, &sum, out, span_max, span_sum, span_out, dim);
    }
    cpu_attend_finish(g->cpu, sum, out, dim);
}

static void compute_on_cpu(const scene *s) {
    size_t dim = s->l->head_dim, n_head = s->l->n_head;
    store_rows(s, s->c->got);
    for (size_t i = 0; i < s->n_rows * n_head; i++) {
        attend_head(s, i / n_head, i % n_head, s->c->want + i * dim, s->c->got);
    }
}

/* ---- */

/* As rows that go alone, or in tiles. */
static facet_status check_scene(scene *s, size_t tile_rows) {
    check *c = s->c;
    s->pages = malloc(s->n_pages * s->section_bytes);
    if (!s->pages) return error_memory(c->err, s->n_pages * s->section_bytes);
    fill_pages(s);
    fill_rows(s);
    c->g->tile_rows = tile_rows;
    send_tables(s);
    send_numbers(s);
    compute_on_device(s);
    c->g->tile_rows = GPU_TILE_ROWS;
    compute_on_cpu(s);
    facet_status status = check_read(c, "attention", &c->g->q, s->n_rows * s->l->n_head * s->l->head_dim);
    free(s->pages);
    return status;
}

/* Rows in the middle of the last of n_pages. */
static facet_status check_layer(check *c, uint32_t layer, size_t n_pages) {
    const gpu *g = c->g;
    scene s = {.c = c, .layer = layer, .l = &g->h->layers[layer], .n_pages = n_pages};
    s.n_rows = g->ubatch < MAX_ROWS ? g->ubatch : MAX_ROWS;
    s.first = (n_pages - 1) * CPU_PAGE + 20;
    s.row_bytes = cpu_kv_row_bytes(g->kv_type, s.l->head_dim);
    s.section_bytes = 2 * s.l->n_head_kv * CPU_PAGE * s.row_bytes;
    FACET_TRY(check_scene(&s, GPU_TILE_ROWS));
    return g->heads[s.l->sliding].program ? check_scene(&s, 1) : FACET_OK;
}

facet_status check_attention(check *c) {
    const gpu *g = c->g;
    bool done[KV_KINDS] = {false};
    for (uint32_t i = g->options.first; i < g->options.end && i < g->h->n_own; i++) {
        int kind = g->h->layers[i].sliding;
        size_t most = g->options.max_context / CPU_PAGE;
        if (most > g->n_pages[kind]) most = g->n_pages[kind];
        if (done[kind] || most == 0) continue;
        done[kind] = true;
        FACET_TRY(check_layer(c, i, 1));
        if (most > 1) FACET_TRY(check_layer(c, i, most < MAX_PAGES ? most : MAX_PAGES));
    }
    return FACET_OK;
}
