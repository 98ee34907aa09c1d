/* A pool of threads and a bounded queue of work in front of them, first come first served. */
#ifndef FACET_SERVER_JOBS_H
#define FACET_SERVER_JOBS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

typedef void (*job_fn)(void *work, size_t thread); /* thread: 0 to n_threads - 1 */

typedef struct job_item {
    job_fn run;
    void *work;
} job_item;

/* More work of a job that runs already, in the job's own memory: it waits in front of the others, and never finds the
 * queue full. */
typedef struct job_part {
    struct job_part *next;
    job_item item;
    struct job *job;
} job_part;

typedef struct job_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    job_item *items; /* a ring */
    job_part *parts; /* a list */
    size_t capacity, first, n, n_running, n_threads;
    pthread_t *threads;
    size_t n_numbered; /* threads that know their number */
    bool ending;
} job_queue;

/* False: no memory or no thread; nothing is left. */
bool job_queue_start(job_queue *q, size_t n_threads, size_t capacity);
/* False: as many wait as `capacity` beside those that run, or the queue is ending. */
bool job_queue_add(job_queue *q, job_fn run, void *work);
void job_queue_add_part(job_queue *q, job_part *part);
void job_queue_counts(job_queue *q, size_t *n_waiting, size_t *n_running);
/* Runs what waits, then ends the threads. */
void job_queue_end(job_queue *q);

#endif
