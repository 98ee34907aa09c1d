/* The worker pool. See pool.h. A run starts when `epoch` grows; inside a run the threads meet at a barrier whose
 * `generation` grows each time all have arrived. Both are waited for by spinning a little and then sleeping. */
#include "par/pool.h"

#include <fenv.h>
#include <pthread.h>
#include <stdlib.h>

#include "os/system.h"

typedef struct worker_thread {
    pool_worker worker;
    pthread_t thread;
} worker_thread;

struct pool {
    int n;
    unsigned spins; /* looks at the word before sleeping; none where threads outnumber processors */
    pool_fn fn;
    void *ctx;
    bool stop;
    worker_thread *threads; /* [n], the first is the caller's and has no thread */
    /* on cache lines of their own: all threads hammer them */
    _Alignas(64) atomic_uint epoch;
    _Alignas(64) atomic_uint generation;
    _Alignas(64) atomic_uint arrived;
    _Alignas(64) atomic_size_t next;
    _Alignas(64) atomic_uint sleepers;
};

/* Waits until *word is no longer `seen`. */
static void wait_change(pool *p, atomic_uint *word, unsigned seen) {
    for (unsigned i = 0; i < p->spins; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != seen) return;
        os_relax();
    }
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(word) == seen) os_wait(word, seen);
    atomic_fetch_sub(&p->sleepers, 1);
}

/* Sequentially consistent, so that a thread about to sleep is either counted or sees the new value. */
static void change(pool *p, atomic_uint *word) {
    atomic_fetch_add(word, 1);
    if (atomic_load(&p->sleepers)) os_wake(word);
}

void pool_sync(const pool_worker *worker) {
    pool *p = worker->pool;
    if (p->n == 1) {
        atomic_store_explicit(&p->next, 0, memory_order_relaxed);
        return;
    }
    unsigned seen = atomic_load_explicit(&p->generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) + 1 < (unsigned)p->n) {
        wait_change(p, &p->generation, seen);
        return;
    }
    atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    change(p, &p->generation);
}

bool pool_next(const pool_worker *worker, size_t n, size_t chunk, size_t *begin, size_t *end) {
    size_t at = atomic_fetch_add_explicit(&worker->pool->next, chunk, memory_order_relaxed);
    if (at >= n) return false;
    *begin = at;
    *end = n - at < chunk ? n : at + chunk;
    return true;
}

bool pool_next_part(const pool_worker *worker, size_t n, size_t least, size_t most, size_t *begin, size_t *end) {
    atomic_size_t *next = &worker->pool->next;
    size_t at = atomic_load_explicit(next, memory_order_relaxed), part;
    do {
        if (at >= n) return false;
        part = (n - at) / (2 * (size_t)worker->n) / least * least;
        if (part > most) part = most;
        if (part < least) part = least;
    } while (
        !atomic_compare_exchange_weak_explicit(next, &at, at + part, memory_order_relaxed, memory_order_relaxed));
    *begin = at;
    *end = n - at < part ? n : at + part;
    return true;
}

static void *thread_main(void *arg) {
    worker_thread *t = arg;
    pool *p = t->worker.pool;
    fesetenv(FE_DFL_ENV);
    for (unsigned seen = 0;; seen++) {
        wait_change(p, &p->epoch, seen);
        if (p->stop) return NULL;
        p->fn(&t->worker, p->ctx);
        pool_sync(&t->worker);
    }
}

void pool_run(pool *p, pool_fn fn, void *ctx) {
    fenv_t saved;
    fegetenv(&saved);
    fesetenv(FE_DFL_ENV);
    p->fn = fn;
    p->ctx = ctx;
    change(p, &p->epoch);
    fn(&p->threads[0].worker, ctx);
    pool_sync(&p->threads[0].worker);
    fesetenv(&saved);
}

static void stop_threads(pool *p, int n_started) {
    p->stop = true;
    change(p, &p->epoch);
    for (int i = 1; i < n_started; i++) pthread_join(p->threads[i].thread, NULL);
}

facet_status pool_new(pool **out, int n_threads, facet_error *err) {
    *out = NULL;
    pool *p = aligned_alloc(64, sizeof *p);
    worker_thread *threads = calloc((size_t)n_threads, sizeof *threads);
    if (!p || !threads) {
        free(p);
        free(threads);
        return error_memory(err, (size_t)n_threads * sizeof *threads);
    }
    *p = (pool){.n = n_threads, .spins = n_threads <= os_usable_cpus() ? 2000 : 0, .threads = threads};
    for (int i = 0; i < n_threads; i++) {
        threads[i].worker = (pool_worker){.pool = p, .index = i, .n = n_threads};
        if (i && pthread_create(&threads[i].thread, NULL, thread_main, &threads[i])) {
            stop_threads(p, i);
            free(threads);
            free(p);
            return error_set(err, FACET_ERROR_MEMORY, "thread %d of %d could not be started", i + 1, n_threads);
        }
    }
    *out = p;
    return FACET_OK;
}

void pool_free(pool *p) {
    if (!p) return;
    stop_threads(p, p->n);
    free(p->threads);
    free(p);
}

int pool_size(const pool *p) { return p->n; }
