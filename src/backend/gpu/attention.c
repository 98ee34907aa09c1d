/* Attention on a device: how it is shared out, what becomes of the projections, and what the heads make of keys and
 * values. See parts.h. Any device has kernels that take one head of one row (kernels/attention.cl). Those with warps
 * have others for each kind of layers (cuda/kernels): rows that go alone, in decoding, take two launches over many
 * groups; the rows of a prompt go in tiles of sixteen queries that share a KV head. */
#include "backend/gpu/parts.h"

/* Positions of a row that one group goes through; where rows see more, their spans are computed side by side. */
enum { SERIAL_POSITIONS = 2 * CPU_SPAN };

/* ---- shares */

static void widen_spans(const gpu *g, gpu_shares *s, int32_t position) {
    for (int kind = 0; kind < KV_KINDS; kind++) {
        size_t p = (size_t)position, window = g->h->window;
        size_t first = (kind == KV_SLIDING && p + 1 > window ? p + 1 - window : 0) / CPU_SPAN, end = p / CPU_SPAN + 1;
        size_t *known = &s->first_span[kind], *n = &s->n_spans[kind], known_end = *known + *n;
        if (end - first > s->longest[kind]) s->longest[kind] = end - first;
        if (*n == 0 || first < *known) *known = first;
        if (*n == 0 || end > known_end) known_end = end;
        *n = known_end - *known;
    }
}

/* Rows from `first` on that have the same page tables, those of one sequence. */
static size_t run_length(const int32_t *rows, size_t n, size_t first) {
    size_t end = first + 1;
    while (end < n && rows[4 * end + 1] == rows[4 * first + 1]) end++;
    return end - first;
}

/* Lists the rows of short runs to `out`; returns how many. */
static size_t list_single(const gpu *g, const int32_t *rows, size_t n, int32_t *out) {
    size_t n_out = 0, length;
    for (size_t first = 0; first < n; first += length) {
        length = run_length(rows, n, first);
        for (size_t i = 0; i < length && length < g->tile_rows; i++) out[n_out++] = (int32_t)(first + i);
    }
    return n_out;
}

/* Lists the tiles of long runs to `out`: the first row, how many; returns how many tiles. */
static size_t list_tiles(const gpu *g, const int32_t *rows, size_t n, size_t rows_of_tile, int32_t *out) {
    size_t n_out = 0, length;
    for (size_t first = 0; first < n; first += length) {
        length = run_length(rows, n, first);
        for (size_t i = 0; i < length && length >= g->tile_rows; i += rows_of_tile, n_out++) {
            size_t left = length - i;
            out[2 * n_out] = (int32_t)(first + i);
            out[2 * n_out + 1] = (int32_t)(left < rows_of_tile ? left : rows_of_tile);
        }
    }
    return n_out;
}

void gpu_send_rows(gpu *g, int part, size_t n) {
    gpu_shares *s = &g->shares[part];
    size_t at = 4 * n;
    *s = (gpu_shares){.single_at = at};
    for (size_t i = 0; i < n; i++) widen_spans(g, s, g->host_ints[4 * i]);
    if (g->device->limits.warps) at += s->n_single = list_single(g, g->host_ints, n, g->host_ints + at);
    for (int kind = 0; kind < KV_KINDS; kind++) {
        s->tiles_at[kind] = at;
        if (!g->heads[kind].program) continue;
        s->n_tiles[kind] = list_tiles(g, g->host_ints, n, g->heads[kind].rows_of_tile, g->host_ints + at);
        at += 2 * s->n_tiles[kind];
    }
    gpu_write(g, &g->rows[part], g->host_ints, at * sizeof *g->host_ints);
}

/* ---- queries, keys, values */

/* What kernels want to know of where keys and values are. */
#define KV_ARGUMENTS(g, l, layer)                                                                                    \
    GPU_BUF((g)->pool), GPU_WIDE((g)->page_bytes[(l)->sliding]), GPU_WIDE((g)->layers[layer].kv_at)

void gpu_finish_heads(gpu *g, uint32_t layer) {
    const layer_hparams *l = &g->h->layers[layer];
    const gpu_layer *at = &g->layers[layer];
    gpu_kernel *lanes = g->heads[l->sliding].finish_lanes;
    const gpu_buffer *v = g->w->layers[layer].attn_v.m.format ? &g->v : &g->k;
    uint32_t units = l->owns_kv ? l->n_head_kv : 0;
    size_t cos_at = l->sliding ? 2 * g->pairs[0] : 0;
    if (lanes) {
        GPU_LAUNCH(g, lanes, gpu_groups(16 * (l->n_head + 2 * units), g->group), g->n_rows, g->group,
                   GPU_PTR(g->q_now), GPU_BUF(g->k), GPU_PTR(v), GPU_I(l->n_head), GPU_I(units), GPU_I(l->n_head_kv),
                   GPU_BUF(g->vectors), GPU_I(at->attn_q_norm), GPU_I(at->attn_k_norm), GPU_BUF(g->angles),
                   GPU_I(g->angle_width), GPU_I(cos_at), GPU_BUF(g->rows[g->part]), GPU_BUF(g->tables),
                   GPU_I(l->sliding), KV_ARGUMENTS(g, l, layer), GPU_F(g->h->eps));
        return;
    }
    GPU_LAUNCH(g, g->finish_heads, units + l->n_head, g->n_rows, g->group, GPU_PTR(g->q_now), GPU_BUF(g->k),
               GPU_PTR(v), GPU_I(l->n_head), GPU_I(units), GPU_I(l->n_head_kv), GPU_I(l->head_dim),
               GPU_BUF(g->vectors), GPU_I(at->attn_q_norm), GPU_I(at->attn_k_norm), GPU_BUF(g->angles),
               GPU_I(g->angle_width), GPU_I(cos_at), GPU_BUF(g->rows[g->part]), GPU_BUF(g->tables), GPU_I(l->sliding),
               KV_ARGUMENTS(g, l, layer), GPU_F(g->h->eps));
}

/* ---- scores, weights, outputs */

/* Few rows leave a device idle: their spans are then computed side by side. */
static size_t attention_parts(const gpu *g, const layer_hparams *l) {
    const gpu_shares *s = &g->shares[g->part];
    size_t spans = s->n_spans[l->sliding], heads = g->n_rows * l->n_head, seen = s->longest[l->sliding] * CPU_SPAN;
    if (l->sliding && seen > g->h->window) seen = g->h->window;
    if (g->heads[l->sliding].program && seen <= SERIAL_POSITIONS) return 1;
    return spans > 1 && heads * spans <= g->n_partials ? spans : 1;
}

/* What all kernels want first. */
#define ROW_ARGUMENTS(g, l)                                                                                          \
    GPU_PTR((g)->q_now), GPU_I((l)->n_head), GPU_I((l)->n_head / (l)->n_head_kv), GPU_BUF((g)->rows[(g)->part]),     \
        GPU_BUF((g)->tables), GPU_I((l)->sliding), GPU_I((g)->h->window), KV_ARGUMENTS(g, l, (l)->kv_layer)

/* Rows that go alone, as many at a time as there is room for scores. */
static void attend_single(gpu *g, const layer_hparams *l, size_t parts) {
    const gpu_heads *k = &g->heads[l->sliding];
    const gpu_shares *s = &g->shares[g->part];
    size_t stride = s->longest[l->sliding] * CPU_SPAN, room = g->scores_floats / (l->n_head * stride);
    size_t chunk = g->group / 8 * (k->together < 8 ? 4 : 2), sets = gpu_groups(l->n_head / l->n_head_kv, k->together);
    for (size_t first = 0; first < s->n_single; first += room) {
        size_t n = s->n_single - first < room ? s->n_single - first : room, list_at = s->single_at + first;
        GPU_LAUNCH(g, k->score_keys, l->n_head_kv * (stride / chunk), n, g->group, ROW_ARGUMENTS(g, l),
                   GPU_I(list_at), GPU_BUF(g->scores), GPU_I(stride));
        GPU_LAUNCH(g, k->sum_values, l->head_dim / 32 * sets * l->n_head_kv * parts, n, g->group, ROW_ARGUMENTS(g, l),
                   GPU_I(l->n_head_kv), GPU_I(list_at), GPU_BUF(g->scores), GPU_I(stride),
                   GPU_I(s->first_span[l->sliding]), GPU_I(parts), GPU_BUF(g->partial));
    }
}

static void attend_tiles(gpu *g, const layer_hparams *l, size_t parts) {
    const gpu_shares *s = &g->shares[g->part];
    size_t sets = gpu_groups(l->n_head / l->n_head_kv, GPU_TILE);
    if (s->n_tiles[l->sliding] == 0) return;
    GPU_LAUNCH(g, g->heads[l->sliding].attend_tiles, sets * l->n_head_kv * parts, s->n_tiles[l->sliding], g->group,
               ROW_ARGUMENTS(g, l), GPU_I(l->n_head_kv), GPU_I(s->tiles_at[l->sliding]),
               GPU_I(s->first_span[l->sliding]), GPU_I(parts), GPU_BUF(g->partial));
}

static void attend_heads(gpu *g, const layer_hparams *l, size_t parts) {
    GPU_LAUNCH(g, g->attend, l->n_head * parts, g->n_rows, g->group, GPU_PTR(g->q_now), GPU_I(l->n_head),
               GPU_I(l->n_head / l->n_head_kv), GPU_I(l->head_dim), GPU_BUF(g->rows[g->part]), GPU_BUF(g->tables),
               GPU_I(l->sliding), GPU_I(g->h->window), KV_ARGUMENTS(g, l, l->kv_layer), GPU_I(l->n_head_kv),
               GPU_I(g->shares[g->part].first_span[l->sliding]), GPU_I(parts), GPU_BUF(g->partial));
}

static void merge_heads(gpu *g, const layer_hparams *l, size_t parts) {
    GPU_LAUNCH(g, g->attend_merge, l->n_head, g->n_rows, g->group, GPU_PTR(g->q_now), GPU_I(l->n_head),
               GPU_I(l->head_dim), GPU_I(parts), GPU_BUF(g->partial));
}

static void merge_parts(gpu *g, const layer_hparams *l, size_t parts) {
    GPU_LAUNCH(g, g->heads[l->sliding].merge_parts, l->n_head * gpu_groups(l->head_dim / 2, g->group), g->n_rows,
               g->group, GPU_PTR(g->q_now), GPU_I(l->n_head), GPU_BUF(g->rows[g->part]), GPU_I(l->sliding),
               GPU_I(g->h->window), GPU_I(g->shares[g->part].first_span[l->sliding]), GPU_I(parts),
               GPU_BUF(g->partial));
}

void gpu_attend(gpu *g, uint32_t layer) {
    if (g->check) return; /* there are no rows to share out */
    const layer_hparams *l = &g->h->layers[layer];
    size_t parts = attention_parts(g, l);
    if (!g->heads[l->sliding].program) {
        attend_heads(g, l, parts);
        if (parts > 1) merge_heads(g, l, parts);
        return;
    }
    attend_single(g, l, parts);
    attend_tiles(g, l, parts);
    if (parts > 1) merge_parts(g, l, parts);
}
