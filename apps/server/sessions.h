/* Sessions of running requests, and those that are idle and still hold the tokens of an earlier one: a request gets
 * the idle session that shares the longest prefix with it. A session never serves two salts, so that what one API key
 * has asked cannot be told from the speed of another's answer. */
#ifndef FACET_SERVER_SESSIONS_H
#define FACET_SERVER_SESSIONS_H

#include <facet.h>
#include <pthread.h>

typedef struct session_entry {
    facet_session *session;
    int32_t *tokens; /* of its timeline */
    size_t n;
    uint64_t salt, used; /* `used`: larger is later */
} session_entry;

typedef struct session_pool {
    facet_engine *engine;
    pthread_mutex_t lock;
    session_entry *idle;
    size_t n_idle, n_lent, most; /* idle and lent ones together are `most` at most */
    uint64_t clock;
} session_pool;

bool session_pool_init(session_pool *p, facet_engine *engine, size_t most);
void session_pool_free(session_pool *p); /* all were given back */
/* A session for a prompt; of `most` callers each has one at a time. It must be given back, also after a failure. The
 * pool's memory is shared: on FACET_ERROR_BUDGET of later calls, session_pool_drop_idle
 * and try again. */
facet_status session_pool_take(session_pool *p, const int32_t *tokens, size_t n, uint64_t salt, session_entry *out,
                               facet_error *error);
/* Takes it back with the tokens it holds now (copied); NULL: it holds nothing that is worth keeping. */
void session_pool_give(session_pool *p, session_entry *entry, const int32_t *tokens, size_t n);
/* Frees the idle session that was used longest ago; false: there is none. */
bool session_pool_drop_idle(session_pool *p);

#endif
