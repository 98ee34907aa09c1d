/* The pool of idle matchers. See matchers.h. */
#include "engine/matchers.h"

#include <string.h>

void matcher_pool_open(matcher_pool *p) {
    p->n = 0;
    pthread_mutex_init(&p->lock, NULL);
}

void matcher_pool_close(matcher_pool *p) {
    for (size_t i = 0; i < p->n; i++) matcher_free(p->idle[i]);
    pthread_mutex_destroy(&p->lock);
}

static matcher *remove_at(matcher_pool *p, size_t i) {
    matcher *m = p->idle[i];
    p->n--;
    memmove(&p->idle[i], &p->idle[i + 1], (p->n - i) * sizeof *p->idle);
    return m;
}

matcher *matcher_pool_take(matcher_pool *p, const grammar *g) {
    matcher *found = NULL;
    pthread_mutex_lock(&p->lock);
    for (size_t i = p->n; !found && i-- > 0;) {
        if (grammar_same(matcher_grammar(p->idle[i]), g)) found = remove_at(p, i);
    }
    pthread_mutex_unlock(&p->lock);
    if (found) matcher_reset(found);
    return found;
}

static bool is_over(const matcher_pool *p) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < p->n; i++) n_bytes += matcher_memory_bytes(p->idle[i]);
    return n_bytes > MATCHERS_MAX_BYTES;
}

void matcher_pool_give(matcher_pool *p, matcher *m) {
    if (!m) return;
    if (matcher_is_broken(m) || matcher_memory_bytes(m) > MATCHERS_MAX_BYTES) {
        matcher_free(m);
        return;
    }
    pthread_mutex_lock(&p->lock);
    if (p->n == MATCHERS_MAX) matcher_free(remove_at(p, 0));
    p->idle[p->n++] = m;
    while (is_over(p)) matcher_free(remove_at(p, 0));
    pthread_mutex_unlock(&p->lock);
}
