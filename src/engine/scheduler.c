/* Who leads, who waits. See scheduler.h. */
#include "engine/scheduler.h"

#include <string.h>
#include <time.h>

#include "os/system.h"

/* The leader waits for the others a quarter of a step at the most, and never longer than this. */
static const double LONGEST_GATHERING = 0.02;
enum { MOST_PAUSES = 15 };

void scheduler_lock(scheduler *s) { pthread_mutex_lock(&s->lock); }
void scheduler_unlock(scheduler *s) { pthread_mutex_unlock(&s->lock); }

/* ---- life */

facet_status scheduler_open(scheduler *s, backend *b, forward *f, kv_cache *kv, size_t ubatch, size_t n_vocab,
                            size_t n_embd, facet_error *err) {
    pthread_condattr_t monotonic;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->arrived, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->gathering = 1;
    s->kv = kv;
    return batch_open(&s->batch, b, f, kv, ubatch, n_vocab, n_embd, err);
}

/* A step that waits for the model gives way to whoever was cancelled, and to those who want no step to run. */
static bool is_wanted_elsewhere(void *ctx) {
    scheduler *s = ctx;
    scheduler_lock(s);
    bool stop = s->n_pausing || batch_has_cancelled(&s->batch, s->queue);
    scheduler_unlock(s);
    return stop;
}

void scheduler_await(scheduler *s, arrival *a, const hparams *h) {
    batch_await(&s->batch, a, h, is_wanted_elsewhere, s);
}

void scheduler_close(scheduler *s) {
    if (s->gathering == 0) return;
    batch_close(&s->batch);
    pthread_cond_destroy(&s->arrived);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
}

void scheduler_join(scheduler *s, member *m) {
    *m = (member){0};
    pthread_cond_init(&m->wake, NULL);
    scheduler_lock(s);
    s->counts.n_sessions++;
    scheduler_unlock(s);
}

void scheduler_part(scheduler *s, member *m) {
    scheduler_lock(s);
    s->counts.n_sessions--;
    scheduler_unlock(s);
    pthread_cond_destroy(&m->wake);
}

/* ---- who is waited for */

/* Who came too late is not waited for in the next steps: one, then three, seven, ... */
static void expect(scheduler *s, member *m) {
    if (m->pause) {
        m->pause--;
        return;
    }
    m->expected = s->gathering;
    s->n_expected++;
}

static void stop_expecting(scheduler *s, member *m) {
    if (m->expected == s->gathering) s->n_expected--;
    m->expected = 0;
    if (s->n_expected == 0) pthread_cond_signal(&s->arrived);
}

static void note_arrival(scheduler *s, member *m) {
    if (m->expected) {
        bool in_time = m->expected == s->gathering;
        m->late = in_time ? 0 : m->late < MOST_PAUSES ? 2 * m->late + 1 : m->late;
        m->pause = m->late;
    }
    stop_expecting(s, m);
}

static struct timespec moment_after(double seconds) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)(seconds * 1e9);
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static void gather(scheduler *s) {
    double most = s->last_step_seconds / 4;
    struct timespec end = moment_after(most < LONGEST_GATHERING ? most : LONGEST_GATHERING);
    while (s->n_expected) {
        if (pthread_cond_timedwait(&s->arrived, &s->lock, &end) == 0) continue;
        s->n_expected = 0; /* who comes now is late */
        s->gathering++;
    }
}

void scheduler_enter(scheduler *s, member *m) {
    scheduler_lock(s);
    s->counts.n_running++;
    expect(s, m);
    scheduler_unlock(s);
}

void scheduler_leave(scheduler *s, member *m) {
    scheduler_lock(s);
    s->counts.n_running--;
    stop_expecting(s, m);
    scheduler_unlock(s);
}

/* ---- leading */

static void finish(scheduler *s, request *r) {
    r->done = true;
    s->counts.n_waiting--;
    expect(s, r->from);
    pthread_cond_signal(&r->from->wake);
}

static void finish_list(scheduler *s, request *list) {
    while (list) {
        request *r = list; /* its memory is the caller's: not to be read once it is done */
        list = list->next;
        finish(s, r);
    }
}

static void count_step(scheduler *s, double seconds) {
    scheduler_counts *c = &s->counts;
    const batch *b = &s->batch;
    c->busy_seconds += seconds;
    memcpy(c->part_seconds, forward_part_seconds(b->forward), sizeof c->part_seconds);
    if (b->n_tokens == 0) return;
    s->last_step_seconds = seconds;
    c->n_steps++;
    c->n_tokens += b->n_rows;
    c->n_step_sessions += b->n_tokens;
    c->last_sessions = (uint32_t)b->n_tokens;
    if (c->most_sessions < b->n_tokens) c->most_sessions = (uint32_t)b->n_tokens;
    for (size_t i = 0; i < b->n_tokens; i++) c->n_single_tokens += b->tokens[i]->n_granted == 1;
}

static void finish_step(scheduler *s, double seconds) {
    batch *b = &s->batch;
    count_step(s, seconds);
    for (size_t i = 0; i < b->n_tokens; i++) {
        if (!b->tokens[i]->tentative) kv_sequence_publish(b->tokens[i]->kv, b->tokens[i]->tokens);
        b->tokens[i]->status = FACET_OK;
        finish(s, b->tokens[i]);
    }
    for (request *r = b->heads; r; r = r->next) r->status = FACET_OK;
    finish_list(s, b->heads);
}

/* The requests wait for their next turn, in front of the others. */
static void put_back(scheduler *s, request *list) {
    request **end = &list;
    while (*end) end = &(*end)->next;
    *end = s->queue;
    s->queue = list;
}

/* The device is gone with what it knew: everybody's timeline is computed again, by the CPU. */
static void lose_device(scheduler *s, const facet_error *failure) {
    put_back(s, batch_undo(&s->batch));
    kv_cache_forget(s->kv);
    backend_give_up(s->batch.backend, failure);
}

/* Who was cancelled while the step waited for the model is sorted out when the next one is formed. */
static void abandon_step(scheduler *s, facet_status status, const facet_error *failure) {
    request *list = batch_undo(&s->batch);
    if (status == FACET_ERROR_CANCELLED) {
        put_back(s, list);
        return;
    }
    for (request *r = list; r; r = r->next) {
        r->status = error_at(r->err, status, failure->position, "%s", failure->message);
    }
    finish_list(s, list);
}

/* Somebody else's turn, where there is work or somebody who wants none. */
static void hand_over(scheduler *s) {
    if (s->n_pausing)
        pthread_cond_broadcast(&s->idle);
    else if (s->queue)
        pthread_cond_signal(&s->queue->from->wake);
}

static void stop_leading(scheduler *s) {
    s->leading = false;
    hand_over(s);
}

/* One step, for whoever takes part in it; `r` is the leader's own request. */
static void lead(scheduler *s, const request *r) {
    s->leading = true;
    gather(s);
    finish_list(s, batch_form(&s->batch, &s->queue));
    if (r->done) { /* cancelled: a step of others could keep the leader for long */
        put_back(s, batch_undo(&s->batch));
        stop_leading(s);
        return;
    }
    scheduler_unlock(s);
    double begin = os_now();
    facet_error failure;
    facet_status status = batch_compute(&s->batch, &failure);
    double seconds = os_now() - begin;
    scheduler_lock(s);
    if (status == FACET_OK)
        finish_step(s, seconds);
    else if (s->batch.lost)
        lose_device(s, &failure);
    else
        abandon_step(s, status, &failure);
    stop_leading(s);
}

static void enqueue(scheduler *s, request *r) {
    request **end = &s->queue;
    while (*end) end = &(*end)->next;
    *end = r;
    s->counts.n_waiting++;
}

facet_status scheduler_run(scheduler *s, member *m, request *r) {
    scheduler_lock(s);
    r->from = m;
    note_arrival(s, m);
    enqueue(s, r);
    while (!r->done) {
        if (s->leading || s->n_pausing)
            pthread_cond_wait(&m->wake, &s->lock);
        else
            lead(s, r);
    }
    scheduler_unlock(s);
    return r->status;
}

void scheduler_pause(scheduler *s) {
    scheduler_lock(s);
    s->n_pausing++;
    while (s->leading) pthread_cond_wait(&s->idle, &s->lock);
}

void scheduler_resume(scheduler *s) {
    s->n_pausing--;
    hand_over(s);
    scheduler_unlock(s);
}
