/* Context shift: tokens leave the middle of a timeline, those behind them move up with their keys and values. Where
 * that cannot be done (see kv_shift_possible) the shorter timeline is computed like any other. */
#include <stdlib.h>
#include <string.h>

#include "engine/session.h"

/* The keys and values of the session's own pages move while other sessions compute. */
static facet_status move_rows(facet_session *s, size_t from, size_t n, facet_error *err) {
    const forward *f = s->engine->forward;
    size_t n_bytes = forward_shift_floats(f) * sizeof(float);
    float *work = malloc(n_bytes);
    kv_shift shift;
    if (!work) return error_memory(err, n_bytes);
    scheduler_lock(&s->engine->scheduler);
    facet_status status = kv_shift_begin(&shift, s->kv, from, n, err);
    scheduler_unlock(&s->engine->scheduler);
    if (status == FACET_OK) {
        forward_shift(f, s->kv, &shift, work);
        scheduler_lock(&s->engine->scheduler);
        kv_shift_end(&shift, s->kv);
        scheduler_unlock(&s->engine->scheduler);
    }
    free(work);
    return status;
}

static void remove_tokens(facet_session *s, size_t from, size_t n) {
    s->n_tokens -= n;
    memmove(s->tokens + from, s->tokens + from + n, (s->n_tokens - from) * sizeof *s->tokens);
}

/* The shorter timeline, of which `from` tokens are known at the most. */
static facet_status start_again(facet_session *s, size_t from, size_t n, facet_error *err) {
    size_t n_tokens = s->n_tokens - n, keep;
    int32_t *tokens = malloc(n_tokens * sizeof *tokens);
    if (!tokens) return error_memory(err, n_tokens * sizeof *tokens);
    memcpy(tokens, s->tokens, from * sizeof *tokens);
    memcpy(tokens + from, s->tokens + from + n, (n_tokens - from) * sizeof *tokens);
    size_t most = n_tokens - 1 < from ? n_tokens - 1 : from;
    facet_status status = session_take_timeline(s, tokens, n_tokens, most, &keep, err);
    free(tokens);
    return session_settle(s, status);
}

/* Devices have keys and values of their own, which stay where they are. */
static bool on_device(const facet_session *s) {
    scheduler_lock(&s->engine->scheduler);
    bool used = backend_device_layers(s->engine->backend) > 0;
    scheduler_unlock(&s->engine->scheduler);
    return used;
}

facet_status session_shift(facet_session *s, size_t from, size_t n, facet_error *err) {
    if (on_device(s) || !kv_shift_possible(s->kv, from, n)) return start_again(s, from, n, err);
    FACET_TRY(move_rows(s, from, n, err));
    remove_tokens(s, from, n);
    return FACET_OK;
}

facet_status facet_session_shift(facet_session *s, size_t from, size_t n, facet_error *err) {
    error_clear(err);
    if (n == 0) return FACET_OK;
    if (from >= s->n_tokens || n > s->n_tokens - from || n == s->n_tokens) {
        return error_set(err, FACET_ERROR_ARGUMENT,
                         "%zu tokens from position %zu cannot leave a timeline of %zu: one at least must stay", n,
                         from, s->n_tokens);
    }
    return session_shift(s, from, n, err);
}
