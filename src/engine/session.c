/* Timelines: what is kept of the KV cache, what is computed. See session.h. */
#include "engine/session.h"

#include <stdlib.h>
#include <string.h>

#include "os/system.h"

void facet_session_options_defaults(facet_session_options *o) { *o = (facet_session_options){.size = sizeof *o}; }

static facet_status choose_context(const facet_engine *e, const facet_session_options *o, size_t *out,
                                   facet_error *err) {
    int32_t most = e->options.max_context;
    *out = (size_t)most;
    if (!o) return FACET_OK;
    FACET_TRY(options_check("facet_session_options", o->size, sizeof *o, err));
    if (o->max_context < 0 || o->max_context > most) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_session_options.max_context is %d, expected 0 to %d",
                         (int)o->max_context, (int)most);
    }
    if (o->max_context) *out = (size_t)o->max_context;
    return FACET_OK;
}

static facet_status open_session(facet_session *s, facet_error *err) {
    const facet_model *m = s->engine->model;
    size_t n_vocab = m->hparams.n_vocab, n_suppress;
    const int32_t *suppress = vocab_suppressed(m->vocab, &n_suppress);
    s->tokens = malloc(s->max_context * sizeof *s->tokens);
    s->logits = malloc(n_vocab * sizeof *s->logits);
    if (!s->tokens || !s->logits) return error_memory(err, n_vocab * sizeof *s->logits);
    FACET_TRY(kv_sequence_new(&s->kv, s->engine->kv, s->max_context, (kv_key){0}, err));
    return sampler_new(&s->sampler, n_vocab, suppress, n_suppress, err);
}

facet_status facet_session_new(facet_session **out, facet_engine *engine, const facet_session_options *options,
                               facet_error *err) {
    *out = NULL;
    error_clear(err);
    size_t max_context;
    FACET_TRY(choose_context(engine, options, &max_context, err));
    facet_session *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    s->engine = engine_ref(engine);
    s->max_context = max_context;
    facet_status status = open_session(s, err);
    if (status != FACET_OK)
        facet_session_free(s);
    else
        *out = s;
    return status;
}

void facet_session_free(facet_session *s) {
    if (!s) return;
    pthread_mutex_lock(&s->engine->lock); /* pages go back to the shared pools */
    kv_sequence_free(s->kv);
    pthread_mutex_unlock(&s->engine->lock);
    adapter_set_free(s->adapters);
    sampler_free(s->sampler);
    free(s->logits);
    free(s->tokens);
    facet_engine_free(s->engine);
    free(s);
}

void facet_session_cancel(facet_session *s) { atomic_store(&s->cancelled, true); }

size_t facet_session_length(const facet_session *s) { return s->n_tokens; }

static facet_status check_cancel(facet_session *s, facet_error *err) {
    if (!atomic_exchange(&s->cancelled, false)) return FACET_OK;
    return error_set(err, FACET_ERROR_CANCELLED, "cancelled");
}

/* ---- computing */

/* One step under the lock: the next n tokens after those in the cache. The hidden states of those from `wanted_from`
 * on (relative to the step) are wanted. */
static facet_status step(facet_session *s, size_t n, size_t wanted_from, const float **hidden, size_t *n_hidden,
                         facet_error *err) {
    size_t at = kv_sequence_length(s->kv);
    FACET_TRY(kv_sequence_extend(s->kv, n, err));
    forward_segment segment = {.kv = s->kv,
                               .tokens = s->tokens + at,
                               .n = n,
                               .position = at,
                               .wanted_from = wanted_from,
                               .adapters = s->adapters ? &s->adapters->lora : NULL};
    forward_step(s->engine->forward, &segment, 1, hidden, n_hidden);
    return FACET_OK;
}

static facet_status compute_chunk(facet_session *s, size_t n, bool last, facet_error *err) {
    const float *hidden;
    size_t n_hidden;
    pthread_mutex_lock(&s->engine->lock);
    facet_status status = step(s, n, last ? n - 1 : n, &hidden, &n_hidden, err);
    if (status == FACET_OK) kv_sequence_publish(s->kv, s->tokens);
    if (status == FACET_OK && last) forward_head(s->engine->forward, hidden, 1, s->logits);
    pthread_mutex_unlock(&s->engine->lock);
    if (status == FACET_OK && last) s->has_logits = true;
    return status;
}

facet_status session_catch_up(facet_session *s, facet_progress_fn progress, void *ctx, facet_error *err) {
    size_t first = kv_sequence_length(s->kv), total = s->n_tokens - first, ubatch = (size_t)s->engine->options.ubatch;
    while (kv_sequence_length(s->kv) < s->n_tokens) {
        FACET_TRY(check_cancel(s, err));
        size_t left = s->n_tokens - kv_sequence_length(s->kv), n = left < ubatch ? left : ubatch;
        FACET_TRY(compute_chunk(s, n, n == left, err));
        if (progress && !progress(ctx, kv_sequence_length(s->kv) - first, total)) {
            return error_set(err, FACET_ERROR_CANCELLED, "cancelled by the caller");
        }
    }
    return FACET_OK;
}

/* ---- the timeline */

static facet_status check_tokens(const facet_session *s, const int32_t *tokens, size_t n, facet_error *err) {
    int32_t n_vocab = (int32_t)s->engine->model->hparams.n_vocab;
    if (n == 0) return error_set(err, FACET_ERROR_ARGUMENT, "the prompt is empty: at least one token is needed");
    if (n > s->max_context) {
        return error_set(err, FACET_ERROR_CONTEXT, "the prompt has %zu tokens, the context holds %zu", n,
                         s->max_context);
    }
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= n_vocab) {
            return error_set(err, FACET_ERROR_ARGUMENT, "token %zu is %d, expected 0 to %d", i, (int)tokens[i],
                             (int)n_vocab - 1);
        }
    }
    return FACET_OK;
}

static size_t shared_prefix(const facet_session *s, const int32_t *tokens, size_t n) {
    size_t most = kv_sequence_length(s->kv), i = 0;
    if (most > n) most = n;
    while (i < most && s->tokens[i] == tokens[i]) i++;
    return i;
}

/* Takes over what is known of the new timeline, but `most` tokens at most. *keep gets how many that are. */
static facet_status take_timeline(facet_session *s, const int32_t *tokens, size_t n, size_t most, size_t *keep,
                                  facet_error *err) {
    pthread_mutex_lock(&s->engine->lock);
    facet_status status = kv_sequence_begin(s->kv, tokens, n, most, err);
    *keep = kv_sequence_length(s->kv);
    pthread_mutex_unlock(&s->engine->lock);
    memcpy(s->tokens, tokens, n * sizeof *tokens);
    s->n_tokens = n;
    s->has_logits = false;
    return status;
}

/* After a failure the timeline ends where the cache does. */
static facet_status settle(facet_session *s, facet_status status) {
    if (status != FACET_OK) {
        pthread_mutex_lock(&s->engine->lock);
        kv_sequence_trim(s->kv);
        pthread_mutex_unlock(&s->engine->lock);
        s->n_tokens = kv_sequence_length(s->kv);
        s->has_logits = false;
    }
    return status;
}

facet_status facet_session_sync(facet_session *s, const int32_t *tokens, size_t n, facet_progress_fn progress,
                                void *ctx, size_t *n_reused, facet_error *err) {
    error_clear(err);
    FACET_TRY(check_tokens(s, tokens, n, err));
    double begin = os_now();
    size_t keep = n;
    facet_status status = FACET_OK;
    bool same = s->has_logits && s->n_tokens == n && shared_prefix(s, tokens, n) == n;
    if (!same) status = take_timeline(s, tokens, n, n - 1, &keep, err);
    if (n_reused) *n_reused = keep;
    if (status == FACET_OK) status = session_catch_up(s, progress, ctx, err);
    s->prompt_seconds = os_now() - begin;
    s->prompt_tokens = n - keep;
    return settle(s, status);
}

const float *facet_session_logits(facet_session *s) {
    if (s->n_tokens == 0) return NULL;
    if (!s->has_logits && settle(s, session_catch_up(s, NULL, NULL, NULL)) != FACET_OK) return NULL;
    return s->has_logits ? s->logits : NULL;
}

facet_status facet_session_set_adapters(facet_session *s, const facet_adapter_use *uses, size_t n, facet_error *err) {
    error_clear(err);
    adapter_set *set;
    FACET_TRY(adapter_set_new(&set, s->engine->model, uses, n, err));
    if (adapter_set_equal(set, s->adapters)) {
        adapter_set_free(set);
        return FACET_OK;
    }
    pthread_mutex_lock(&s->engine->lock);
    facet_status status = set ? forward_reserve(s->engine->forward, set->lora.rank, err) : FACET_OK;
    if (status == FACET_OK) kv_sequence_set_key(s->kv, (kv_key){.context = adapter_set_key(set)});
    pthread_mutex_unlock(&s->engine->lock);
    if (status == FACET_OK) {
        adapter_set *old = s->adapters;
        s->adapters = set;
        set = old;
        s->n_tokens = 0;
        s->has_logits = false;
    }
    adapter_set_free(set);
    return status;
}

/* ---- all logits */

typedef struct score_job {
    size_t row; /* of the next hidden state */
    facet_row_fn on_row;
    void *ctx;
} score_job;

/* The head is computed a few rows at a time, so that no more than these are ever held. Under the lock. */
static facet_status stream_rows(facet_session *s, score_job *job, const float *hidden, size_t n, facet_error *err) {
    const facet_engine *e = s->engine;
    size_t n_vocab = e->model->hparams.n_vocab, n_embd = e->model->hparams.n_embd;
    for (size_t i = 0; i < n; i += FORWARD_HEAD_ROWS) {
        size_t rows = n - i < FORWARD_HEAD_ROWS ? n - i : FORWARD_HEAD_ROWS;
        forward_head(e->forward, hidden + i * n_embd, rows, e->logits);
        for (size_t r = 0; r < rows; r++) {
            if (!job->on_row(job->ctx, job->row++, e->logits + r * n_vocab, n_vocab)) {
                return error_set(err, FACET_ERROR_CANCELLED, "cancelled by the caller");
            }
        }
        memcpy(s->logits, e->logits + (rows - 1) * n_vocab, n_vocab * sizeof *s->logits);
    }
    return FACET_OK;
}

static facet_status score_chunk(facet_session *s, score_job *job, size_t n, size_t wanted_from, facet_error *err) {
    const float *hidden;
    size_t n_hidden;
    pthread_mutex_lock(&s->engine->lock);
    facet_status status = step(s, n, wanted_from, &hidden, &n_hidden, err);
    if (status == FACET_OK) kv_sequence_publish(s->kv, s->tokens);
    if (status == FACET_OK) status = stream_rows(s, job, hidden, n_hidden, err);
    pthread_mutex_unlock(&s->engine->lock);
    return status;
}

static facet_status score_all(facet_session *s, score_job *job, facet_error *err) {
    size_t ubatch = (size_t)s->engine->options.ubatch;
    for (size_t at; (at = kv_sequence_length(s->kv)) < s->n_tokens;) {
        FACET_TRY(check_cancel(s, err));
        size_t n = s->n_tokens - at < ubatch ? s->n_tokens - at : ubatch;
        size_t wanted = job->row > at ? job->row - at : 0;
        FACET_TRY(score_chunk(s, job, n, wanted < n ? wanted : n, err));
    }
    s->has_logits = true;
    return FACET_OK;
}

facet_status facet_session_score(facet_session *s, const int32_t *tokens, size_t n, size_t first, facet_row_fn on_row,
                                 void *ctx, facet_error *err) {
    error_clear(err);
    FACET_TRY(check_tokens(s, tokens, n, err));
    if (first >= n) {
        return error_set(err, FACET_ERROR_ARGUMENT, "scoring begins at position %zu of %zu tokens", first, n);
    }
    size_t keep;
    facet_status status = take_timeline(s, tokens, n, first, &keep, err);
    if (status == FACET_OK) status = score_all(s, &(score_job){.row = first, .on_row = on_row, .ctx = ctx}, err);
    return settle(s, status);
}
