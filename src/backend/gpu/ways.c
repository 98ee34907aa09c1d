/* How products are computed: the plain way, which every device can go, and faster ones of some devices: matrices and
 * codes read through images, inner products of packed bytes, matrix
 * instructions for many tokens. A faster way is given up, format by format, where it
 * cannot be compiled or computes wrong numbers. See parts.h. */
#include "backend/gpu/parts.h"

/* Images of the codes are there for all formats or for none: a program reads both through images or neither. */
static bool open_code_images(gpu *g) {
    for (int kind = ROWS_CODES_256; kind < ROWS_N_INPUTS; kind++) {
        gpu_buffer *codes = &g->input.codes[kind];
        if (g->device->driver->image_new(g->device, codes, 4, NULL) != FACET_OK) return false;
    }
    return true;
}

/* Matrices that are larger than images can be stay what they are. */
void gpu_ways_open(gpu *g) {
    const gpu_limits *l = &g->device->limits;
    for (int type = 0; type < QUANT_N_TYPES; type++) g->dot[type] = l->dot;
    if (l->image_texels == 0 || !open_code_images(g)) return;
    for (size_t i = 0; i < g->w->n_matrices; i++) {
        if (g->matrices[i].of) g->device->driver->image_new(g->device, &g->matrices[i].words, 1, NULL);
    }
}

static bool give_up_images(gpu *g, quant_type type) {
    bool any = false;
    for (size_t i = 0; i < g->w->n_matrices; i++) {
        gpu_matrix *m = &g->matrices[i];
        if (!m->of || m->type != type || !m->words.image) continue;
        g->device->driver->image_free(g->device, &m->words);
        any = true;
    }
    return any;
}

const char *gpu_ways_give_up(gpu *g, quant_type type) {
    gpu_products_close(g, type);
    if (g->device->limits.warps && !g->without_tiles[type]) {
        g->without_tiles[type] = true;
        return "matrix instructions";
    }
    if (give_up_images(g, type)) return "images";
    bool dot = g->dot[type];
    g->dot[type] = false;
    return dot ? "packed inner products" : NULL;
}
