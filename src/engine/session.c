/* Timelines: what is kept of the KV cache, what is computed. See session.h. */
#include "engine/session.h"

#include <stdlib.h>
#include <string.h>

#include "os/system.h"

void facet_session_options_defaults(facet_session_options *o) {
    *o = (facet_session_options){.size = sizeof *o, .share_prefix = true};
}

static facet_status choose_options(const facet_engine *e, const facet_session_options *in, facet_session_options *o,
                                   facet_error *err) {
    int32_t most = e->options.max_context;
    facet_session_options_defaults(o);
    if (in) {
        FACET_TRY(options_check("facet_session_options", in->size, sizeof *in, err));
        *o = *in;
    }
    if (o->max_context < 0 || o->max_context > most) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_session_options.max_context is %d, expected 0 to %d",
                         (int)o->max_context, (int)most);
    }
    if (o->max_context == 0) o->max_context = most;
    return FACET_OK;
}

static facet_status open_session(facet_session *s, const facet_session_options *o, facet_error *err) {
    const facet_model *m = s->engine->model;
    size_t n_vocab = m->hparams.n_vocab, n_suppress;
    const int32_t *suppress = vocab_suppressed(m->vocab, &n_suppress);
    s->tokens = malloc(s->max_context * sizeof *s->tokens);
    s->logits = malloc(n_vocab * sizeof *s->logits);
    if (!s->tokens || !s->logits) return error_memory(err, n_vocab * sizeof *s->logits);
    kv_key key = {.salt = o->cache_salt};
    if (!o->share_prefix) key.owner = atomic_fetch_add(&s->engine->n_private, 1) + 1;
    scheduler_lock(&s->engine->scheduler); /* the cache knows its sequences */
    facet_status status = kv_sequence_new(&s->kv, s->engine->kv, s->max_context, key, err);
    scheduler_unlock(&s->engine->scheduler);
    FACET_TRY(status);
    return sampler_new(&s->sampler, n_vocab, suppress, n_suppress, err);
}

facet_status facet_session_new(facet_session **out, facet_engine *engine, const facet_session_options *options,
                               facet_error *err) {
    *out = NULL;
    error_clear(err);
    facet_session_options chosen;
    FACET_TRY(choose_options(engine, options, &chosen, err));
    facet_session *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    s->engine = engine_ref(engine);
    s->max_context = (size_t)chosen.max_context;
    scheduler_join(&engine->scheduler, &s->member);
    facet_status status = open_session(s, &chosen, err);
    if (status != FACET_OK)
        facet_session_free(s);
    else
        *out = s;
    return status;
}

void facet_session_free(facet_session *s) {
    if (!s) return;
    scheduler_lock(&s->engine->scheduler); /* pages go back to the shared pools */
    kv_sequence_free(s->kv);
    scheduler_unlock(&s->engine->scheduler);
    scheduler_part(&s->engine->scheduler, &s->member);
    adapter_set_free(s->adapters);
    sampler_free(s->sampler);
    free(s->logits);
    free(s->tokens);
    facet_engine_free(s->engine);
    free(s);
}

void facet_session_cancel(facet_session *s) { atomic_store(&s->cancelled, true); }

size_t facet_session_length(const facet_session *s) { return s->n_tokens; }
const int32_t *facet_session_tokens(const facet_session *s) { return s->tokens; }

static facet_status check_cancel(facet_session *s, facet_error *err) {
    if (!atomic_exchange(&s->cancelled, false)) return FACET_OK;
    return error_set(err, FACET_ERROR_CANCELLED, "cancelled");
}

void session_enter(facet_session *s) { scheduler_enter(&s->engine->scheduler, &s->member); }
void session_leave(facet_session *s) { scheduler_leave(&s->engine->scheduler, &s->member); }

/* ---- computing */

/* The files of the model and of the adapters are as they were. */
static facet_status check_files(const facet_session *s, facet_error *err) {
    FACET_TRY(source_check(s->engine->model->source, err));
    for (size_t i = 0; s->adapters && i < s->adapters->lora.n; i++) {
        FACET_TRY(source_check(s->adapters->held[i]->source, err));
    }
    return FACET_OK;
}

facet_status session_run(facet_session *s, request *r, facet_error *err) {
    FACET_TRY(check_files(s, err));
    r->adapters = s->adapters ? &s->adapters->lora : NULL;
    r->cancelled = &s->cancelled;
    r->err = err;
    return scheduler_run(&s->engine->scheduler, &s->member, r);
}

facet_status session_catch_up(facet_session *s, facet_progress_fn progress, void *ctx, facet_error *err) {
    size_t first = kv_sequence_length(s->kv), total = s->n_tokens - first;
    while (kv_sequence_length(s->kv) < s->n_tokens) {
        FACET_TRY(check_cancel(s, err));
        request r = {.kv = s->kv, .tokens = s->tokens, .end = s->n_tokens, .logits = s->logits};
        FACET_TRY(session_run(s, &r, err));
        size_t at = kv_sequence_length(s->kv);
        s->has_logits = at == s->n_tokens;
        if (at < first) first = at; /* a device was lost with all it knew */
        total = s->n_tokens - first;
        if (progress && !progress(ctx, at - first, total)) {
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

/* A moved timeline is known to this session alone, and it goes on with that. */
static bool continue_moved(facet_session *s, const int32_t *tokens, size_t n, size_t most, facet_status *status,
                           facet_error *err) {
    size_t from, common = 0, end = kv_sequence_length(s->kv) < most ? kv_sequence_length(s->kv) : most;
    if (!kv_sequence_moved(s->kv, &from)) return false;
    while (common < end && s->tokens[common] == tokens[common]) common++;
    return common > from && kv_sequence_continue(s->kv, common, n, status, err);
}

facet_status session_take_timeline(facet_session *s, const int32_t *tokens, size_t n, size_t most, size_t *keep,
                                   facet_error *err) {
    scheduler *shared = &s->engine->scheduler;
    scheduler_lock(shared);
    facet_status status;
    if (!continue_moved(s, tokens, n, most, &status, err)) status = kv_sequence_begin(s->kv, tokens, n, most, err);
    *keep = kv_sequence_length(s->kv);
    shared->counts.n_reused_tokens += *keep;
    scheduler_unlock(shared);
    memmove(s->tokens, tokens, n * sizeof *tokens);
    s->n_tokens = n;
    s->has_logits = false;
    return status;
}

facet_status session_settle(facet_session *s, facet_status status) {
    if (status != FACET_OK) {
        scheduler_lock(&s->engine->scheduler);
        kv_sequence_trim(s->kv);
        scheduler_unlock(&s->engine->scheduler);
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
    bool same = s->has_logits && s->n_tokens == n && !memcmp(s->tokens, tokens, n * sizeof *tokens);
    if (!same) status = session_take_timeline(s, tokens, n, n - 1, &keep, err);
    if (n_reused) *n_reused = keep;
    session_enter(s);
    if (status == FACET_OK) status = session_catch_up(s, progress, ctx, err);
    session_leave(s);
    s->prompt_seconds = os_now() - begin;
    s->prompt_tokens = n - keep;
    return session_settle(s, status);
}

const float *facet_session_logits(facet_session *s) {
    if (s->n_tokens == 0) return NULL;
    if (s->has_logits) return s->logits;
    session_enter(s);
    facet_status status = session_catch_up(s, NULL, NULL, NULL);
    session_leave(s);
    return session_settle(s, status) == FACET_OK ? s->logits : NULL;
}

facet_status facet_session_set_adapters(facet_session *s, const facet_adapter_use *uses, size_t n, facet_error *err) {
    error_clear(err);
    adapter_set *set;
    FACET_TRY(adapter_set_new(&set, s->engine->model, uses, n, err));
    if (adapter_set_equal(set, s->adapters)) {
        adapter_set_free(set);
        return FACET_OK;
    }
    scheduler_pause(&s->engine->scheduler);
    facet_status status = set ? forward_reserve(s->engine->forward, set->lora.rank, err) : FACET_OK;
    kv_key key = kv_sequence_key(s->kv);
    key.context = adapter_set_key(set);
    if (status == FACET_OK) kv_sequence_set_key(s->kv, key);
    scheduler_resume(&s->engine->scheduler);
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
    facet_session *s;
    size_t row; /* of the next hidden state */
    facet_row_fn on_row;
    void *ctx;
    facet_error *err;
    float *hidden; /* [ubatch][n_embd] those of a step */
    float *logits; /* [head_rows][n_vocab] */
    size_t head_rows;
} score_job;

/* The head is computed a few rows at a time, so that no more than these are ever held. */
static facet_status stream_rows(score_job *job, size_t n) {
    facet_session *s = job->s;
    size_t n_vocab = s->engine->model->hparams.n_vocab, n_embd = s->engine->model->hparams.n_embd;
    for (size_t i = 0; i < n; i += job->head_rows) {
        size_t rows = n - i < job->head_rows ? n - i : job->head_rows;
        FACET_TRY(check_cancel(s, job->err));
        request r = {.hidden = job->hidden + i * n_embd, .n_hidden = rows, .logits = job->logits};
        FACET_TRY(session_run(s, &r, job->err));
        for (size_t k = 0; k < rows; k++) {
            if (!job->on_row(job->ctx, job->row++, job->logits + k * n_vocab, n_vocab)) {
                return error_set(job->err, FACET_ERROR_CANCELLED, "cancelled by the caller");
            }
        }
        memcpy(s->logits, job->logits + (rows - 1) * n_vocab, n_vocab * sizeof *s->logits);
    }
    return FACET_OK;
}

static facet_status score_all(score_job *job) {
    facet_session *s = job->s;
    while (kv_sequence_length(s->kv) < s->n_tokens) {
        FACET_TRY(check_cancel(s, job->err));
        request r = {
            .kv = s->kv, .tokens = s->tokens, .end = s->n_tokens, .hidden = job->hidden, .hidden_from = job->row};
        FACET_TRY(session_run(s, &r, job->err));
        FACET_TRY(stream_rows(job, r.n_hidden));
    }
    s->has_logits = true;
    return FACET_OK;
}

static facet_status score(facet_session *s, score_job *job) {
    size_t ubatch = (size_t)s->engine->options.ubatch, n_embd = s->engine->model->hparams.n_embd;
    size_t row_bytes = s->engine->model->hparams.n_vocab * sizeof(float);
    job->head_rows = ubatch < FORWARD_HEAD_ROWS ? ubatch : FORWARD_HEAD_ROWS;
    job->hidden = malloc(ubatch * n_embd * sizeof *job->hidden);
    job->logits = malloc(job->head_rows * row_bytes);
    bool ok = job->hidden && job->logits;
    facet_status status = ok ? FACET_OK : error_memory(job->err, job->head_rows * row_bytes);
    session_enter(s);
    if (ok) status = score_all(job);
    session_leave(s);
    free(job->hidden);
    free(job->logits);
    return status;
}

facet_status facet_session_score(facet_session *s, const int32_t *tokens, size_t n, size_t first, facet_row_fn on_row,
                                 void *ctx, facet_error *err) {
    error_clear(err);
    FACET_TRY(check_tokens(s, tokens, n, err));
    if (first >= n) {
        return error_set(err, FACET_ERROR_ARGUMENT, "scoring begins at position %zu of %zu tokens", first, n);
    }
    size_t keep;
    facet_status status = session_take_timeline(s, tokens, n, first, &keep, err);
    score_job job = {.s = s, .row = first, .on_row = on_row, .ctx = ctx, .err = err};
    if (status == FACET_OK) status = score(s, &job);
    return session_settle(s, status);
}

/* ---- all hidden states */

static facet_status stream_hidden(facet_session *s, float *rows, session_rows_fn on_rows, void *ctx,
                                  facet_error *err) {
    while (kv_sequence_length(s->kv) < s->n_tokens) {
        FACET_TRY(check_cancel(s, err));
        request r = {.kv = s->kv, .tokens = s->tokens, .end = s->n_tokens, .hidden = rows, .logits = s->logits};
        FACET_TRY(session_run(s, &r, err));
        if (!on_rows(ctx, rows, r.n_hidden)) {
            return error_set(err, FACET_ERROR_CANCELLED, "cancelled by the caller");
        }
    }
    s->has_logits = true;
    return FACET_OK;
}

facet_status session_hidden(facet_session *s, const int32_t *tokens, size_t n, session_rows_fn on_rows, void *ctx,
                            facet_error *err) {
    FACET_TRY(check_tokens(s, tokens, n, err));
    size_t bytes = (size_t)s->engine->options.ubatch * s->engine->model->hparams.n_embd * sizeof(float), keep;
    float *rows = malloc(bytes);
    if (!rows) return error_memory(err, bytes);
    facet_status status = session_take_timeline(s, tokens, n, 0, &keep, err);
    session_enter(s);
    if (status == FACET_OK) status = stream_hidden(s, rows, on_rows, ctx, err);
    session_leave(s);
    free(rows);
    return session_settle(s, status);
}
