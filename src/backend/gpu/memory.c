/* The device's memory beside weights, keys and values: the buffers of a step, all planned by the function that takes
 * them. See parts.h. */
#include <stdlib.h>

#include "backend/gpu/parts.h"

/* A row, its place in the list of those that go alone, a tile of its own for each kind of layer. */
enum { ROW_INTS = 4 + 1 + 2 * 2 };

static size_t max_of(size_t a, size_t b) { return a > b ? a : b; }

/* A buffer of `count` things of four bytes for each token. */
static facet_status take_rows(gpu *g, gpu_buffer *out, size_t count, bool only_count, facet_error *err) {
    return gpu_take(g, out, (uint64_t)g->ubatch * count * 4, only_count, err);
}

static facet_status take_input(gpu *g, bool only_count, facet_error *err) {
    const hparams *h = g->h;
    size_t n_cols = max_of(max_of(h->n_embd, hparams_max_ff(h)), max_of(hparams_max_q(h), h->n_ple));
    n_cols = max_of(n_cols, (size_t)h->n_expert_used * h->n_ff_expert);
    for (int kind = ROWS_CODES_256; kind < ROWS_N_INPUTS; kind++) {
        FACET_TRY(take_rows(g, &g->input.codes[kind], (n_cols + 3) / 4, only_count, err));
        FACET_TRY(take_rows(g, &g->input.scales[kind], (n_cols + 31) / 32, only_count, err));
        FACET_TRY(take_rows(g, &g->input.sums[kind], (n_cols + 31) / 32, only_count, err));
    }
    return FACET_OK;
}

static facet_status take_tables(gpu *g, bool only_count, facet_error *err) {
    g->angle_width = 0;
    for (uint32_t i = 0; i < g->h->n_layer; i++) g->pairs[g->h->layers[i].sliding] = g->h->layers[i].head_dim / 2;
    g->angle_width = 2 * (g->pairs[0] + g->pairs[1]);
    g->tables_capacity = 2 * g->ubatch * (g->options.max_context / CPU_PAGE + 1);
    for (int i = 0; i < 2; i++) FACET_TRY(take_rows(g, &g->rows[i], ROW_INTS, only_count, err));
    FACET_TRY(take_rows(g, &g->index, 1, only_count, err));
    FACET_TRY(take_rows(g, &g->angles, g->angle_width, only_count, err));
    return gpu_take(g, &g->tables, (uint64_t)g->tables_capacity * 4, only_count, err);
}

static facet_status take_ple(gpu *g, bool only_count, facet_error *err) {
    if (g->h->n_ple == 0) return FACET_OK;
    for (int part = 0; part < 2; part++) {
        size_t width = (g->part_end[part] - g->part_first[part]) * g->h->n_ple;
        FACET_TRY(take_rows(g, &g->ple_a[part], width, only_count, err));
        FACET_TRY(take_rows(g, &g->ple[part], width, only_count, err));
    }
    FACET_TRY(take_rows(g, &g->x0, g->h->n_embd, only_count, err));
    return take_rows(g, &g->ple_rows, g->h->n_ple, only_count, err);
}

static facet_status take_experts(gpu *g, bool only_count, facet_error *err) {
    const hparams *h = g->h;
    if (h->n_expert == 0) return FACET_OK;
    size_t used = h->n_expert_used;
    FACET_TRY(take_rows(g, &g->router, h->n_expert, only_count, err));
    FACET_TRY(take_rows(g, &g->e, h->n_embd, only_count, err));
    FACET_TRY(take_rows(g, &g->chosen, used, only_count, err));
    FACET_TRY(take_rows(g, &g->factor, used, only_count, err));
    FACET_TRY(take_rows(g, &g->order, used, only_count, err));
    FACET_TRY(gpu_take(g, &g->tiles, (uint64_t)gpu_most_tiles(g, g->ubatch * used) * 12, only_count, err));
    FACET_TRY(take_rows(g, &g->slot_both, 2 * used * h->n_ff_expert, only_count, err));
    FACET_TRY(take_rows(g, &g->slot_mid, used * h->n_ff_expert, only_count, err));
    return take_rows(g, &g->slot_out, used * h->n_embd, only_count, err);
}

/* What attention keeps between launches. Devices with warps keep scores, and for prompts every head's outputs. */
static facet_status take_spans(gpu *g, bool only_count, facet_error *err) {
    size_t n_head = 0, row;
    for (uint32_t i = 0; i < g->h->n_layer; i++) n_head = max_of(n_head, g->h->layers[i].n_head);
    g->n_partials = GPU_PARTIALS;
    if (g->device->limits.warps) {
        row = n_head * gpu_groups(g->options.max_context, CPU_SPAN) * CPU_SPAN;
        g->n_partials = max_of(g->n_partials, g->ubatch * n_head);
        g->scores_floats = row * g->ubatch < GPU_SCORES ? row * g->ubatch : max_of(row, GPU_SCORES);
        FACET_TRY(gpu_take(g, &g->scores, (uint64_t)g->scores_floats * 4, only_count, err));
    }
    uint64_t floats = (uint64_t)g->n_partials * (hparams_max_head_dim(g->h) + 2);
    return gpu_take(g, &g->partial, floats * 4, only_count, err);
}

static facet_status take_attention(gpu *g, bool only_count, facet_error *err) {
    const hparams *h = g->h;
    FACET_TRY(take_rows(g, &g->q, hparams_max_q(h), only_count, err));
    FACET_TRY(take_rows(g, &g->q_gathered, hparams_max_q(h), only_count, err));
    FACET_TRY(take_rows(g, &g->k, hparams_max_kv(h), only_count, err));
    FACET_TRY(take_rows(g, &g->v, hparams_max_kv(h), only_count, err));
    return take_spans(g, only_count, err);
}

static facet_status take_stream(gpu *g, bool only_count, facet_error *err) {
    const hparams *h = g->h;
    gpu_buffer *rows[] = {&g->x, &g->x_other, &g->gathered, &g->normed, &g->y, &g->hidden};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        FACET_TRY(take_rows(g, rows[i], h->n_embd, only_count, err));
    }
    if (g->device->limits.warps) FACET_TRY(take_rows(g, &g->x_other, h->n_embd, only_count, err));
    FACET_TRY(take_rows(g, &g->ff, hparams_max_ff(h), only_count, err));
    FACET_TRY(take_rows(g, &g->up, hparams_max_ff(h), only_count, err));
    if (g->options.end < h->n_layer) return FACET_OK;
    return gpu_take(g, &g->logits, (uint64_t)FORWARD_HEAD_ROWS * h->n_vocab * 4, only_count, err);
}

static facet_status take_host(gpu *g, facet_error *err) {
    size_t width = g->angle_width;
    for (int part = 0; part < 2; part++) {
        width = max_of(width, (g->part_end[part] - g->part_first[part]) * g->h->n_ple);
    }
    size_t ints = max_of(g->tables_capacity, ROW_INTS * g->ubatch), floats = g->ubatch * width;
    g->host_ints = malloc(ints * sizeof *g->host_ints);
    g->host_floats = malloc(floats * sizeof *g->host_floats);
    g->host_hidden = malloc(g->ubatch * g->h->n_embd * sizeof *g->host_hidden);
    g->hidden_sets = calloc(g->ubatch, sizeof *g->hidden_sets);
    g->table_at = calloc(g->ubatch, sizeof *g->table_at);
    g->all_sets = calloc(g->ubatch, sizeof *g->all_sets);
    bool ok = g->host_ints && g->table_at && g->host_floats && g->host_hidden && g->hidden_sets && g->all_sets;
    return ok ? FACET_OK : error_memory(err, floats * sizeof *g->host_floats);
}

/* Rows that nobody wants leave in the last layer that owns its KV: the layers before it are part 0, the others
 * part 1.
 */
static void cut_parts(gpu *g) {
    uint32_t exit = g->h->n_own - 1, first = g->options.first, end = g->options.end;
    g->part_first[0] = first;
    g->part_end[0] = end < exit ? end : exit;
    if (g->part_end[0] < first) g->part_end[0] = first;
    g->part_first[1] = first > exit ? first : exit;
    if (g->part_first[1] > end) g->part_first[1] = end;
    g->part_end[1] = end;
}

facet_status gpu_memory_open(gpu *g, const kv_cache *kv, bool only_count, facet_error *err) {
    cut_parts(g);
    FACET_TRY(gpu_pages_open(g, kv, only_count, err));
    FACET_TRY(take_tables(g, only_count, err));
    FACET_TRY(take_stream(g, only_count, err));
    FACET_TRY(take_attention(g, only_count, err));
    FACET_TRY(take_ple(g, only_count, err));
    FACET_TRY(take_experts(g, only_count, err));
    FACET_TRY(take_input(g, only_count, err));
    return only_count ? FACET_OK : take_host(g, err);
}

void gpu_memory_close(gpu *g) {
    gpu_buffer *all[] = {&g->rows[0],    &g->rows[1],  &g->index,    &g->tables,    &g->angles,  &g->x,
                         &g->x_other,    &g->gathered, &g->x0,       &g->normed,    &g->y,       &g->q,
                         &g->q_gathered, &g->k,        &g->v,        &g->ff,        &g->up,      &g->ple_a[0],
                         &g->ple_a[1],   &g->ple[0],   &g->ple[1],   &g->ple_rows,  &g->hidden,  &g->logits,
                         &g->partial,    &g->scores,   &g->router,   &g->e,         &g->chosen,  &g->factor,
                         &g->order,      &g->tiles,    &g->slot_mid, &g->slot_both, &g->slot_out};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) g->device->driver->buffer_free(g->device, all[i]);
    gpu_pages_close(g);
    for (int kind = 0; kind < ROWS_N_INPUTS; kind++) {
        g->device->driver->buffer_free(g->device, &g->input.codes[kind]);
        g->device->driver->buffer_free(g->device, &g->input.scales[kind]);
        g->device->driver->buffer_free(g->device, &g->input.sums[kind]);
    }
    free(g->host_ints);
    free(g->host_floats);
    free(g->host_hidden);
    free(g->hidden_sets);
    free(g->table_at);
    free(g->all_sets);
}
