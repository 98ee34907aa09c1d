/* The kernels: which programs there are, with which definitions. See parts.h. */
#include <stdio.h>
#include <string.h>

#include "backend/gpu/parts.h"

enum { HEADS_TOGETHER = 8, WIDEST_HEAD = 512 };

facet_status gpu_program_build(gpu *g, gpu_program **out, const char *name, const char *defines,
                               const gpu_text *texts, size_t n_texts, facet_error *err) {
    const char *pieces[1 + GPU_MOST_TEXTS] = {GPU_TEXT(dialect).begin};
    size_t sizes[1 + GPU_MOST_TEXTS] = {GPU_TEXT(dialect).n_bytes};
    for (size_t i = 0; i < n_texts; i++) {
        pieces[1 + i] = texts[i].begin;
        sizes[1 + i] = texts[i].n_bytes;
    }
    gpu_source source = {
        .name = name, .defines = defines, .pieces = pieces, .piece_bytes = sizes, .n_pieces = 1 + n_texts};
    return g->device->driver->program_new(g->device, out, &source, g->options.cache, err);
}

/* Sizes of groups that every device of its class can run, powers of two. */
static facet_status choose_groups(gpu *g, facet_error *err) {
    const gpu_limits *l = &g->device->limits;
    g->group = l->group >= 128 ? 128 : 64;
    g->product_rows = l->group >= 256 && l->local_bytes >= 24 << 10 ? 32 : l->group >= 128 ? 16 : 8;
    if (l->group >= 64 && l->local_bytes >= 8 << 10) return FACET_OK;
    return error_set(err, FACET_ERROR_UNSUPPORTED, "%s: groups of %zu work items with %zu bytes are too small",
                     l->name, l->group, l->local_bytes);
}

static facet_status open_steps(gpu *g, facet_error *err) {
    char defines[128];
    snprintf(defines, sizeof defines, "-DGROUP=%zu", g->group);
    FACET_TRY(gpu_program_build(g, &g->steps_program, "steps", defines, &GPU_TEXT(steps), 1, err));
    const gpu_driver *driver = g->device->driver;
#define X(name) FACET_TRY(driver->kernel_new(g->device, &g->name, g->steps_program, #name, err));
    GPU_STEPS(X)
#undef X
    return FACET_OK;
}

static const char *kv_define(const gpu *g) {
    return g->kv_type == FACET_KV_Q8_0 ? "KV_Q8_0" : g->kv_type == FACET_KV_F32 ? "KV_F32" : "KV_F16";
}

static facet_status open_attention(gpu *g, facet_error *err) {
    char defines[128];
    size_t head = gpu_groups(hparams_max_head_dim(g->h), g->group) * g->group;
    const gpu_text texts[] = {GPU_TEXT(pages), GPU_TEXT(attention)};
    snprintf(defines, sizeof defines, "-DGROUP=%zu -DMAX_HEAD=%zu -D%s", g->group, head, kv_define(g));
    FACET_TRY(gpu_program_build(g, &g->attention_program, "attention", defines, texts, 2, err));
    const gpu_driver *driver = g->device->driver;
#define X(name) FACET_TRY(driver->kernel_new(g->device, &g->name, g->attention_program, #name, err));
    GPU_ATTENTION(X)
#undef X
    return FACET_OK;
}

/* The layers of a kind on the device, if their heads are all alike and such as attention_cuda can take. */
static const layer_hparams *like_heads(const gpu *g, int kind) {
    const layer_hparams *found = NULL;
    for (uint32_t i = g->options.first; i < g->options.end; i++) {
        const layer_hparams *l = &g->h->layers[i];
        if (l->sliding != kind) continue;
        if (l->head_dim % 32 || l->head_dim > WIDEST_HEAD) return NULL;
        if (found &&
            (l->head_dim != found->head_dim || l->n_head != found->n_head || l->n_head_kv != found->n_head_kv))
            return NULL;
        found = l;
    }
    return found;
}

/* Kernels for one width of heads. */
static facet_status open_heads(gpu *g, int kind, facet_error *err) {
    char defines[128];
    gpu_heads *heads = &g->heads[kind];
    const layer_hparams *l = like_heads(g, kind);
    const gpu_text texts[] = {GPU_TEXT(pages), GPU_TEXT(attention_cuda), GPU_TEXT(attention_tiles)};
    if (!g->device->limits.warps || g->group != 128 || !l) return FACET_OK;
    size_t sharing = l->n_head / l->n_head_kv;
    heads->together = 1;
    while (heads->together < sharing && heads->together < HEADS_TOGETHER) heads->together *= 2;
    heads->rows_of_tile = sharing < GPU_TILE ? GPU_TILE / sharing : 1;
    snprintf(defines, sizeof defines, "-DGROUP=%zu -DHEAD=%u -DHEADS=%zu -D%s", g->group, l->head_dim,
             heads->together, kv_define(g));
    FACET_TRY(gpu_program_build(g, &heads->program, "attention_cuda", defines, texts, 3, err));
    const gpu_driver *driver = g->device->driver;
#define X(name) FACET_TRY(driver->kernel_new(g->device, &heads->name, heads->program, #name, err));
    GPU_HEADS(X)
#undef X
    return FACET_OK;
}

facet_status gpu_programs_open(gpu *g, facet_error *err) {
    g->tile_rows = GPU_TILE_ROWS;
    FACET_TRY(choose_groups(g, err));
    FACET_TRY(open_steps(g, err));
    FACET_TRY(open_attention(g, err));
    for (int kind = 0; kind < KV_KINDS; kind++) FACET_TRY(open_heads(g, kind, err));
    return FACET_OK;
}

static facet_status open_product(gpu *g, quant_type type, int variant, bool images, facet_error *err) {
    char defines[200];
    const rows_format *f = rows_format_of(type);
    snprintf(defines, sizeof defines, "-DGROUP=%zu -DPRODUCT_ROWS=%zu -D%s -DTOKENS=%d%s%s%s", g->group,
             g->product_rows, f->define, variant == PRODUCT_MANY ? PRODUCT_TOKENS : 1,
             variant == PRODUCT_EXPERTS ? " -DEXPERTS" : "", images ? " -DUSE_IMAGES" : "",
             g->dot[type] ? " -DUSE_DOT" : "");
    gpu_program **program = &g->product_programs[type][variant][images];
    gpu_kernel **kernel = &g->product_kernels[type][variant][images];
    const gpu_text floats[] = {GPU_TEXT(product_float)}, codes[] = {GPU_TEXT(blocks), GPU_TEXT(product)};
    FACET_TRY(f->input == ROWS_FLOAT ? gpu_program_build(g, program, f->define, defines, floats, 1, err)
                                     : gpu_program_build(g, program, f->define, defines, codes, 2, err));
    return g->device->driver->kernel_new(g->device, kernel, *program, "product", err);
}

/* The programs of one matrix. */
static facet_status open_products(gpu *g, const gpu_matrix *m, facet_error *err) {
    bool images = m->words.image != NULL;
    int first = m->expert_groups ? PRODUCT_EXPERTS : PRODUCT_ONE,
        end = m->expert_groups ? PRODUCT_VARIANTS : PRODUCT_EXPERTS;
    for (int v = first; v < end; v++) {
        if (!g->product_kernels[m->type][v][images]) FACET_TRY(open_product(g, m->type, v, images, err));
    }
    return gpu_tiles_open(g, m, err);
}

facet_status gpu_products_open(gpu *g, facet_error *err) {
    for (size_t i = 0; i < g->w->n_matrices;) {
        const gpu_matrix *m = &g->matrices[i];
        facet_status status = m->of ? open_products(g, m, err) : FACET_OK;
        if (status == FACET_OK)
            i++;
        else if (gpu_ways_give_up(g, m->type))
            i = 0; /* once more, without it */
        else
            return status;
    }
    return FACET_OK;
}

void gpu_products_close(gpu *g, quant_type type) {
    const gpu_driver *driver = g->device->driver;
    for (int i = 0; i < 2 * PRODUCT_VARIANTS; i++) {
        gpu_kernel **kernel = &g->product_kernels[type][i / 2][i % 2];
        gpu_program **program = &g->product_programs[type][i / 2][i % 2];
        driver->kernel_free(g->device, *kernel);
        driver->program_free(g->device, *program);
        *kernel = NULL;
        *program = NULL;
    }
    gpu_tiles_close(g, type);
}

void gpu_programs_close(gpu *g) {
    const gpu_driver *driver = g->device->driver;
    gpu_decode_close(g);
#define X(name) driver->kernel_free(g->device, g->name);
    GPU_STEPS(X)
    GPU_ATTENTION(X)
#undef X
    for (int type = 0; type < QUANT_N_TYPES; type++) gpu_products_close(g, (quant_type)type);
    for (int kind = 0; kind < KV_KINDS; kind++) {
#define X(name) driver->kernel_free(g->device, g->heads[kind].name);
        GPU_HEADS(X)
#undef X
        driver->program_free(g->device, g->heads[kind].program);
    }
    driver->kernel_free(g->device, g->group_slots);
    driver->program_free(g->device, g->grouping_program);
    driver->program_free(g->device, g->steps_program);
    driver->program_free(g->device, g->attention_program);
}
