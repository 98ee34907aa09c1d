/* The worker pool: n threads that run one function together. Owns: the threads and how they wait. Knows nothing of
 * what they compute. Waiting spins briefly, then sleeps. */
#ifndef FACET_PAR_POOL_H
#define FACET_PAR_POOL_H

#include "base/error.h"

typedef struct pool pool;

/* A thread's place in the running function. */
typedef struct pool_worker {
    pool *pool;
    int index; /* 0 is the thread that called pool_run */
    int n;     /* threads taking part */
} pool_worker;

typedef void (*pool_fn)(const pool_worker *worker, void *ctx);

/* n_threads >= 1; the caller of pool_run is one of them, so n_threads - 1 are started. */
facet_status pool_new(pool **out, int n_threads, facet_error *err);
void pool_free(pool *p);
int pool_size(const pool *p);

/* Runs fn on every thread and returns when all are done. One caller at a time. Every thread runs with round to
 * nearest and denormals on; the caller's floating-point mode is restored. */
void pool_run(pool *p, pool_fn fn, void *ctx);

/* Inside fn: returns once every thread is here, and resets the work counter. Everything written before is visible. */
void pool_sync(const pool_worker *worker);
/* Inside fn, between two pool_syncs: the next `chunk` of 0..n units that nobody has taken; false when none is left.
 * All threads must ask with the same n and chunk. */
bool pool_next(const pool_worker *worker, size_t n, size_t chunk, size_t *begin, size_t *end);
/* The same in parts that shrink: half of a thread's share of what is left, a multiple of `least`, `most` at most. So
 * work comes in long runs, and nobody waits long at the end. */
bool pool_next_part(const pool_worker *worker, size_t n, size_t least, size_t most, size_t *begin, size_t *end);

#endif
