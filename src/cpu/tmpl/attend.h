/* Attention over one span in sixteen lanes (contract, rule 3; ref/attend.c is the definition). Included after a
 * lanes_ISA.h and what of it fits into the registers: TILE_QUERIES x TILE_KEYS scores; VALUES rows of VALUE_LANES
 * lanes.
 *
 * Queries go through in groups of up to GROUP, so that a key or value that was read and converted serves all of them:
 * scores of a few keys at a time with a tile of queries x keys in registers; then p; then for a few values at a time,
 * keys in order, all outputs of the group's queries. Queries of a group see different ranges: what all see is done
 * together, what lies before and behind it query by query, which keeps each query's order. */
#include <math.h>
#include <string.h>

#include "cpu/registry.h"
#include "cpu/tmpl/lanes_math.h"

/* Loops over what stands in registers; their counts are constants. */
#define UNROLL _Pragma("GCC unroll 8")

enum {
    GROUP = 8,
    KEYS = 2 * TILE_KEYS, /* converted together */
    MAX_DIM = 512
};

typedef struct group {
    const cpu_span *span;
    size_t n, row_bytes;
    size_t index[GROUP]; /* the queries, none with an empty range */
    cpu_range common;    /* what all of them see; first >= last: nothing */
    float p[GROUP][CPU_SPAN];
} group;

/* Elements [i, i + 16) of a stored row. */
LANES_INLINE lanes load_stored(facet_kv_type type, const uint8_t *row, size_t i) {
    if (type == FACET_KV_F16) return lanes_load_f16(row + 2 * i);
    if (type == FACET_KV_F32) return lanes_load_f32(row + 4 * i);
    const uint8_t *block = row + i / 32 * 34;
    return lanes_load_q8((const int8_t *)block + 2 + i % 32, lanes_half(block));
}

/* ---- scores */

/* Keys as floats, and the rows that will be read next: fetched bit by bit, so that memory works while scores are
 * computed. */
typedef struct key_rows {
    const float *keys; /* [][dim] */
    const uint8_t *ahead;
    size_t dim, row_bytes;
} key_rows;

/* n_q <= TILE_QUERIES queries times n_k <= TILE_KEYS keys from `first` on */
LANES_INLINE void score_tile(const float *const *q, size_t n_q, const key_rows *rows, size_t first, size_t n_k,
                             float *const *out) {
    lanes acc[TILE_QUERIES][TILE_KEYS];
    size_t dim = rows->dim, step = n_k * rows->row_bytes * CPU_LANES / dim;
    const float *keys = rows->keys + first * dim;
    const uint8_t *ahead = rows->ahead + first * rows->row_bytes;
    UNROLL
    for (size_t i = 0; i < n_q; i++) {
        UNROLL
        for (size_t k = 0; k < n_k; k++) acc[i][k] = lanes_of(0.0f);
    }
    for (size_t d = 0; d < dim; d += CPU_LANES, ahead += step) {
        for (size_t k = 0; k < step; k += 64) __builtin_prefetch(ahead + k);
        UNROLL
        for (size_t k = 0; k < n_k; k++) {
            lanes key = lanes_load(keys + k * dim + d);
            UNROLL
            for (size_t i = 0; i < n_q; i++) acc[i][k] = lanes_fma(lanes_load(q[i] + d), key, acc[i][k]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n_q; i++) {
        UNROLL
        for (size_t k = 0; k < n_k; k++) out[i][first + k] = lanes_sum(acc[i][k]);
    }
}

#define SCORE_TILES(name, n_q)                                                                                       \
    static void name(const float *const *q, const key_rows *rows, size_t first, size_t n_k, float *const *out) {     \
        if (n_k == TILE_KEYS)                                                                                        \
            score_tile(q, n_q, rows, first, TILE_KEYS, out);                                                         \
        else                                                                                                         \
            score_tile(q, n_q, rows, first, 1, out);                                                                 \
    }
SCORE_TILES(score_tiles, TILE_QUERIES)
SCORE_TILES(score_half_tiles, TILE_QUERIES / 2)
SCORE_TILES(score_single, 1)

/* All the group's queries with n keys, whose scores go to position `at` of the span and on. */
static void score_keys(group *g, const key_rows *rows, size_t at, size_t n) {
    const float *q[GROUP];
    float *out[GROUP];
    for (size_t i = 0; i < g->n; i++) {
        q[i] = g->span->queries[g->index[i]];
        out[i] = g->p[i] + at;
    }
    for (size_t k = 0, step; k < n; k += step) {
        size_t i = 0;
        step = n - k < TILE_KEYS ? 1 : TILE_KEYS;
        for (; i + TILE_QUERIES <= g->n; i += TILE_QUERIES) score_tiles(q + i, rows, k, step, out + i);
        for (; i + TILE_QUERIES / 2 <= g->n; i += TILE_QUERIES / 2) score_half_tiles(q + i, rows, k, step, out + i);
        for (; i < g->n; i++) score_single(q + i, rows, k, step, out + i);
    }
}

/* What is read after the last key of a page. */
LANES_INLINE const uint8_t *after_page(const group *g, size_t page) {
    const cpu_span *s = g->span;
    return page + 1 < CPU_SPAN_PAGES && s->keys[page + 1] ? s->keys[page + 1] : s->values[g->common.first / CPU_PAGE];
}

/* Keys [first, last) of a page. */
LANES_INLINE void score_page(group *g, facet_kv_type type, size_t page, size_t first, size_t last) {
    float keys[KEYS * MAX_DIM];
    size_t dim = g->span->head_dim;
    const uint8_t *row = g->span->keys[page] + first * g->row_bytes;
    for (size_t at = first; at < last; at += KEYS) {
        size_t n = last - at < KEYS ? last - at : KEYS;
        for (size_t k = 0; k < n; k++, row += g->row_bytes) {
            for (size_t i = 0; i < dim; i += CPU_LANES) lanes_store(keys + k * dim + i, load_stored(type, row, i));
        }
        key_rows rows = {keys, at + n < last ? row : after_page(g, page), dim, g->row_bytes};
        score_keys(g, &rows, page * CPU_PAGE + at, n);
    }
}

/* ---- p = exp(score - max) in place, 0 in the rest of the range's first and last sixteen */
static void exponentials(group *g, size_t i) {
    const cpu_span *span = g->span;
    cpu_range range = span->ranges[g->index[i]];
    size_t first = range.first / CPU_LANES * CPU_LANES, last = (range.last + CPU_LANES - 1) / CPU_LANES * CPU_LANES;
    float *p = g->p[i];
    for (size_t at = first; at < range.first; at++) p[at] = -INFINITY;
    for (size_t at = range.last; at < last; at++) p[at] = -INFINITY;
    lanes max = lanes_of(-INFINITY), sum = lanes_of(0.0f);
    for (size_t at = first; at < last; at += CPU_LANES) max = lanes_max(lanes_load(p + at), max);
    float largest = lanes_largest(max) + 0.0f;
    for (size_t at = first; at < last; at += CPU_LANES) {
        lanes x = lanes_sub(lanes_load(p + at), lanes_of(largest));
        lanes e = lanes_if_less(x, lanes_of(CPU_WEIGHT_MIN), lanes_of(0.0f), lanes_exp(x));
        sum = lanes_add(sum, e);
        lanes_store(p + at, e);
    }
    span->max[g->index[i]] = largest;
    span->sum[g->index[i]] = lanes_sum(sum);
}

/* ---- outputs */

/* out[q][d..] += p[q][k] * value[k][d..] for n keys, in order, n_q queries, and `width` times sixteen outputs */
LANES_INLINE void add_columns(facet_kv_type type, const uint8_t *row, size_t row_bytes, size_t d, size_t width,
                              size_t n, const float *const *p, size_t n_q, float *const *out) {
    lanes v[VALUES][VALUE_LANES];
    UNROLL
    for (size_t k = 0; k < n; k++) {
        UNROLL
        for (size_t i = 0; i < width; i++) v[k][i] = load_stored(type, row + k * row_bytes, d + i * CPU_LANES);
    }
    for (size_t q = 0; q < n_q; q++) {
        lanes acc[VALUE_LANES];
        UNROLL
        for (size_t i = 0; i < width; i++) acc[i] = lanes_load(out[q] + d + i * CPU_LANES);
        UNROLL
        for (size_t k = 0; k < n; k++) {
            UNROLL
            for (size_t i = 0; i < width; i++) acc[i] = lanes_fma(lanes_of(p[q][k]), v[k][i], acc[i]);
        }
        UNROLL
        for (size_t i = 0; i < width; i++) lanes_store(out[q] + d + i * CPU_LANES, acc[i]);
    }
}

/* All columns; the rows behind these are fetched meanwhile. */
LANES_INLINE void add_rows(facet_kv_type type, const uint8_t *row, size_t row_bytes, size_t dim, size_t n,
                           const float *const *p, size_t n_q, float *const *out) {
    size_t d = 0, step = VALUE_LANES * CPU_LANES, bytes_per_lane = row_bytes / dim;
    for (; d + step <= dim; d += step) {
        for (size_t k = 0; k < n; k++) __builtin_prefetch(row + (n + k) * row_bytes + d * bytes_per_lane);
        add_columns(type, row, row_bytes, d, VALUE_LANES, n, p, n_q, out);
    }
    for (; d < dim; d += CPU_LANES) add_columns(type, row, row_bytes, d, 1, n, p, n_q, out);
}

/* Constants where it counts, so that the values stay in registers. */
LANES_INLINE void value_rows(facet_kv_type type, const uint8_t *row, size_t row_bytes, size_t dim, size_t n,
                             const float *const *p, size_t n_q, float *const *out) {
    const float *at[GROUP];
    for (size_t q = 0; q < n_q; q++) at[q] = p[q];
    for (size_t k = 0; k < n;) {
        size_t step = n - k < VALUES ? 1 : VALUES;
        if (step == VALUES && n_q == GROUP)
            add_rows(type, row, row_bytes, dim, VALUES, at, GROUP, out);
        else if (step == VALUES)
            add_rows(type, row, row_bytes, dim, VALUES, at, n_q, out);
        else
            add_rows(type, row, row_bytes, dim, 1, at, n_q, out);
        for (size_t q = 0; q < n_q; q++) at[q] += step;
        row += step * row_bytes;
        k += step;
    }
}

LANES_INLINE size_t larger(size_t a, size_t b) { return a > b ? a : b; }
LANES_INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Positions [first, last) of one page for queries [i, i + n_q) of the group. */
LANES_INLINE void add_values(group *g, facet_kv_type type, size_t page, size_t first, size_t last, size_t i,
                             size_t n_q) {
    const float *p[GROUP];
    float *out[GROUP];
    if (first >= last) return;
    for (size_t q = 0; q < n_q; q++) {
        p[q] = g->p[i + q] + first;
        out[q] = g->span->out + g->index[i + q] * g->span->head_dim;
    }
    const uint8_t *row = g->span->values[page] + (first - page * CPU_PAGE) * g->row_bytes;
    value_rows(type, row, g->row_bytes, g->span->head_dim, last - first, p, n_q, out);
}

LANES_INLINE void values_page(group *g, facet_kv_type type, size_t page) {
    size_t begin = page * CPU_PAGE, end = begin + CPU_PAGE;
    bool common = g->common.first < g->common.last;
    for (size_t i = 0; i < g->n; i++) {
        cpu_range r = g->span->ranges[g->index[i]];
        size_t last = smaller(common ? g->common.first : r.last, end);
        add_values(g, type, page, larger(r.first, begin), last, i, 1);
    }
    if (!common) return;
    add_values(g, type, page, larger(g->common.first, begin), smaller(g->common.last, end), 0, g->n);
    for (size_t i = 0; i < g->n; i++) {
        cpu_range r = g->span->ranges[g->index[i]];
        add_values(g, type, page, larger(g->common.last, begin), smaller(r.last, end), i, 1);
    }
}

/* ---- */

/* The part of a page that any of the group sees. */
static bool page_hull(const group *g, size_t page, size_t *first, size_t *last) {
    *first = CPU_PAGE;
    *last = 0;
    for (size_t i = 0; i < g->n; i++) {
        cpu_range r = g->span->ranges[g->index[i]];
        size_t a = larger(r.first, page * CPU_PAGE), b = smaller(r.last, (page + 1) * CPU_PAGE);
        if (a >= b) continue;
        *first = smaller(*first, a - page * CPU_PAGE);
        *last = larger(*last, b - page * CPU_PAGE);
    }
    return *first < *last;
}

LANES_INLINE void attend_group(group *g, facet_kv_type type) {
    size_t first, last;
    for (size_t page = 0; page < CPU_SPAN_PAGES; page++) {
        if (page_hull(g, page, &first, &last)) score_page(g, type, page, first, last);
    }
    for (size_t i = 0; i < g->n; i++) exponentials(g, i);
    for (size_t page = 0; page < CPU_SPAN_PAGES; page++) {
        if (page_hull(g, page, &first, &last)) values_page(g, type, page);
    }
}

/* Up to `size` queries from *q on that see something. */
static bool next_group(group *g, size_t *q, size_t size) {
    const cpu_span *span = g->span;
    g->n = 0;
    g->common = (cpu_range){0, CPU_SPAN};
    for (; *q < span->n_queries && g->n < size; ++*q) {
        cpu_range r = span->ranges[*q];
        if (r.first >= r.last) continue;
        if (r.first > g->common.first) g->common.first = r.first;
        if (r.last < g->common.last) g->common.last = r.last;
        g->index[g->n++] = *q;
    }
    return g->n > 0;
}

void LANES_NAME(attend)(const cpu_span *span) {
    if (span->head_dim > MAX_DIM || span->head_dim % CPU_LANES) {
        attend_ref(span);
        return;
    }
    memset(span->out, 0, span->n_queries * span->head_dim * sizeof *span->out);
    for (size_t q = 0; q < span->n_queries; q++) {
        span->max[q] = -INFINITY;
        span->sum[q] = 0.0f;
    }
    group g = {.span = span, .row_bytes = cpu_kv_row_bytes(span->type, span->head_dim)};
    size_t n_groups = (span->n_queries + GROUP - 1) / GROUP, size = (span->n_queries + n_groups - 1) / n_groups;
    for (size_t q = 0; next_group(&g, &q, size);) {
        if (span->type == FACET_KV_F16)
            attend_group(&g, FACET_KV_F16);
        else if (span->type == FACET_KV_F32)
            attend_group(&g, FACET_KV_F32);
        else
            attend_group(&g, FACET_KV_Q8_0);
    }
}
