/* Attention of one layer: queries, keys and values, the KV cache, scores and their weighted sum.
 *   q = RoPE(RMSNorm(attn_q @ n; attn_q_norm)), k = RoPE(RMSNorm(attn_k @ n; attn_k_norm)), v = RMSNorm(attn_v @ n)
 * per head; query head i reads KV head i / (H / G). Scores have no factor. Full layers see all positions up to their
 * own, sliding layers the last `window`.
 *
 * The unit of work is a group of consecutive rows of one segment with one KV head: its queries share every load of
 * keys and values. Where there are fewer such items than threads (decode), each item's spans are split too; spans are
 * merged in index order either way, so the result is the same. */
#include <math.h>
#include <string.h>

#include "model/pass.h"

/* ---- queries, keys, values */

static void store_kv(const pool_worker *t, forward *f, uint32_t layer, size_t i, uint32_t head) {
    const layer_hparams *l = &f->h->layers[layer];
    const layer_weights *w = &f->w->layers[layer];
    const pass_row *row = &f->rows[i];
    const kv_sequence *kv = f->segments[row->segment].kv;
    size_t dim = l->head_dim, width = l->n_head_kv * dim, pairs = dim / 2;
    size_t page = (size_t)row->position / CPU_PAGE, in_page = (size_t)row->position % CPU_PAGE;
    size_t row_bytes = cpu_kv_row_bytes(f->kv_type, dim);
    float *k = f->k + i * width + head * dim, *work = f->thread[t->index].head;
    const float *v = w->attn_v.m.format ? f->v + i * width + head * dim : k;
    cpu_rms_norm(f->cpu, v, NULL, f->h->eps, dim, work);
    cpu_kv_store(f->cpu, f->kv_type, work, dim, kv_values(kv, layer, head, page) + in_page * row_bytes);
    cpu_rms_norm(f->cpu, k, w->attn_k_norm, f->h->eps, dim, k);
    cpu_rope(f->cpu, k, f->cosine[l->sliding] + i * pairs, f->sine[l->sliding] + i * pairs, pairs);
    cpu_kv_store(f->cpu, f->kv_type, k, dim, kv_keys(kv, layer, head, page) + in_page * row_bytes);
}

static void finish_query(forward *f, uint32_t layer, size_t i, uint32_t head) {
    const layer_hparams *l = &f->h->layers[layer];
    size_t dim = l->head_dim, pairs = dim / 2;
    float *q = f->q + i * l->n_head * dim + head * dim;
    cpu_rms_norm(f->cpu, q, f->w->layers[layer].attn_q_norm, f->h->eps, dim, q);
    cpu_rope(f->cpu, q, f->cosine[l->sliding] + i * pairs, f->sine[l->sliding] + i * pairs, pairs);
}

/* Heads are the units: first a row's KV heads, where the layer owns its KV, then its query heads. */
static void finish_heads(const pool_worker *t, forward *f, uint32_t layer) {
    const layer_hparams *l = &f->h->layers[layer];
    uint32_t n_kv = l->owns_kv ? l->n_head_kv : 0;
    size_t units = n_kv + l->n_head, begin, end;
    while (pool_next(t, f->n_rows * units, f->n_rows == 1 ? 1 : units, &begin, &end)) {
        for (size_t u = begin; u < end; u++) {
            uint32_t head = (uint32_t)(u % units);
            if (head < n_kv)
                store_kv(t, f, layer, u / units, head);
            else
                finish_query(f, layer, u / units, head - n_kv);
        }
    }
    pool_sync(t);
}

void attention_project(const pool_worker *t, forward *f, uint32_t layer) {
    const layer_hparams *l = &f->h->layers[layer];
    const layer_weights *w = &f->w->layers[layer];
    size_t n_q = (size_t)l->n_head * l->head_dim, n_kv = (size_t)l->n_head_kv * l->head_dim, n = 1;
    pass_product products[3] = {{.w = &w->attn_q, .out = f->q, .ldo = n_q}};
    if (l->owns_kv) products[n++] = (pass_product){.w = &w->attn_k, .out = f->k, .ldo = n_kv};
    if (l->owns_kv && w->attn_v.m.format) products[n++] = (pass_product){.w = &w->attn_v, .out = f->v, .ldo = n_kv};
    for (size_t i = 0; i < n; i++) {
        products[i].in = &f->in;
        products[i].x = f->normed;
        products[i].n_tokens = f->n_rows;
    }
    pass_products(t, f, products, n);
    finish_heads(t, f, layer);
}

/* ---- scores */

/* Consecutive rows of one segment, and one KV head. */
typedef struct item {
    const pass_segment *segment;
    size_t first_row, n_rows;
    uint32_t kv_head;
} item;

typedef struct geometry {
    const layer_hparams *l;
    uint32_t kv_layer;
    size_t heads_per_kv;
    size_t rows_per_item;
    size_t n_items;
    size_t first_span, end_span; /* over all rows */
} geometry;

static size_t row_begin(const forward *f, const geometry *g, size_t row) {
    size_t p = (size_t)f->rows[row].position;
    return g->l->sliding && p + 1 > f->h->window ? p + 1 - f->h->window : 0;
}

static size_t segment_items(const geometry *g, const pass_segment *s) {
    return (s->n_rows + g->rows_per_item - 1) / g->rows_per_item;
}

static geometry layer_geometry(const forward *f, uint32_t layer) {
    geometry g = {.l = &f->h->layers[layer], .first_span = SIZE_MAX};
    g.kv_layer = g.l->kv_layer;
    g.heads_per_kv = g.l->n_head / g.l->n_head_kv;
    g.rows_per_item = g.heads_per_kv < CPU_SPAN_QUERIES ? CPU_SPAN_QUERIES / g.heads_per_kv : 1;
    for (size_t s = 0; s < f->n_segments; s++) g.n_items += segment_items(&g, &f->segments[s]) * g.l->n_head_kv;
    for (size_t i = 0; i < f->n_rows; i++) {
        size_t first = row_begin(f, &g, i) / CPU_SPAN, end = (size_t)f->rows[i].position / CPU_SPAN + 1;
        if (first < g.first_span) g.first_span = first;
        if (end > g.end_span) g.end_span = end;
    }
    return g;
}

/* The heaviest items, those latest in their sequence, come first, so that none is left for the end. */
static item find_item(const forward *f, const geometry *g, size_t index) {
    size_t group = (g->n_items - 1 - index) / g->l->n_head_kv;
    item it = {.kv_head = (uint32_t)((g->n_items - 1 - index) % g->l->n_head_kv)};
    for (size_t s = 0;; s++) {
        it.segment = &f->segments[s];
        size_t n = segment_items(g, it.segment);
        if (group >= n) {
            group -= n;
            continue;
        }
        size_t at = group * g->rows_per_item, left = it.segment->n_rows - at;
        it.first_row = it.segment->first_row + at;
        it.n_rows = left < g->rows_per_item ? left : g->rows_per_item;
        return it;
    }
}

/* More heads a KV head than a span takes at once: the item is computed in several parts. */
static size_t part_heads(const geometry *g) {
    return g->heads_per_kv < CPU_SPAN_QUERIES ? g->heads_per_kv : CPU_SPAN_QUERIES;
}

static cpu_range row_range(const forward *f, const geometry *g, size_t row, size_t span) {
    size_t begin = span * CPU_SPAN, first = row_begin(f, g, row), end = (size_t)f->rows[row].position + 1;
    first = first > begin ? first - begin : 0;
    end = end > begin ? end - begin : 0;
    if (end > CPU_SPAN) end = CPU_SPAN;
    if (first >= end) return (cpu_range){0, 0};
    return (cpu_range){(uint16_t)first, (uint16_t)end};
}

static void find_pages(const geometry *g, const item *it, size_t span, cpu_span *out) {
    for (size_t i = 0; i < CPU_SPAN_PAGES; i++) {
        size_t page = span * CPU_SPAN_PAGES + i;
        bool held = page * CPU_PAGE < kv_sequence_length(it->segment->kv);
        out->keys[i] = held ? kv_keys(it->segment->kv, g->kv_layer, it->kv_head, page) : NULL;
        out->values[i] = held ? kv_values(it->segment->kv, g->kv_layer, it->kv_head, page) : NULL;
    }
}

/* The queries of an item, heads [head, head + n_heads) of each row; pointers into f->q, where the result goes too. */
static size_t item_queries(const forward *f, const geometry *g, const item *it, size_t head, size_t n_heads,
                           float *queries[CPU_SPAN_QUERIES]) {
    size_t n = 0, dim = g->l->head_dim;
    for (size_t r = 0; r < it->n_rows; r++) {
        for (size_t k = 0; k < n_heads; k++) {
            size_t query_head = it->kv_head * g->heads_per_kv + head + k;
            queries[n++] = f->q + ((it->first_row + r) * g->l->n_head + query_head) * dim;
        }
    }
    return n;
}

/* One span for all queries of an item. False where no row sees any of it. */
static bool attend_span(const forward *f, const geometry *g, const item *it, float *const *queries, size_t n_queries,
                        size_t span, float *max, float *sum, float *out) {
    cpu_range ranges[CPU_SPAN_QUERIES];
    size_t per_row = n_queries / it->n_rows;
    bool seen = false;
    for (size_t r = 0; r < it->n_rows; r++) {
        cpu_range range = row_range(f, g, it->first_row + r, span);
        for (size_t k = 0; k < per_row; k++) ranges[r * per_row + k] = range;
        seen |= range.first < range.last;
    }
    if (!seen) return false;
    cpu_span s = {.type = f->kv_type,
                  .head_dim = g->l->head_dim,
                  .n_queries = n_queries,
                  .queries = (const float *const *)queries,
                  .ranges = ranges,
                  .max = max,
                  .sum = sum,
                  .out = out};
    find_pages(g, it, span, &s);
    cpu_attend(f->cpu, &s);
    return true;
}

static void clear_running(float *max, float *sum, float *out, size_t n_queries, size_t dim) {
    for (size_t i = 0; i < n_queries; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
    }
    memset(out, 0, n_queries * dim * sizeof *out);
}

static void merge_span(const forward *f, size_t n_queries, size_t dim, float *max, float *sum, float *out,
                       const float *span_max, const float *span_sum, const float *span_out) {
    for (size_t i = 0; i < n_queries; i++) {
        cpu_attend_merge(f->cpu, &max[i], &sum[i], out + i * dim, span_max[i], span_sum[i], span_out + i * dim, dim);
    }
}

static void store_result(const forward *f, size_t n_queries, size_t dim, const float *sum, float *out,
                         float *const *queries) {
    for (size_t i = 0; i < n_queries; i++) {
        cpu_attend_finish(f->cpu, sum[i], out + i * dim, dim);
        memcpy(queries[i], out + i * dim, dim * sizeof *out);
    }
}

/* ---- one thread an item */

static void attend_item(const pool_worker *t, forward *f, const geometry *g, const item *it, size_t head,
                        size_t n_heads) {
    float *queries[CPU_SPAN_QUERIES], max[CPU_SPAN_QUERIES], sum[CPU_SPAN_QUERIES];
    float span_max[CPU_SPAN_QUERIES], span_sum[CPU_SPAN_QUERIES];
    size_t dim = g->l->head_dim, n = item_queries(f, g, it, head, n_heads, queries);
    pass_thread *own = &f->thread[t->index];
    size_t last = it->first_row + it->n_rows - 1;
    clear_running(max, sum, own->run_out, n, dim);
    size_t end = (size_t)f->rows[last].position / CPU_SPAN + 1;
    for (size_t span = row_begin(f, g, it->first_row) / CPU_SPAN; span < end; span++) {
        if (!attend_span(f, g, it, queries, n, span, span_max, span_sum, own->span_out)) continue;
        merge_span(f, n, dim, max, sum, own->run_out, span_max, span_sum, own->span_out);
    }
    store_result(f, n, dim, sum, own->run_out, queries);
}

static void attend_whole(const pool_worker *t, forward *f, const geometry *g) {
    size_t begin, end, heads = part_heads(g);
    while (pool_next(t, g->n_items, 1, &begin, &end)) {
        item it = find_item(f, g, begin);
        for (size_t head = 0; head < g->heads_per_kv; head += heads) {
            size_t left = g->heads_per_kv - head;
            attend_item(t, f, g, &it, head, left < heads ? left : heads);
        }
    }
    pool_sync(t);
}

/* ---- several threads an item: waves of spans are computed side by side, then merged */

static void wave_compute(const pool_worker *t, forward *f, const geometry *g, size_t first, size_t width) {
    size_t begin, end, stride = CPU_SPAN_QUERIES * (size_t)g->l->head_dim;
    while (pool_next(t, g->n_items * width, 1, &begin, &end)) {
        size_t index = begin / width, span = first + begin % width;
        float *queries[CPU_SPAN_QUERIES], *max = f->partial_max + begin * CPU_SPAN_QUERIES;
        item it = find_item(f, g, index);
        size_t n = item_queries(f, g, &it, 0, g->heads_per_kv, queries);
        float *sum = f->partial_sum + begin * CPU_SPAN_QUERIES;
        if (span < g->end_span &&
            attend_span(f, g, &it, queries, n, span, max, sum, f->partial_out + begin * stride)) {
            continue;
        }
        for (size_t i = 0; i < n; i++) max[i] = -INFINITY;
    }
    pool_sync(t);
}

static void wave_merge(const pool_worker *t, forward *f, const geometry *g, size_t width, bool first, bool last) {
    size_t begin, end, dim = g->l->head_dim, stride = CPU_SPAN_QUERIES * dim;
    while (pool_next(t, g->n_items, 1, &begin, &end)) {
        float *queries[CPU_SPAN_QUERIES], *out = f->merged_out + begin * stride;
        float *max = f->merged_max + begin * CPU_SPAN_QUERIES, *sum = f->merged_sum + begin * CPU_SPAN_QUERIES;
        item it = find_item(f, g, begin);
        size_t n = item_queries(f, g, &it, 0, g->heads_per_kv, queries);
        if (first) clear_running(max, sum, out, n, dim);
        for (size_t s = 0; s < width; s++) {
            size_t slot = begin * width + s;
            merge_span(f, n, dim, max, sum, out, f->partial_max + slot * CPU_SPAN_QUERIES,
                       f->partial_sum + slot * CPU_SPAN_QUERIES, f->partial_out + slot * stride);
        }
        if (last) store_result(f, n, dim, sum, out, queries);
    }
    pool_sync(t);
}

static void attend_split(const pool_worker *t, forward *f, const geometry *g) {
    size_t width = f->n_partials / g->n_items;
    for (size_t span = g->first_span; span < g->end_span; span += width) {
        wave_compute(t, f, g, span, width);
        wave_merge(t, f, g, width, span == g->first_span, span + width >= g->end_span);
    }
}

void attention_attend(const pool_worker *t, forward *f, uint32_t layer) {
    geometry g = layer_geometry(f, layer);
    bool one_span = g.end_span - g.first_span <= 1, few = g.n_items < 2 * (size_t)f->n_threads;
    if (f->n_threads > 1 && few && !one_span && g.heads_per_kv <= CPU_SPAN_QUERIES)
        attend_split(t, f, &g);
    else
        attend_whole(t, f, &g);
}

void attention_output(const pool_worker *t, forward *f, uint32_t layer) {
    const weight *w = &f->w->layers[layer].attn_output;
    pass_prepare(t, f, &f->in, pass_kinds(f, &w, 1), f->q, w->m.n_cols);
    pass_product out = {.w = w, .in = &f->in, .x = f->q, .n_tokens = f->n_rows, .out = f->y, .ldo = f->h->n_embd};
    pass_products(t, f, &out, 1);
}
