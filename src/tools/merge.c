/* Merging adapters. See merge.h. The sums are those of an adapter that is put on a model (contract, rule 5), taken
 * before the product instead of behind it: W[r][c] += s * sum over k of B[r][k] * A[k][c], s = scale * alpha / rank,
 * adapter after adapter, each sum in floats, k ascending. */
#include "merge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_view.h"
#include "lora/lora.h"

enum { COLUMNS = 512 }; /* that are summed at once */

/* What one adapter adds to one matrix, or to one for each expert. */
typedef struct change_part {
    const matrix *a, *b;
    bool turned; /* a is [in, rank] */
    float factor;
    size_t rank;
    const float *a_rows; /* while the tensor is written: [experts][rank][in] */
} change_part;

typedef struct change {
    merge *m;
    struct change *next;
    size_t n_cols, n_rows, n_experts;
    const float *scale; /* NULL, or what products with the matrix are multiplied with: one, or one for each expert */
    size_t n;
    change_part parts[];
} change;

struct merge {
    hparams h;
    weights w;
    size_t n;
    facet_gguf **files;
    lora_adapter *adapters;
    float *scales;
    change *changes;
    float *floats; /* A of the tensor that is written */
    size_t n_floats;
};

/* ---- the numbers */

static void add_part(const change_part *p, size_t row, const float *a, size_t n_cols, size_t n, float scale,
                     float *out) {
    float b[LORA_MAX_RANK];
    cpu_row(p->b, row, b);
    for (size_t begin = 0; begin < n; begin += COLUMNS) {
        size_t width = n - begin < COLUMNS ? n - begin : COLUMNS;
        float sum[COLUMNS] = {0};
        for (size_t k = 0; k < p->rank; k++) {
            const float *from = a + k * n_cols + begin;
            for (size_t i = 0; i < width; i++) sum[i] += b[k] * from[i];
        }
        for (size_t i = 0; i < width; i++) out[begin + i] += p->factor / scale * sum[i];
    }
}

static void read_merged(const flow_tensor *t, uint64_t first, size_t n, float *out) {
    const change *c = t->source;
    t->from->dequantise(t->data + first / t->from->block * t->from->block_bytes, out, n / t->from->block);
    for (size_t i = 0; i < n;) {
        size_t row = (size_t)((first + i) / c->n_cols), column = (size_t)((first + i) % c->n_cols);
        size_t run = n - i < c->n_cols - column ? n - i : c->n_cols - column, expert = row / c->n_rows;
        float scale = c->scale ? c->scale[c->n_experts > 1 ? expert : 0] : 1.0f;
        for (size_t k = 0; k < c->n; k++) {
            const change_part *p = &c->parts[k];
            add_part(p, row, p->a_rows + expert * p->rank * c->n_cols + column, c->n_cols, run, scale, out + i);
        }
        i += run;
    }
}

/* ---- A as floats, for one tensor at a time */

static void copy_a(const change *c, const change_part *p, float *out) {
    float row[LORA_MAX_RANK];
    for (size_t i = 0; !p->turned && i < c->n_experts * p->rank; i++) cpu_row(p->a, i, out + i * c->n_cols);
    for (size_t i = 0; p->turned && i < c->n_cols; i++) {
        cpu_row(p->a, i, row);
        for (size_t k = 0; k < p->rank; k++) out[k * c->n_cols + i] = row[k];
    }
}

static facet_status prepare(flow_tensor *t, facet_error *error) {
    change *c = t->source;
    merge *m = c->m;
    size_t n = 0, at = 0; /* sizes of what lies in files: no overflow */
    for (size_t k = 0; k < c->n; k++) n += c->n_experts * c->parts[k].rank * c->n_cols;
    if (n > m->n_floats) {
        free(m->floats);
        m->n_floats = 0;
        m->floats = malloc(n * sizeof *m->floats);
        if (!m->floats) return error_memory(error, n * sizeof *m->floats);
        m->n_floats = n;
    }
    for (size_t k = 0; k < c->n; k++) {
        c->parts[k].a_rows = m->floats + at;
        copy_a(c, &c->parts[k], m->floats + at);
        at += c->n_experts * c->parts[k].rank * c->n_cols;
    }
    return FACET_OK;
}

/* ---- which adapter changes what */

static bool is(gguf_string name, const char *text) {
    return name.n == strlen(text) && !memcmp(name.data, text, name.n);
}

static bool part_of(const merge *m, size_t i, gguf_string name, const weight *w, change_part *out) {
    const lora_adapter *a = &m->adapters[i];
    const lora_rows *rows = is(name, "token_embd.weight")             ? &a->token_embd
                            : is(name, "per_layer_token_embd.weight") ? &a->per_layer_token_embd
                                                                      : NULL;
    const lora_pair *pair = &a->pairs[w->index];
    if (!(rows ? rows->rows.format : pair->a.format)) return false;
    *out = (change_part){.a = rows ? &rows->columns : &pair->a, .b = rows ? &rows->rows : &pair->b, .turned = rows};
    out->rank = rows ? rows->rows.n_cols : pair->a.n_rows;
    lora_use use = {.adapter = a, .scale = m->scales[i]};
    out->factor = lora_factor(&use, out->rank);
    return true;
}

facet_status merge_attach(merge *m, flow_tensor *t, facet_error *error) {
    weight_place place;
    if (!t->from || !weights_find(&m->w, &m->h, t->name.data, t->name.n, &place) || !place.w) return FACET_OK;
    change *c = calloc(1, sizeof *c + m->n * sizeof c->parts[0]);
    if (!c) return error_memory(error, sizeof *c);
    for (size_t i = 0; i < m->n; i++) c->n += part_of(m, i, t->name, place.w, &c->parts[c->n]);
    if (!c->n) {
        free(c);
        return FACET_OK;
    }
    c->m = m;
    c->n_cols = (size_t)place.n_cols;
    c->n_rows = (size_t)place.n_rows;
    c->n_experts = place.n_experts ? place.n_experts : 1;
    c->scale = place.w->scale;
    c->next = m->changes;
    m->changes = c;
    t->read = read_merged;
    t->prepare = prepare;
    t->source = c;
    return FACET_OK;
}

/* ---- opening */

static facet_status open_adapter(merge *m, const facet_merge *use, facet_error *error) {
    size_t i = m->n;
    if (!isfinite(use->scale)) {
        return error_set(error, FACET_ERROR_ARGUMENT, "the scale of '%s' is not a finite number", use->path);
    }
    FACET_TRY(facet_gguf_open(&m->files[i], use->path, false, error));
    m->n++;
    m->scales[i] = use->scale;
    facet_status status = lora_read(&m->adapters[i], m->files[i]->file, &m->w, &m->h, error);
    if (status != FACET_OK) source_blame(use->path, error);
    return status;
}

static facet_status open_all(merge *m, const gguf_file *base, const facet_merge *uses, size_t n, facet_error *error) {
    m->files = calloc(n + 1, sizeof(facet_gguf *));
    m->adapters = calloc(n + 1, sizeof *m->adapters);
    m->scales = calloc(n + 1, sizeof *m->scales);
    if (!m->files || !m->adapters || !m->scales) return error_memory(error, n * sizeof *m->adapters);
    FACET_TRY(hparams_read(&m->h, base, error));
    FACET_TRY(weights_bind(&m->w, &m->h, base, error));
    for (size_t i = 0; i < n; i++) FACET_TRY(open_adapter(m, &uses[i], error));
    return FACET_OK;
}

facet_status merge_open(merge **out, const gguf_file *base, const facet_merge *uses, size_t n, facet_error *error) {
    *out = NULL;
    merge *m = calloc(1, sizeof *m);
    if (!m) return error_memory(error, sizeof *m);
    facet_status status = open_all(m, base, uses, n, error);
    if (status != FACET_OK) {
        merge_free(m);
        return status;
    }
    *out = m;
    return FACET_OK;
}

void merge_free(merge *m) {
    if (!m) return;
    for (size_t i = 0; i < m->n; i++) {
        lora_free(&m->adapters[i]);
        facet_gguf_free(m->files[i]);
    }
    for (change *c = m->changes, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(m->files);
    free(m->adapters);
    free(m->scales);
    free(m->floats);
    weights_free(&m->w);
    hparams_free(&m->h);
    free(m);
}
