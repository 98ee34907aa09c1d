/* Matchers that answers have given back, for later answers of the same grammar: automaton and masks are there
 * already. Owns: the idle ones, the last few; any number of threads may take and give. A matcher serves one answer at
 * a time, so answers that run at once have one each. Knows nothing of sessions; part of a model, whose vocabulary
 * they follow. */
#ifndef FACET_ENGINE_MATCHERS_H
#define FACET_ENGINE_MATCHERS_H

#include <pthread.h>

#include "sample/grammar_match.h"

enum {
    MATCHERS_MAX = 8,             /* kept, */
    MATCHERS_MAX_BYTES = 16 << 20 /* all together */
};

typedef struct matcher_pool {
    pthread_mutex_t lock;
    matcher *idle[MATCHERS_MAX]; /* given back first comes first */
    size_t n;
} matcher_pool;

void matcher_pool_open(matcher_pool *p);
void matcher_pool_close(matcher_pool *p);
/* One that follows the same grammar, at the start of a text; NULL: none is idle. */
matcher *matcher_pool_take(matcher_pool *p, const grammar *g);
void matcher_pool_give(matcher_pool *p, matcher *m); /* keeps or frees it; NULL is fine */

#endif
