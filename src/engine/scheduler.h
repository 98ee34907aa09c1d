/* The scheduler: sessions that are called at the same time share the steps of the forward pass. Owns: the lock of the
 * engine, the queue of requests, and who leads. Knows nothing of timelines, sampling and text.
 *
 * There is no thread of its own. A caller puts its request in the queue; one of the callers leads: it forms a step
 * from the requests that are there, computes it while the lock is free, and wakes those whose request is done. So a
 * lone session computes on its own thread, without a hop. Before a step the leader waits a moment for sessions that
 * were in the last one and are choosing their next token; never longer than a part of a step. */
#ifndef FACET_ENGINE_SCHEDULER_H
#define FACET_ENGINE_SCHEDULER_H

#include <pthread.h>

#include "engine/batch.h"

/* A session's place with the scheduler. */
struct member {
    pthread_cond_t wake;
    uint64_t expected; /* the gathering that counts on it; 0: none does */
    unsigned late;     /* steps for which it was not waited for after it came too late */
    unsigned pause;    /* of these, those still to come */
};

/* Counters since the engine began, for facet_engine_get_stats. */
typedef struct scheduler_counts {
    uint64_t n_steps, n_tokens, n_single_tokens, n_reused_tokens;
    uint64_t n_step_sessions; /* sessions of all steps */
    uint32_t last_sessions, most_sessions;
    uint32_t n_sessions, n_running, n_waiting; /* now */
    double busy_seconds;
    double part_seconds[FACET_N_PARTS];
} scheduler_counts;

typedef struct scheduler {
    pthread_mutex_t lock; /* of everything here and of the KV cache; not held while a step is computed */
    batch batch;          /* the leader's */
    request *queue;
    kv_cache *kv;             /* borrowed: forgotten when a device is lost */
    bool leading;             /* somebody forms or computes a step */
    unsigned n_pausing;       /* callers that want no step to run */
    pthread_cond_t idle;      /* for these */
    pthread_cond_t arrived;   /* for the leader: a request came */
    uint64_t gathering;       /* counts the gatherings, from 1 */
    size_t n_expected;        /* members that the present one counts on */
    double last_step_seconds; /* the longest wait is a part of it */
    scheduler_counts counts;
} scheduler;

facet_status scheduler_open(scheduler *s, backend *b, forward *f, kv_cache *kv, size_t ubatch, size_t n_vocab,
                            size_t n_embd, facet_error *err);
/* The model is still arriving: steps wait for its tensors. */
void scheduler_await(scheduler *s, arrival *a, const hparams *h);
void scheduler_close(scheduler *s); /* also one that failed to open, or is all zeros */

void scheduler_join(scheduler *s, member *m);
void scheduler_part(scheduler *s, member *m);

/* A call on the session begins and ends: in between its next request is waited for. */
void scheduler_enter(scheduler *s, member *m);
void scheduler_leave(scheduler *s, member *m);
/* Returns once the request took part in a step, or could not. */
facet_status scheduler_run(scheduler *s, member *m, request *r);

void scheduler_lock(scheduler *s);
void scheduler_unlock(scheduler *s);
/* Locks, and no step runs meanwhile. */
void scheduler_pause(scheduler *s);
void scheduler_resume(scheduler *s);

#endif
