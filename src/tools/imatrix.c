/* Collecting the importance of columns. See facet_tools.h. Owns: the sums and the file. The file is the one of
 * llama.cpp's imatrix program: for each tensor NAME.in_sum2 [n_matrices, n_columns], the sums of squares, and
 * NAME.counts [n_matrices, 1], how many rows went into them; keys imatrix.datasets, .chunk_count and .chunk_size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "facet_tools.h"
#include "gguf/writer.h"
#include "os/output.h"

enum { MAX_NAME = 128 };

typedef struct column_sums {
    char name[MAX_NAME];
    size_t n_columns, n_matrices;
    double *sums;     /* [n_matrices][n_columns]; NULL: no product of it is watched */
    uint64_t *counts; /* [n_matrices] */
} column_sums;

struct facet_importance {
    facet_engine *engine;
    column_sums *matrices; /* by weight.index */
    size_t n, n_chunks, chunk;
};

/* Different matrices and experts may be told at once: each has its own numbers. */
static void on_product(void *ctx, const weight *w, uint32_t expert, const float *x, const uint32_t *rows,
                       size_t n_rows) {
    facet_importance *im = ctx;
    column_sums *m = &im->matrices[w->index];
    if (!m->sums) return;
    double *sums = m->sums + expert * m->n_columns;
    for (size_t i = 0; i < n_rows; i++) {
        const float *row = x + (rows ? rows[i] : i) * m->n_columns;
        for (size_t k = 0; k < m->n_columns; k++) sums[k] += (double)row[k] * (double)row[k];
    }
    m->counts[expert] += n_rows;
}

/* ---- life */

static facet_status add_matrix(facet_importance *im, const gguf_tensor *t, facet_error *error) {
    const facet_model *model = im->engine->model;
    weight_place place;
    if (t->name.n >= MAX_NAME - 10 ||
        !weights_find(&model->weights, &model->hparams, t->name.data, t->name.n, &place) || !place.w) {
        return FACET_OK;
    }
    column_sums *m = &im->matrices[place.w->index];
    snprintf(m->name, sizeof m->name, "%.*s", (int)t->name.n, t->name.data);
    m->n_columns = (size_t)place.n_cols;
    m->n_matrices = place.n_experts ? place.n_experts : 1;
    m->sums = calloc(m->n_matrices * m->n_columns, sizeof *m->sums);
    m->counts = calloc(m->n_matrices, sizeof *m->counts);
    return m->sums && m->counts ? FACET_OK : error_memory(error, m->n_matrices * m->n_columns * sizeof *m->sums);
}

static facet_status add_matrices(facet_importance *im, facet_error *error) {
    const facet_model *model = im->engine->model;
    im->n = model->weights.n_matrices;
    im->matrices = calloc(im->n, sizeof *im->matrices);
    if (!im->matrices) return error_memory(error, im->n * sizeof *im->matrices);
    for (size_t i = 0; i < gguf_n_tensors(model->file); i++) {
        FACET_TRY(add_matrix(im, gguf_tensor_at(model->file, i), error));
    }
    return FACET_OK;
}

facet_status facet_importance_new(facet_importance **out, facet_engine *engine, facet_error *error) {
    *out = NULL;
    facet_importance *im = calloc(1, sizeof *im);
    if (!im) return error_memory(error, sizeof *im);
    im->engine = engine;
    facet_status status = add_matrices(im, error);
    if (status != FACET_OK) {
        facet_importance_free(im);
        return status;
    }
    forward_watch(engine->forward, on_product, im);
    *out = im;
    return FACET_OK;
}

void facet_importance_free(facet_importance *im) {
    if (!im) return;
    forward_watch(im->engine->forward, NULL, NULL);
    for (size_t i = 0; im->matrices && i < im->n; i++) {
        free(im->matrices[i].sums);
        free(im->matrices[i].counts);
    }
    free(im->matrices);
    free(im);
}

static bool ignore_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    (void)ctx, (void)row, (void)logits, (void)n_vocab;
    return true;
}

facet_status facet_importance_add(facet_importance *im, facet_session *session, const int32_t *tokens, size_t n,
                                  facet_error *error) {
    FACET_TRY(facet_session_score(session, tokens, n, 0, ignore_row, NULL, error));
    im->n_chunks++;
    if (n > im->chunk) im->chunk = n;
    return FACET_OK;
}

/* ---- the file */

static facet_status write_file(void *ctx, const void *data, size_t n_bytes, facet_error *error) {
    return os_output_write(ctx, data, n_bytes, error);
}

static bool was_used(const column_sums *m) {
    uint64_t n = 0;
    for (size_t i = 0; m->sums && i < m->n_matrices; i++) n += m->counts[i];
    return n > 0;
}

static void announce(gguf_writer *w, const column_sums *m) {
    char name[MAX_NAME];
    int n = snprintf(name, sizeof name, "%s.in_sum2", m->name);
    gguf_add_tensor(w, (gguf_string){name, (size_t)n}, 0, 2, (uint64_t[]){m->n_columns, m->n_matrices, 1, 1},
                    m->n_columns * m->n_matrices * sizeof(float));
    n = snprintf(name, sizeof name, "%s.counts", m->name);
    gguf_add_tensor(w, (gguf_string){name, (size_t)n}, 0, 2, (uint64_t[]){1, m->n_matrices, 1, 1},
                    m->n_matrices * sizeof(float));
}

static facet_status put_floats(gguf_writer *w, const column_sums *m, facet_error *error) {
    size_t n = m->n_columns * m->n_matrices;
    float *floats = malloc(n * sizeof *floats);
    if (!floats) return error_memory(error, n * sizeof *floats);
    for (size_t i = 0; i < n; i++) floats[i] = (float)m->sums[i];
    facet_status status = gguf_writer_data(w, floats, n * sizeof *floats, error);
    for (size_t i = 0; i < m->n_matrices; i++) floats[i] = (float)m->counts[i]; /* a matrix has a column at least */
    if (status == FACET_OK) status = gguf_writer_data(w, floats, m->n_matrices * sizeof *floats, error);
    free(floats);
    return status;
}

static facet_status write_all(const facet_importance *im, gguf_writer *w, os_output *file, const char *text,
                              facet_error *error) {
    gguf_add_string(w, "general.type", "imatrix", 7);
    gguf_add_strings(w, "imatrix.datasets", 1);
    gguf_add_item(w, text, strlen(text));
    gguf_add_u32(w, "imatrix.chunk_count", (uint32_t)im->n_chunks);
    gguf_add_u32(w, "imatrix.chunk_size", (uint32_t)im->chunk);
    for (size_t i = 0; i < im->n; i++) {
        if (was_used(&im->matrices[i])) announce(w, &im->matrices[i]);
    }
    FACET_TRY(gguf_writer_begin(w, write_file, file, error));
    for (size_t i = 0; i < im->n; i++) {
        if (was_used(&im->matrices[i])) FACET_TRY(put_floats(w, &im->matrices[i], error));
    }
    return gguf_writer_end(w, error);
}

facet_status facet_importance_write(const facet_importance *im, const char *path, const char *text,
                                    facet_error *error) {
    gguf_writer *w = NULL;
    os_output *file = NULL;
    facet_status status = gguf_writer_new(&w, 0, error);
    if (status == FACET_OK) status = os_output_open(&file, path, error);
    if (status == FACET_OK) status = write_all(im, w, file, text, error);
    if (status == FACET_OK) {
        status = os_output_commit(file, error);
    } else {
        os_output_discard(file);
    }
    gguf_writer_free(w);
    return status;
}
