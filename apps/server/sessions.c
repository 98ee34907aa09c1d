/* Idle sessions and what they hold: see sessions.h. */
#include "sessions.h"

#include <stdlib.h>
#include <string.h>

bool session_pool_init(session_pool *p, facet_engine *engine, size_t most) {
    *p = (session_pool){.engine = engine, .most = most, .idle = calloc(most, sizeof *p->idle)};
    pthread_mutex_init(&p->lock, NULL);
    return p->idle != NULL;
}

static void free_entry(session_entry *e) {
    facet_session_free(e->session);
    free(e->tokens);
    *e = (session_entry){0};
}

void session_pool_free(session_pool *p) {
    if (!p->most) return;
    for (size_t i = 0; i < p->n_idle; i++) free_entry(&p->idle[i]);
    free(p->idle);
    pthread_mutex_destroy(&p->lock);
    *p = (session_pool){0};
}

static size_t shared_prefix(const session_entry *e, const int32_t *tokens, size_t n) {
    size_t i = 0;
    while (i < n && i < e->n && tokens[i] == e->tokens[i]) i++;
    return i;
}

/* The best idle entry of that salt; n_idle when nothing is shared with any. */
static size_t find_best(const session_pool *p, const int32_t *tokens, size_t n, uint64_t salt) {
    size_t best = p->n_idle, longest = 0;
    for (size_t i = 0; i < p->n_idle; i++) {
        size_t shared = p->idle[i].salt == salt ? shared_prefix(&p->idle[i], tokens, n) : 0;
        if (shared > longest) {
            longest = shared;
            best = i;
        }
    }
    return best;
}

static size_t find_oldest(const session_pool *p) {
    size_t oldest = 0;
    for (size_t i = 1; i < p->n_idle; i++)
        if (p->idle[i].used < p->idle[oldest].used) oldest = i;
    return oldest;
}

static session_entry remove_entry(session_pool *p, size_t i) {
    session_entry e = p->idle[i];
    p->idle[i] = p->idle[--p->n_idle];
    return e;
}

facet_status session_pool_take(session_pool *p, const int32_t *tokens, size_t n, uint64_t salt, session_entry *out,
                               facet_error *error) {
    *out = (session_entry){0};
    session_entry old = {0};
    pthread_mutex_lock(&p->lock);
    size_t best = find_best(p, tokens, n, salt);
    if (best < p->n_idle) {
        *out = remove_entry(p, best);
    } else if (p->n_idle + p->n_lent == p->most) {
        old = remove_entry(p, find_oldest(p));
    }
    p->n_lent++;
    pthread_mutex_unlock(&p->lock);
    free_entry(&old);
    if (out->session) return FACET_OK;
    out->salt = salt;
    return facet_session_new(&out->session, p->engine, NULL, error);
}

void session_pool_give(session_pool *p, session_entry *entry, const int32_t *tokens, size_t n) {
    free(entry->tokens);
    entry->tokens = n ? malloc(n * sizeof *tokens) : NULL;
    entry->n = entry->tokens ? n : 0;
    if (entry->tokens) memcpy(entry->tokens, tokens, n * sizeof *tokens);
    bool keep = entry->session && entry->tokens;
    pthread_mutex_lock(&p->lock);
    p->n_lent--;
    entry->used = ++p->clock;
    if (keep) p->idle[p->n_idle++] = *entry;
    pthread_mutex_unlock(&p->lock);
    if (keep)
        *entry = (session_entry){0};
    else
        free_entry(entry);
}

bool session_pool_drop_idle(session_pool *p) {
    session_entry old = {0};
    pthread_mutex_lock(&p->lock);
    if (p->n_idle) old = remove_entry(p, find_oldest(p));
    pthread_mutex_unlock(&p->lock);
    bool dropped = old.session != NULL;
    free_entry(&old);
    return dropped;
}
