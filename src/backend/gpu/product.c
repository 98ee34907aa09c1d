/* Products on a device: activations turned to codes, and the choice of the program. See parts.h. */
#include "backend/gpu/parts.h"

void gpu_launch(gpu *g, gpu_kernel *k, size_t groups_x, size_t groups_y, size_t group, const gpu_argument *arguments,
                size_t n_arguments) {
    if (g->status != FACET_OK || g->check || groups_x == 0 || groups_y == 0) return;
    g->status = g->device->driver->launch(g->device, k, groups_x, groups_y, group, arguments, n_arguments, &g->error);
}

void gpu_begin(gpu *g) {
    if (g->device->driver->begin) g->device->driver->begin(g->device);
}

void gpu_end(gpu *g) {
    if (g->status == FACET_OK && g->device->driver->end) g->status = g->device->driver->end(g->device, &g->error);
}

void gpu_write(gpu *g, const gpu_buffer *to, const void *data, size_t n_bytes) {
    if (g->status != FACET_OK || n_bytes == 0) return;
    g->status = g->device->driver->write(g->device, to, 0, data, n_bytes, &g->error);
}

void gpu_read_at(gpu *g, const gpu_buffer *from, size_t first, float *out, size_t n_floats) {
    if (g->status != FACET_OK || n_floats == 0) return;
    g->status = g->device->driver->read(g->device, from, first * sizeof *out, out, n_floats * sizeof *out, &g->error);
}

static unsigned wanted_inputs(const gpu *g, const weight *const *list, size_t n) {
    unsigned kinds = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i] && list[i]->m.format) kinds |= 1u << g->matrices[list[i]->index].input;
    }
    return kinds;
}

void gpu_prepare(gpu *g, const gpu_buffer *x, size_t n_tokens, size_t n_cols, const weight *const *list, size_t n) {
    gpu_input *in = &g->input;
    unsigned kinds = wanted_inputs(g, list, n);
    in->x = x;
    for (int kind = ROWS_CODES_256; kind < ROWS_N_INPUTS; kind++) {
        if (!(kinds >> kind & 1)) continue;
        GPU_LAUNCH(g, g->quantise, gpu_groups(n_cols, 8 * g->group), n_tokens, g->group, GPU_PTR(x), GPU_I(n_cols),
                   GPU_I(kind == ROWS_CODES_256 ? 256 : 32), GPU_BUF(in->codes[kind]), GPU_BUF(in->scales[kind]),
                   GPU_BUF(in->sums[kind]));
    }
}

static void launch_product(gpu *g, const gpu_matrix *m, int variant, size_t first_row, size_t n_rows, size_t n_tokens,
                           size_t tiles, const gpu_buffer *out, size_t ldo, size_t per_row) {
    const gpu_input *in = &g->input;
    const gpu_buffer *x = m->input == ROWS_FLOAT ? in->x : &in->codes[m->input];
    bool images = m->words.image != NULL;
    const gpu_buffer *scales = m->input == ROWS_FLOAT ? in->x : &in->scales[m->input];
    const gpu_buffer *sums = m->input == ROWS_FLOAT ? in->x : &in->sums[m->input];
    const gpu_buffer *chosen = variant == PRODUCT_EXPERTS ? &g->chosen : in->x;
    GPU_LAUNCH(g, g->product_kernels[m->type][variant][images], gpu_groups(n_rows, g->product_rows), tiles,
               g->product_rows * PRODUCT_SPLIT, images ? GPU_IMG(&m->words) : GPU_BUF(m->words), GPU_I(m->row_words),
               GPU_I(m->n_blocks), GPU_I(first_row), GPU_I(n_rows), GPU_I(m->n_cols),
               images && x->image ? GPU_IMG(x) : GPU_PTR(x), GPU_PTR(scales), GPU_PTR(sums), GPU_I(n_tokens),
               GPU_PTR(out), GPU_I(ldo), GPU_BUF(g->vectors), GPU_I(m->scale_at), GPU_PTR(chosen),
               GPU_I(m->expert_groups), GPU_I(per_row));
}

void gpu_product(gpu *g, const weight *w, size_t first_row, size_t n_rows, size_t n_tokens, const gpu_buffer *out,
                 size_t ldo) {
    int variant = n_tokens > 1 ? PRODUCT_MANY : PRODUCT_ONE;
    size_t tiles = n_tokens > 1 ? gpu_groups(n_tokens, PRODUCT_TOKENS) : n_tokens;
    const gpu_matrix *m = &g->matrices[w->index];
    const gpu_product_call call = {w, first_row, n_rows, n_tokens, 1, out, ldo};
    if (gpu_uses_tiles(g, m, n_tokens))
        gpu_tile_product(g, &call);
    else
        launch_product(g, m, variant, first_row, n_rows, n_tokens, tiles, out, ldo, 1);
    gpu_adapt(g, &call);
}

void gpu_product_slots(gpu *g, const weight *w, size_t n_slots, size_t per_row, const gpu_buffer *out, size_t ldo) {
    const gpu_matrix *m = &g->matrices[w->index];
    const gpu_product_call call = {w, 0, m->n_rows, n_slots, per_row, out, ldo};
    if (gpu_uses_tiles(g, m, n_slots))
        gpu_tile_product(g, &call);
    else
        launch_product(g, m, PRODUCT_EXPERTS, 0, m->n_rows, n_slots, n_slots, out, ldo, per_row);
    gpu_adapt(g, &call);
}
