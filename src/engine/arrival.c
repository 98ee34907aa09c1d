/* See arrival.h. */
#include "engine/arrival.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A tensor's bytes and when they are read. */
typedef struct due {
    uint32_t stage;
    size_t begin, end;
} due;

struct arrival {
    stream *stream;
    double timeout;
    weights *weights;
    const hparams *hparams;
    due *dues; /* by stage */
    size_t n_dues;
    atomic_uint n_ready;  /* stages that are there */
    pthread_mutex_t lock; /* of making them so */
};

static int by_stage(const void *a, const void *b) {
    const due *x = a, *y = b;
    return (x->stage > y->stage) - (x->stage < y->stage);
}

static facet_status list_dues(arrival *a, const gguf_file *file, facet_error *err) {
    a->n_dues = gguf_n_tensors(file);
    a->dues = calloc(a->n_dues, sizeof *a->dues);
    if (!a->dues) return error_memory(err, a->n_dues * sizeof *a->dues);
    for (size_t i = 0; i < a->n_dues; i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        a->dues[i] = (due){weights_stage(a->hparams, t->name), (size_t)t->offset, (size_t)(t->offset + t->n_bytes)};
    }
    qsort(a->dues, a->n_dues, sizeof *a->dues, by_stage);
    return FACET_OK;
}

facet_status arrival_new(arrival **out, stream *from, double timeout, const gguf_file *file, weights *w,
                         const hparams *h, facet_error *err) {
    *out = NULL;
    arrival *a = calloc(1, sizeof *a);
    if (!a) return error_memory(err, sizeof *a);
    pthread_mutex_init(&a->lock, NULL);
    a->stream = stream_ref(from);
    a->timeout = timeout;
    a->weights = w;
    a->hparams = h;
    facet_status status = list_dues(a, file, err);
    if (status != FACET_OK)
        arrival_free(a);
    else
        *out = a;
    return status;
}

void arrival_free(arrival *a) {
    if (!a) return;
    pthread_mutex_destroy(&a->lock);
    stream_free(a->stream);
    free(a->dues);
    free(a);
}

static void make_ready(arrival *a, uint32_t stage) {
    pthread_mutex_lock(&a->lock);
    for (uint32_t s = atomic_load(&a->n_ready); s <= stage; s++) {
        weights_arrived(a->weights, a->hparams, s);
        atomic_store(&a->n_ready, s + 1);
    }
    pthread_mutex_unlock(&a->lock);
}

/* A cancelled loader is no cancelled session. */
static facet_status tell(facet_status status, facet_error *err) {
    facet_error inner = err ? *err : (facet_error){0};
    if (status != FACET_ERROR_CANCELLED) return status;
    return error_set(err, FACET_ERROR_STATE, "the model is not there: %s", inner.message);
}

facet_status arrival_wait(arrival *a, uint32_t stage, stream_stop_fn stop, void *ctx, facet_error *err) {
    if (!a) return FACET_OK;
    facet_status status = stream_failure(a->stream, err);
    if (status != FACET_OK) return tell(status, err);
    uint32_t ready = atomic_load(&a->n_ready);
    if (ready > stage) return FACET_OK;
    for (size_t i = 0; i < a->n_dues && a->dues[i].stage <= stage; i++) {
        const due *d = &a->dues[i];
        if (d->stage < ready) continue;
        status = stream_wait(a->stream, d->begin, d->end, a->timeout, stop, ctx, err);
        if (status == FACET_OK) continue;
        return stream_failure(a->stream, NULL) != FACET_OK ? tell(status, err) : status;
    }
    make_ready(a, stage);
    return FACET_OK;
}
