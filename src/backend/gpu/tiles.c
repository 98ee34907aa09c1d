/* Products with many tokens on devices with matrix instructions: which programs there are for them, and their
 * launches. The kernels: cuda/kernels/tiles.cu. Experts are computed one by one, each for all slots that chose it;
 * so slots are first sorted by expert. See parts.h. */
#include <stdio.h>

#include "backend/gpu/parts.h"

enum { TILE_ROWS = 64, TILE_THREADS = 128, GROUPING_THREADS = 256, FEW_SLOTS = 64, MAX_EXPERTS = 1024 };
static const size_t tile_tokens[TILES_VARIANTS] = {[TILES_NARROW] = 32, [TILES_WIDE] = 64, [TILES_EXPERTS] = 32};

static bool has_tiles(const gpu *g, const gpu_matrix *m) {
    bool experts = m->expert_groups > 0;
    return g->device->limits.warps && !g->without_tiles[m->type] && m->input != ROWS_FLOAT &&
           (!experts || g->h->n_expert <= MAX_EXPERTS);
}

/* Few slots hardly share experts. */
bool gpu_uses_tiles(const gpu *g, const gpu_matrix *m, size_t n_tokens) {
    return n_tokens > (m->expert_groups ? FEW_SLOTS : PRODUCT_TOKENS) && has_tiles(g, m);
}

size_t gpu_most_tiles(const gpu *g, size_t n_slots) {
    return gpu_groups(n_slots, tile_tokens[TILES_EXPERTS]) + g->h->n_expert;
}

static facet_status open_variant(gpu *g, const gpu_matrix *m, int variant, facet_error *err) {
    char defines[160];
    const rows_format *f = rows_format_of(m->type);
    const gpu_text texts[] = {GPU_TEXT(blocks), GPU_TEXT(matrix), GPU_TEXT(tiles)};
    gpu_program **program = &g->tile_programs[m->type][variant];
    if (*program) return FACET_OK;
    snprintf(defines, sizeof defines, "-DGROUP=%zu -D%s -DTILE_TOKENS=%zu%s", g->group, f->define,
             tile_tokens[variant], variant == TILES_EXPERTS ? " -DEXPERTS" : "");
    FACET_TRY(gpu_program_build(g, program, f->define, defines, texts, 3, err));
    return g->device->driver->kernel_new(g->device, &g->tile_kernels[m->type][variant], *program, "tile_product",
                                         err);
}

static facet_status open_grouping(gpu *g, facet_error *err) {
    if (g->grouping_program) return FACET_OK;
    FACET_TRY(gpu_program_build(g, &g->grouping_program, "experts", "-DGROUP=256", &GPU_TEXT(experts), 1, err));
    return g->device->driver->kernel_new(g->device, &g->group_slots, g->grouping_program, "group_slots", err);
}

facet_status gpu_tiles_open(gpu *g, const gpu_matrix *m, facet_error *err) {
    if (!has_tiles(g, m)) return FACET_OK;
    if (m->expert_groups) {
        FACET_TRY(open_grouping(g, err));
        return open_variant(g, m, TILES_EXPERTS, err);
    }
    FACET_TRY(open_variant(g, m, TILES_NARROW, err));
    return open_variant(g, m, TILES_WIDE, err);
}

void gpu_tiles_close(gpu *g, quant_type type) {
    for (int v = 0; v < TILES_VARIANTS; v++) {
        g->device->driver->kernel_free(g->device, g->tile_kernels[type][v]);
        g->device->driver->program_free(g->device, g->tile_programs[type][v]);
        g->tile_kernels[type][v] = NULL;
        g->tile_programs[type][v] = NULL;
    }
}

void gpu_group_slots(gpu *g, size_t n_slots) {
    if (!g->group_slots || n_slots <= FEW_SLOTS) return;
    GPU_LAUNCH(g, g->group_slots, 1, 1, GROUPING_THREADS, GPU_BUF(g->chosen), GPU_I(n_slots), GPU_I(g->h->n_expert),
               GPU_I(tile_tokens[TILES_EXPERTS]), GPU_BUF(g->order), GPU_BUF(g->tiles),
               GPU_I(gpu_most_tiles(g, n_slots)));
}

void gpu_tile_product(gpu *g, const gpu_product_call *p) {
    const gpu_matrix *m = &g->matrices[p->w->index];
    const gpu_input *in = &g->input;
    bool experts = m->expert_groups > 0;
    int variant = experts ? TILES_EXPERTS : p->n_tokens > tile_tokens[TILES_NARROW] ? TILES_WIDE : TILES_NARROW;
    size_t tiles = experts ? gpu_most_tiles(g, p->n_tokens) : gpu_groups(p->n_tokens, tile_tokens[variant]);
    const gpu_buffer *order = experts ? &g->order : in->x, *list = experts ? &g->tiles : in->x;
    GPU_LAUNCH(g, g->tile_kernels[m->type][variant], gpu_groups(p->n_rows, TILE_ROWS), tiles, TILE_THREADS,
               GPU_BUF(m->words), GPU_I(m->row_words), GPU_I(m->n_blocks), GPU_I(p->first_row), GPU_I(p->n_rows),
               GPU_I(m->n_cols), GPU_BUF(in->codes[m->input]), GPU_BUF(in->scales[m->input]),
               GPU_BUF(in->sums[m->input]), GPU_I(p->n_tokens), GPU_PTR(p->out), GPU_I(p->ldo), GPU_BUF(g->vectors),
               GPU_I(m->scale_at), GPU_PTR(order), GPU_PTR(list), GPU_I(m->expert_groups), GPU_I(p->per_row));
}
