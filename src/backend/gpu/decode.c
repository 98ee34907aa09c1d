/* Products for few tokens, each with what stands before and behind it in one launch, for devices that run warps: the
 * programs of cuda/kernels/decode.cu, made when they are first needed. Owns: what fits into such a program, its
 * definitions and its arguments. See parts.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/parts.h"

/* Sizes of the kernels' text. */
enum { MOST_ROWS = 8, THREADS = 512, RESULT_BYTES = 2 * 2560 * 4, STAGE_BYTES = 24 << 10, OTHER_BYTES = 2 << 10 };

/* What makes a program. Filled with zeros first, since it is compared as bytes. */
typedef struct decode_key {
    size_t n_cols, tokens, staged, item_columns, kinds;
    size_t n_matrices, n_formats, format_of[3];
    quant_type formats[3];
    gpu_ending ending;
    bool stream, experts, halves;
} decode_key;

struct gpu_decode_program {
    gpu_decode_program *next;
    decode_key key;
    gpu_program *program;
    gpu_kernel *kernel; /* NULL: it was tried once; the launches for each step do as well */
    bool known;
};

/* ---- what fits */

static size_t item_columns(quant_type type) {
    if (rows_format_of(type)->input == ROWS_CODES_256) return 256;
    return type == QUANT_NVFP4 ? 16 : 32;
}

static bool add_format(decode_key *k, quant_type type) {
    size_t i = 0;
    while (i < k->n_formats && k->formats[i] != type) i++;
    if (i == k->n_formats) k->formats[k->n_formats++] = type;
    k->format_of[k->n_matrices++] = i;
    if (rows_format_of(type)->minima) k->kinds = 4;
    return item_columns(type) == k->item_columns;
}

static size_t local_bytes(const decode_key *k) {
    size_t block = k->item_columns == 256 ? 256 : 32, stage = k->staged * k->n_cols * 4;
    size_t input = k->tokens * (k->n_cols + k->n_cols / block * 4 + k->n_cols / 8);
    return input + (stage > RESULT_BYTES ? stage : RESULT_BYTES) + OTHER_BYTES;
}

/* As many tokens together as there are, or fit. */
static bool choose_tokens(const gpu *g, decode_key *k, size_t n_tokens) {
    k->tokens = k->experts || n_tokens < 2 ? 1 : n_tokens < 3 ? 2 : 4;
    for (; k->tokens; k->tokens /= 2) {
        k->staged = k->stream ? k->tokens : 0;
        while (k->staged > 1 && k->staged * k->n_cols * 4 > STAGE_BYTES) k->staged /= 2;
        if (local_bytes(k) <= g->device->limits.local_bytes) return true;
    }
    return false;
}

/* False: products of other kinds, on other devices, with adapters behind them. */
static bool choose_program(const gpu *g, const gpu_join *j, decode_key *k) {
    const gpu_limits *l = &g->device->limits;
    const gpu_matrix *first = &g->matrices[j->products[0].w->index];
    memset(k, 0, sizeof *k);
    size_t n_rows = j->per_row ? j->n_tokens / j->per_row : j->n_tokens;
    if (!l->warps || l->group < THREADS || n_rows == 0 || n_rows > MOST_ROWS || gpu_adapted(g)) return false;
    if (first->input == ROWS_FLOAT) return false;
    k->n_cols = first->n_cols;
    k->kinds = 2;
    k->item_columns = item_columns(first->type);
    k->ending = j->ending;
    k->stream = !j->from.values;
    k->experts = j->per_row > 0;
    k->halves = j->halves != NULL;
    for (size_t i = 0; i < j->n; i++) {
        const gpu_matrix *m = &g->matrices[j->products[i].w->index];
        if (m->input == ROWS_FLOAT || !add_format(k, m->type)) return false;
    }
    return choose_tokens(g, k, j->n_tokens);
}

/* ---- programs */

static const char *ending_define(gpu_ending ending) {
    switch (ending) {
    case GPU_GATED: return " -DGATED";
    case GPU_EMBEDDED: return " -DEMBEDDED";
    case GPU_CAPPED: return " -DCAPPED";
    case GPU_PLAIN: break;
    }
    return "";
}

/* A format's part: a namespace around its texts. */
typedef struct wrapping {
    char begin[100], end[60];
} wrapping;

static gpu_text text_of(const char *string) { return (gpu_text){string, strlen(string)}; }

static facet_status build(gpu *g, gpu_decode_program *p, facet_error *err) {
    const decode_key *k = &p->key;
    wrapping wrap[3];
    gpu_text texts[GPU_MOST_TEXTS] = {GPU_TEXT(decode_begin)};
    size_t n = 1;
    char defines[400];
    for (size_t i = 0; i < k->n_formats; i++) {
        const char *define = rows_format_of(k->formats[i])->define;
        snprintf(wrap[i].begin, sizeof wrap[i].begin, "\nnamespace format_%zu {\n#define %s\n", i, define);
        snprintf(wrap[i].end, sizeof wrap[i].end, "\n#undef %s\n}\n", define);
        texts[n++] = text_of(wrap[i].begin);
        texts[n++] = GPU_TEXT(blocks);
        texts[n++] = GPU_TEXT(decode_unit);
        texts[n++] = text_of(wrap[i].end);
    }
    texts[n++] = GPU_TEXT(decode);
    snprintf(defines, sizeof defines,
             "-DGROUP=%zu -DCOLUMNS=%zu -DTOKENS=%zu -DITEM_COLUMNS=%zu -DRESULT_KINDS=%zu -DMATRICES=%zu "
             "-DFORMATS=%zu -DFORMAT_OF_0=%zu -DFORMAT_OF_1=%zu -DFORMAT_OF_2=%zu -DSTAGED=%zu%s%s%s%s",
             g->group, k->n_cols, k->tokens, k->item_columns, k->kinds, k->n_matrices, k->n_formats, k->format_of[0],
             k->format_of[1], k->format_of[2], k->staged, k->stream ? " -DSTREAM" : "", ending_define(k->ending),
             k->halves ? " -DHALVES" : "", k->experts ? " -DEXPERTS" : "");
    FACET_TRY(gpu_program_build(g, &p->program, "decode", defines, texts, n, err));
    return g->device->driver->kernel_new(g->device, &p->kernel, p->program, "decode", err);
}

static void close_program(gpu *g, gpu_decode_program *p) {
    g->device->driver->kernel_free(g->device, p->kernel);
    g->device->driver->program_free(g->device, p->program);
    p->kernel = NULL;
    p->program = NULL;
}

void gpu_decode_give_up(gpu *g, gpu_decode_program *p, const char *why) {
    char line[600];
    close_program(g, p);
    snprintf(line, sizeof line, "a launch for each step: %s", why);
    if (g->options.log) g->options.log(g->options.log_ctx, line);
}

static gpu_decode_program *find(gpu *g, const decode_key *key) {
    facet_error error;
    for (gpu_decode_program *p = g->decode_programs; p; p = p->next) {
        if (memcmp(&p->key, key, sizeof *key) == 0) return p->kernel ? p : NULL;
    }
    gpu_decode_program *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    memcpy(&p->key, key, sizeof *key);
    p->next = g->decode_programs;
    g->decode_programs = p;
    if (build(g, p, &error) == FACET_OK) return p;
    gpu_decode_give_up(g, p, error.message);
    return NULL;
}

gpu_decode_program *gpu_decode_find(gpu *g, const gpu_join *j) {
    decode_key key;
    return g->status == FACET_OK && choose_program(g, j, &key) ? find(g, &key) : NULL;
}

bool gpu_decode_is_new(gpu_decode_program *p) {
    bool known = p->known;
    p->known = true;
    return !known;
}

void gpu_decode_close(gpu *g) {
    while (g->decode_programs) {
        gpu_decode_program *p = g->decode_programs;
        g->decode_programs = p->next;
        close_program(g, p);
        free(p);
    }
}

/* ---- launches */

typedef struct arguments {
    gpu_argument list[32];
    size_t n;
} arguments;

static void add(arguments *a, gpu_argument value) { a->list[a->n++] = value; }

static void add_source(gpu *g, arguments *a, gpu_from from) {
    if (from.values) {
        add(a, GPU_PTR(from.values));
        return;
    }
    const gpu_argument all[] = {GPU_PTR(g->x_now), GPU_BUF(g->y),      GPU_PTR(g->x_spare), GPU_I(from.after),
                                GPU_I(from.scale), GPU_I(from.before), GPU_F(g->h->eps)};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) add(a, all[i]);
}

static void add_ending(gpu *g, arguments *a, const gpu_join *j) {
    const gpu_matrix *m = &g->matrices[j->products[0].w->index];
    size_t first = g->part_first[g->part], end = g->part_end[g->part];
    if (j->per_row) {
        add(a, GPU_BUF(g->chosen));
        add(a, GPU_I(m->expert_groups));
        add(a, GPU_I(j->per_row));
    }
    if (j->ending == GPU_EMBEDDED) {
        add(a, GPU_BUF(g->ple[g->part]));
        add(a, GPU_I((end - first) * m->n_rows));
        add(a, GPU_I((j->layer - first) * m->n_rows));
    }
    if (j->ending == GPU_CAPPED) add(a, GPU_F(g->h->soft_cap));
}

static void add_matrix(const gpu *g, arguments *a, const gpu_join_product *p) {
    const gpu_matrix *m = &g->matrices[p->w->index];
    add(a, GPU_BUF(m->words));
    add(a, GPU_I(m->row_words));
    add(a, GPU_I(p->first_row));
    add(a, GPU_I(p->n_rows));
    add(a, GPU_I(m->scale_at));
    add(a, GPU_PTR(p->out));
}

/* Groups of threads that share the rows: about one for each processor, at least eight rows (gated: of each) for one.
 */
static size_t row_shares(const gpu *g, const gpu_join *j, size_t groups_y) {
    size_t octets = 0, processors = g->device->limits.processors;
    for (size_t i = 0; i < j->n; i++) octets += gpu_groups(j->products[i].n_rows, 8);
    if (j->ending == GPU_GATED) octets = gpu_groups(j->halves ? j->products[0].n_rows / 2 : j->products[0].n_rows, 8);
    size_t shares = gpu_groups(processors, groups_y);
    return shares < octets ? shares : octets;
}

bool gpu_decode(gpu *g, const gpu_join *j) {
    const gpu_decode_program *p = gpu_decode_find(g, j);
    if (!p) return false;
    arguments a = {.n = 0};
    size_t groups_y = gpu_groups(j->n_tokens, p->key.tokens);
    add(&a, GPU_BUF(g->vectors));
    add(&a, GPU_I(j->n_tokens));
    add_source(g, &a, j->from);
    add_ending(g, &a, j);
    for (size_t i = j->n; i-- > 0;) add_matrix(g, &a, &j->products[i]);
    gpu_launch(g, p->kernel, row_shares(g, j, groups_y), groups_y, THREADS, a.list, a.n);
    if (!j->from.values) { /* the stream goes on where it was written */
        gpu_buffer *x = g->x_now;
        g->x_now = g->x_spare;
        g->x_spare = x;
    }
    return true;
}
