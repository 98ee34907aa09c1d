/* What a session asks of the engine: one step's share of the work. Owned by the caller's stack; the scheduler fills
 * the results while the caller waits. */
#ifndef FACET_ENGINE_REQUEST_H
#define FACET_ENGINE_REQUEST_H

#include <stdatomic.h>

#include "kv/kv.h"
#include "model/forward.h"

typedef struct member member;

/* Either tokens to compute (kv is set), or rows of hidden states to turn into logits (kv is NULL). */
typedef struct request {
    kv_sequence *kv;
    const int32_t *tokens; /* the timeline, from position 0 */
    size_t end;            /* compute up to here, as far as the step has room */
    const lora_set *adapters;
    float *hidden;      /* tokens: gets the hidden states of positions >= hidden_from, NULL: none wanted;
                           else the rows, at most FORWARD_HEAD_ROWS */
    size_t hidden_from; /* tokens */
    float *logits;      /* tokens: gets those after the last token once that is computed, NULL: none wanted;
                           else those of all rows */
    bool tentative;     /* the tokens are guesses: the caller publishes what it keeps of them */
    atomic_bool *cancelled;
    facet_error *err;

    /* results */
    facet_status status;
    size_t n_hidden; /* rows of `hidden`; input where they are turned into logits */

    /* the scheduler's own */
    member *from;
    struct request *next;
    size_t n_granted; /* tokens of the step that is being formed */
    bool done;
} request;

#endif
