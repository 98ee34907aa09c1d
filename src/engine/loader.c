/* The loader: a stream whose front becomes a model. Owns: the stream, the directory of its tensors, the model once
 * somebody wanted it. What has arrived is source/stream.h's business, what a step waits for arrival.h's. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/model.h"

enum { FIRST_LOOK = 4096, NEXT_LOOK = 1 << 16 }; /* bytes */

struct facet_loader {
    facet_loader_options options; /* but sha256, which is the stream's */
    stream *stream;
    pthread_mutex_t lock; /* of what follows */
    gguf_file *directory; /* NULL: not whole yet */
    size_t next_look;     /* bytes from the start on that are worth another look for it */
    facet_model *model;   /* NULL: nobody wanted it yet */
};

void facet_loader_options_defaults(facet_loader_options *o) {
    *o = (facet_loader_options){.size = sizeof *o, .timeout_seconds = 60};
}

static facet_status check_options(const facet_loader_options *o, facet_error *err) {
    if (!o) return error_set(err, FACET_ERROR_ARGUMENT, "a loader needs options: the size of the file");
    FACET_TRY(options_check("facet_loader_options", o->size, sizeof *o, err));
    if (o->n_bytes == 0 || o->n_bytes > SIZE_MAX / 2) {
        return error_set(err, FACET_ERROR_ARGUMENT,
                         "facet_loader_options.n_bytes is %llu, which is no size of a file",
                         (unsigned long long)o->n_bytes);
    }
    if (isnan(o->timeout_seconds) || o->timeout_seconds < 0) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_loader_options.timeout_seconds is %g, expected 0 or more",
                         o->timeout_seconds);
    }
    return FACET_OK;
}

facet_status facet_loader_new(facet_loader **out, const facet_loader_options *options, facet_error *err) {
    *out = NULL;
    error_clear(err);
    FACET_TRY(check_options(options, err));
    facet_loader *l = calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l);
    facet_status status = stream_new(&l->stream, (size_t)options->n_bytes, options->sha256, err);
    if (status != FACET_OK) {
        free(l);
        return status;
    }
    pthread_mutex_init(&l->lock, NULL);
    l->options = *options;
    l->options.sha256 = NULL;
    l->next_look = options->n_bytes < FIRST_LOOK ? (size_t)options->n_bytes : FIRST_LOOK;
    *out = l;
    return FACET_OK;
}

void facet_loader_free(facet_loader *l) {
    if (!l) return;
    stream_fail(l->stream, FACET_ERROR_STATE, "the loader was freed before the whole model had arrived");
    facet_model_free(l->model);
    gguf_free(l->directory);
    stream_free(l->stream);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- the directory */

static facet_status read_front(const facet_loader *l, size_t prefix, facet_error *err) {
    gguf_file *front;
    const gguf_part part = {stream_data(l->stream), prefix};
    FACET_TRY(gguf_open(&front, &part, 1, &(gguf_options){.header_only = true}, err));
    gguf_free(front);
    return FACET_OK;
}

/* Once the front is a directory, reading it again as that of the whole file goes no further. */
static facet_status read_whole(facet_loader *l, facet_error *err) {
    const gguf_part part = {stream_data(l->stream), stream_bytes(l->stream)};
    return gguf_open(&l->directory, &part, 1, &(gguf_options){.header_only = l->options.vocabulary_only}, err);
}

/* FACET_OK also when the directory is not whole yet. Looks are so far apart that all of them together cost a few. */
static facet_status look_locked(facet_loader *l, facet_error *err) {
    size_t prefix = stream_prefix(l->stream), whole = stream_bytes(l->stream);
    size_t step = prefix / 8 > NEXT_LOOK ? prefix / 8 : NEXT_LOOK;
    facet_error found;
    if (l->directory || prefix < l->next_look) return FACET_OK;
    facet_status status = read_front(l, prefix, &found);
    if (status == FACET_ERROR_TRUNCATED && prefix < whole) {
        l->next_look = whole - prefix < step ? whole : prefix + step;
        return FACET_OK;
    }
    if (status == FACET_OK) status = read_whole(l, &found);
    if (status == FACET_OK) return FACET_OK;
    if (status != FACET_ERROR_MEMORY) stream_fail(l->stream, status, found.message);
    return error_at(err, status, found.position, "%s", found.message);
}

static facet_status look(facet_loader *l, facet_error *err) {
    pthread_mutex_lock(&l->lock);
    facet_status status = look_locked(l, err);
    pthread_mutex_unlock(&l->lock);
    return status;
}

/* ---- feeding */

facet_status facet_loader_feed(facet_loader *l, uint64_t offset, const void *bytes, size_t n_bytes,
                               facet_error *err) {
    error_clear(err);
    FACET_TRY(stream_feed(l->stream, offset, bytes, n_bytes, err));
    return look(l, err);
}

void facet_loader_fail(facet_loader *l, facet_status status, const char *message) {
    if (status == FACET_OK) status = FACET_ERROR_IO;
    stream_fail(l->stream, status, message ? message : "the model's bytes stopped coming");
}

void facet_loader_cancel(facet_loader *l) {
    stream_fail(l->stream, FACET_ERROR_CANCELLED, "the loading was cancelled");
}

facet_status facet_loader_get_progress(facet_loader *l, facet_loader_progress *p) {
    FACET_TRY(options_check("facet_loader_progress", p->size, sizeof *p, NULL));
    *p = (facet_loader_progress){
        .size = sizeof *p, .n_bytes = stream_arrived(l->stream), .total_bytes = stream_bytes(l->stream)};
    pthread_mutex_lock(&l->lock);
    p->has_directory = l->directory != NULL;
    p->total_tensors = l->directory ? gguf_n_tensors(l->directory) : 0;
    for (size_t i = 0; i < p->total_tensors; i++) {
        const gguf_tensor *t = gguf_tensor_at(l->directory, i);
        p->n_tensors += stream_has(l->stream, (size_t)t->offset, (size_t)(t->offset + t->n_bytes));
    }
    pthread_mutex_unlock(&l->lock);
    return FACET_OK;
}

bool facet_loader_missing(facet_loader *l, uint64_t from, uint64_t *offset, uint64_t *n_bytes) {
    range hole;
    if (from >= stream_bytes(l->stream) || !stream_hole(l->stream, (size_t)from, &hole)) return false;
    *offset = hole.begin;
    *n_bytes = hole.end - hole.begin;
    return true;
}

/* ---- the model */

static facet_status make_model_locked(facet_loader *l, facet_error *err) {
    if (l->model) return FACET_OK;
    facet_model_options options;
    facet_model_options_defaults(&options);
    options.vocabulary_only = l->options.vocabulary_only;
    options.log = l->options.log;
    options.log_ctx = l->options.log_ctx;
    facet_status status = model_open_stream(&l->model, l->stream, l->options.timeout_seconds, &options, err);
    if (status != FACET_OK && status != FACET_ERROR_MEMORY && err) stream_fail(l->stream, status, err->message);
    return status;
}

/* Makes it where the directory is there; *need gets how many bytes from the start on are worth another look. */
static facet_status take_model(facet_loader *l, facet_model **out, size_t *need, facet_error *err) {
    pthread_mutex_lock(&l->lock);
    facet_status status = look_locked(l, err);
    if (status == FACET_OK && l->directory) status = make_model_locked(l, err);
    if (status == FACET_OK && l->model) *out = model_ref(l->model);
    *need = l->next_look;
    pthread_mutex_unlock(&l->lock);
    return status;
}

facet_status facet_loader_open(facet_loader *l, facet_model **out, facet_error *err) {
    *out = NULL;
    error_clear(err);
    facet_error unused;
    if (!err) err = &unused;
    for (;;) {
        size_t need;
        FACET_TRY(stream_failure(l->stream, err));
        FACET_TRY(take_model(l, out, &need, err));
        if (*out) return FACET_OK;
        FACET_TRY(stream_wait(l->stream, 0, need, l->options.timeout_seconds, NULL, NULL, err));
    }
}

facet_status facet_loader_finish(facet_loader *l, facet_model **out, facet_error *err) {
    facet_model *m;
    *out = NULL;
    error_clear(err);
    FACET_TRY(stream_finish(l->stream, err));
    FACET_TRY(facet_loader_open(l, &m, err));
    facet_status status = arrival_wait(m->arrival, weights_stage_head(&m->hparams), NULL, NULL, err);
    if (status != FACET_OK)
        facet_model_free(m);
    else
        *out = m;
    return status;
}
