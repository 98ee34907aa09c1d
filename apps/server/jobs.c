/* Threads and their queue: see jobs.h. */
#include "jobs.h"

#include <stdlib.h>

static bool take(job_queue *q, job_item *out) {
    while (!q->n && !q->parts && !q->ending) pthread_cond_wait(&q->changed, &q->lock);
    if (q->parts) {
        *out = q->parts->item;
        q->parts = q->parts->next;
        return true;
    }
    if (!q->n) return false;
    *out = q->items[q->first];
    q->first = (q->first + 1) % q->capacity;
    q->n--;
    return true;
}

static void *work(void *arg) {
    job_queue *q = arg;
    job_item item;
    pthread_mutex_lock(&q->lock);
    size_t number = q->n_numbered++;
    while (take(q, &item)) {
        q->n_running++;
        pthread_mutex_unlock(&q->lock);
        item.run(item.work, number);
        pthread_mutex_lock(&q->lock);
        q->n_running--;
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

bool job_queue_start(job_queue *q, size_t n_threads, size_t capacity) {
    *q = (job_queue){.capacity = capacity + n_threads};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    q->items = calloc(q->capacity, sizeof *q->items);
    q->threads = calloc(n_threads, sizeof *q->threads);
    bool ok = q->items && q->threads;
    while (ok && q->n_threads < n_threads) {
        ok = !pthread_create(&q->threads[q->n_threads], NULL, work, q);
        if (ok) q->n_threads++;
    }
    if (!ok) job_queue_end(q);
    return ok;
}

bool job_queue_add(job_queue *q, job_fn run, void *what) {
    pthread_mutex_lock(&q->lock);
    size_t busy = q->n + q->n_running; /* the ring alone would let more wait while threads are idle */
    bool ok = busy < q->capacity && q->n < q->capacity && !q->ending;
    if (ok) {
        q->items[(q->first + q->n++) % q->capacity] = (job_item){run, what};
        pthread_cond_signal(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return ok;
}

void job_queue_add_part(job_queue *q, job_part *part) {
    pthread_mutex_lock(&q->lock);
    job_part **end = &q->parts;
    while (*end) end = &(*end)->next;
    part->next = NULL;
    *end = part;
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

void job_queue_counts(job_queue *q, size_t *n_waiting, size_t *n_running) {
    pthread_mutex_lock(&q->lock);
    *n_waiting = q->n;
    *n_running = q->n_running;
    pthread_mutex_unlock(&q->lock);
}

void job_queue_end(job_queue *q) {
    if (!q->capacity) return;
    pthread_mutex_lock(&q->lock);
    q->ending = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    for (size_t i = 0; i < q->n_threads; i++) pthread_join(q->threads[i], NULL);
    free(q->items);
    free(q->threads);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
    *q = (job_queue){0};
}
