/* A step of many sessions: which requests take part with how many tokens, and its computation. Owns: the lists of a
 * step and the logits of several sessions. Knows nothing of threads and waiting. */
#ifndef FACET_ENGINE_BATCH_H
#define FACET_ENGINE_BATCH_H

#include "backend/backend.h"
#include "engine/arrival.h"
#include "engine/request.h"

typedef struct batch {
    backend *backend; /* borrowed */
    forward *forward; /* borrowed: the CPU's part of it */
    kv_cache *kv;     /* borrowed */
    size_t ubatch, n_vocab, n_embd;
    float *logits; /* [FORWARD_HEAD_ROWS][n_vocab]: untouched pages until two sessions decode together */
    size_t logits_bytes;
    forward_segment *segments; /* [ubatch] */
    request **tokens;          /* [ubatch] those of the segments; the first n_logits want logits */
    size_t n_tokens, n_logits;
    size_t n_rows;    /* tokens in all */
    request *heads;   /* rows to be turned into logits, a list */
    arrival *arrival; /* borrowed; NULL: the model is there */
    uint32_t head_stage;
    stream_stop_fn stop;
    void *stop_ctx;
    facet_status missed; /* why the model's tensors did not come, of the step that is computed */
    facet_error *missed_err;
    bool lost; /* a step failed because the device did */
} batch;

facet_status batch_open(batch *b, backend *on, forward *f, kv_cache *kv, size_t ubatch, size_t n_vocab, size_t n_embd,
                        facet_error *err);
void batch_close(batch *b);

/* Takes the requests of the next step out of `*queue` and makes room for their tokens in the KV cache. Single tokens
 * go first, prompts share what is left of the ubatch; who finds no place stays in front of the queue. Requests that
 * are cancelled or get no memory are `done` with their status and returned as a list. */
request *batch_form(batch *b, request **queue);
/* The model is still arriving: steps wait for its tensors, until `stop` says that there is something else to do. */
void batch_await(batch *b, arrival *a, const hparams *h, stream_stop_fn stop, void *ctx);
/* Some request of the step or of the queue is. */
bool batch_has_cancelled(const batch *b, const request *queue);
/* Computes what was formed. It can fail only when the model is still arriving, and then nothing was computed:
 * FACET_ERROR_CANCELLED when `stop` ended the waiting, or the failure of the arrival. */
facet_status batch_compute(batch *b, facet_error *err);
/* Takes a step that failed apart: its requests are as they were before it, in their order. */
request *batch_undo(batch *b);

static inline size_t request_left(const request *r) { return r->end - kv_sequence_length(r->kv); }

#endif
