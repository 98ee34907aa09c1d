/* Generation: choosing tokens one after the other, turning them to text, and knowing when to stop. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/constraint.h"
#include "engine/session.h"
#include "engine/speculate.h"
#include "os/system.h"
#include "sample/stop.h"

void facet_generation_defaults(facet_generation *g) {
    *g = (facet_generation){.size = sizeof *g, .max_tokens = -1};
    facet_sampling_defaults(&g->sampling);
}

enum { TOP_LOGPROBS = 20 };

/* One call of facet_session_generate. */
typedef struct run {
    facet_session *s;
    const facet_generation *g;
    facet_token_fn on_token;
    void *ctx;
    facet_error *err;
    decoder decoder;
    stop_matcher *stop;
    constraint *constraint;   /* NULL: none */
    speculation *speculation; /* NULL: none */
    facet_logit_bias *bias;   /* the caller's, and the end tokens where they are to be ignored */
    facet_stop_reason reason;
    bool stopped;
    size_t n_generated;
    size_t keep, n_turns; /* as the timeline is now: what stays when the context is full, and turns behind it */
    size_t *turn_ends;
    size_t n_shifted;
    int32_t stop_index;
    facet_token_logprob top[TOP_LOGPROBS]; /* of the token that is being reported */
    size_t n_top;
} run;

static void stop_run(run *r, facet_stop_reason reason) {
    if (r->stopped) return;
    r->stopped = true;
    r->reason = reason;
}

static void report(run *r, int32_t id, bool control, const char *text, size_t n_bytes, float logprob) {
    if (!r->on_token) return;
    facet_token token = {.id = id, .control = control, .text = text, .n_bytes = n_bytes, .logprob = logprob};
    if (id >= 0) {
        token.top = r->top;
        token.n_top = r->n_top;
    }
    if (!r->on_token(r->ctx, &token)) stop_run(r, FACET_STOP_CALLBACK);
}

/* ---- text */

static facet_status release_text(run *r, const char *text, size_t n_bytes, const char **out, size_t *n_out) {
    FACET_TRY(stop_push(r->stop, text, n_bytes, out, n_out, r->err));
    if (stop_matched(r->stop)) {
        stop_run(r, FACET_STOP_STRING);
        r->stop_index = (int32_t)stop_which(r->stop);
    }
    return FACET_OK;
}

/* Brings out what the decoder and the stop strings hold back. */
static facet_status flush_text(run *r) {
    const char *text, *out;
    size_t n, n_out;
    FACET_TRY(decoder_finish(&r->decoder, &text, &n, r->err));
    FACET_TRY(release_text(r, text, n, &out, &n_out));
    if (n_out) report(r, -1, false, out, n_out, NAN);
    if (stop_matched(r->stop)) return FACET_OK; /* what was held is the stop string */
    stop_finish(r->stop, &out, &n_out);
    if (n_out) report(r, -1, false, out, n_out, NAN);
    return FACET_OK;
}

static facet_status emit_control(run *r, int32_t id, float logprob) {
    FACET_TRY(flush_text(r));
    if (r->stopped) return FACET_OK;
    const char *text;
    size_t n;
    FACET_TRY(decoder_push(&r->decoder, id, &text, &n, r->err));
    report(r, id, true, text, n, logprob);
    return FACET_OK;
}

static facet_status emit(run *r, int32_t id, float logprob) {
    if (vocab_is_control(r->s->engine->model->vocab, id)) return emit_control(r, id, logprob);
    const char *text, *out;
    size_t n, n_out;
    FACET_TRY(decoder_push(&r->decoder, id, &text, &n, r->err));
    FACET_TRY(release_text(r, text, n, &out, &n_out));
    report(r, id, false, out, n_out, logprob);
    return FACET_OK;
}

/* ---- tokens */

/* The logits are those after the timeline: chooses, appends, reports. */
static facet_status next_token(run *r) {
    facet_session *s = r->s;
    const vocab *v = s->engine->model->vocab;
    const uint64_t *mask = NULL;
    if (r->constraint) FACET_TRY(constraint_mask(r->constraint, &mask, r->err));
    sampler_permit(s->sampler, mask);
    int32_t id = sampler_choose(s->sampler, s->logits, s->tokens, s->n_tokens, s->n_tokens + r->n_shifted);
    size_t n_vocab = s->engine->model->hparams.n_vocab;
    float logprob = r->g->logprobs ? sampler_logprob(s->logits, n_vocab, id) : NAN;
    if (r->g->logprobs) r->n_top = sampler_top_logprobs(s->logits, n_vocab, r->top, (size_t)r->g->top_logprobs);
    s->tokens[s->n_tokens++] = id;
    s->has_logits = false;
    if (r->speculation) speculation_follow(r->speculation, s);
    r->n_generated++;
    if (!r->g->ignore_end && vocab_is_end(v, id)) {
        stop_run(r, FACET_STOP_END);
        return FACET_OK;
    }
    if (r->constraint) FACET_TRY(constraint_accept(r->constraint, id, r->err));
    return emit(r, id, logprob);
}

/* ---- a full context */

/* Where the turns that leave end: they make up half of what may leave, or the half of it does without turns. */
static size_t shift_end(const run *r) {
    size_t half = (r->s->n_tokens - r->keep + 1) / 2;
    for (size_t i = 0; i < r->n_turns; i++) {
        if (r->turn_ends[i] - r->keep >= half) return r->turn_ends[i];
    }
    return r->n_turns ? r->turn_ends[r->n_turns - 1] : r->keep + half;
}

static void forget_turns(run *r, size_t end) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_turns; i++) {
        if (r->turn_ends[i] > end) r->turn_ends[n++] = r->turn_ends[i] - (end - r->keep);
    }
    r->n_turns = n;
}

static facet_status make_room(run *r) {
    facet_session *s = r->s;
    size_t end = shift_end(r), n = end - r->keep;
    if (r->speculation) speculation_end(r->speculation, s);
    FACET_TRY(session_shift(s, r->keep, n, r->err));
    forget_turns(r, end);
    r->n_shifted += n;
    return FACET_OK;
}

static bool context_is_full(const run *r) { return r->s->n_tokens == r->s->max_context; }

/* ---- the loop */

/* The logits after the timeline. */
static facet_status compute(run *r) {
    bool guessed = false;
    if (r->speculation) FACET_TRY(speculation_step(r->speculation, r->s, &guessed, r->err));
    return guessed ? FACET_OK : session_catch_up(r->s, NULL, NULL, r->err);
}

static facet_status run_loop(run *r) {
    facet_session *s = r->s;
    size_t most = r->g->max_tokens < 0 ? SIZE_MAX : (size_t)r->g->max_tokens;
    while (!r->stopped) {
        if (r->constraint && constraint_finished(r->constraint))
            stop_run(r, FACET_STOP_END);
        else if (r->n_generated == most)
            stop_run(r, FACET_STOP_LENGTH);
        else if (context_is_full(r) && !r->keep)
            stop_run(r, FACET_STOP_CONTEXT);
        else if (atomic_exchange(&s->cancelled, false))
            stop_run(r, FACET_STOP_CANCELLED);
        if (r->stopped) break;
        if (context_is_full(r)) FACET_TRY(make_room(r));
        if (!s->has_logits) {
            facet_status status = compute(r);
            if (status == FACET_ERROR_CANCELLED) {
                stop_run(r, FACET_STOP_CANCELLED);
                break;
            }
            FACET_TRY(status);
        }
        FACET_TRY(next_token(r));
    }
    return stop_matched(r->stop) ? FACET_OK : flush_text(r);
}

/* ---- settings */

static facet_status check_generation(const facet_session *s, const facet_generation *g, facet_error *err) {
    FACET_TRY(options_check("facet_generation", g->size, sizeof *g, err));
    if (s->n_tokens == 0) return error_set(err, FACET_ERROR_STATE, "the timeline is empty: sync it first");
    if (g->max_tokens < -1) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_generation.max_tokens is %d, expected -1 or more",
                         (int)g->max_tokens);
    }
    if (g->speculation < FACET_SPECULATE_NONE || g->speculation > FACET_SPECULATE_LOOKUP) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_generation.speculation is %d, expected 0 to %d",
                         (int)g->speculation, (int)FACET_SPECULATE_LOOKUP);
    }
    if (g->top_logprobs < 0 || g->top_logprobs > TOP_LOGPROBS) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_generation.top_logprobs is %d, expected 0 to %d",
                         (int)g->top_logprobs, TOP_LOGPROBS);
    }
    if (g->shift_keep == 0) return FACET_OK;
    size_t before = g->shift_keep;
    for (size_t i = 0; i < g->n_turn_ends; i++) {
        if (g->turn_ends[i] <= before || g->turn_ends[i] > s->n_tokens) {
            return error_set(err, FACET_ERROR_ARGUMENT, "facet_generation.turn_ends[%zu] is %zu, expected %zu to %zu",
                             i, g->turn_ends[i], before + 1, s->n_tokens);
        }
        before = g->turn_ends[i];
    }
    if (g->shift_keep >= s->max_context) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_generation.shift_keep is %zu, expected less than %zu",
                         g->shift_keep, s->max_context);
    }
    return FACET_OK;
}

static facet_status take_turns(run *r) {
    size_t n = r->g->shift_keep ? r->g->n_turn_ends : 0;
    r->keep = r->g->shift_keep;
    if (n == 0) return FACET_OK;
    r->turn_ends = malloc(n * sizeof *r->turn_ends);
    if (!r->turn_ends) return error_memory(r->err, n * sizeof *r->turn_ends);
    memcpy(r->turn_ends, r->g->turn_ends, n * sizeof *r->turn_ends);
    r->n_turns = n;
    return FACET_OK;
}

/* End tokens that are to be ignored are forbidden: a bias of their own. */
static facet_status forbid_end(run *r, facet_sampling *sampling) {
    const vocab *v = r->s->engine->model->vocab;
    size_t n = sampling->n_bias;
    for (int32_t id = 0; id < vocab_size(v); id++) n += vocab_is_end(v, id);
    if (n == 0) return FACET_OK;
    r->bias = malloc(n * sizeof *r->bias);
    if (!r->bias) return error_memory(r->err, n * sizeof *r->bias);
    if (sampling->n_bias) memcpy(r->bias, sampling->bias, sampling->n_bias * sizeof *r->bias);
    n = sampling->n_bias;
    for (int32_t id = 0; id < vocab_size(v); id++) {
        if (vocab_is_end(v, id)) r->bias[n++] = (facet_logit_bias){.token = id, .bias = -INFINITY};
    }
    sampling->bias = r->bias;
    sampling->n_bias = n;
    return FACET_OK;
}

static facet_status prepare(run *r) {
    facet_sampling sampling = r->g->sampling;
    FACET_TRY(sampler_check(&sampling, r->s->engine->model->hparams.n_vocab, r->err));
    if (r->g->ignore_end) FACET_TRY(forbid_end(r, &sampling));
    FACET_TRY(sampler_configure(r->s->sampler, &sampling, r->err));
    FACET_TRY(take_turns(r));
    FACET_TRY(constraint_new(&r->constraint, r->g, r->s, r->err));
    if (r->g->speculation) FACET_TRY(speculation_new(&r->speculation, r->s, r->err));
    return stop_new(&r->stop, r->g->stop, r->g->n_stop, r->err);
}

facet_status facet_session_generate(facet_session *s, const facet_generation *generation, facet_token_fn on_token,
                                    void *ctx, facet_generation_result *result, facet_error *err) {
    error_clear(err);
    facet_generation defaults;
    facet_generation_defaults(&defaults);
    run r = {.s = s,
             .g = generation ? generation : &defaults,
             .on_token = on_token,
             .ctx = ctx,
             .err = err,
             .stop_index = -1};
    if (result) FACET_TRY(options_check("facet_generation_result", result->size, sizeof *result, err));
    FACET_TRY(check_generation(s, r.g, err));
    double begin = os_now();
    decoder_init(&r.decoder, s->engine->model->vocab, true);
    facet_status status = prepare(&r);
    session_enter(s);
    if (status == FACET_OK) status = run_loop(&r);
    if (r.speculation) speculation_end(r.speculation, s);
    session_leave(s);
    if (status == FACET_OK && result) {
        *result = (facet_generation_result){.size = sizeof *result,
                                            .stop_reason = r.reason,
                                            .n_generated = r.n_generated,
                                            .prompt_seconds = s->prompt_seconds,
                                            .prompt_tokens = s->prompt_tokens,
                                            .decode_seconds = os_now() - begin,
                                            .n_shifted = r.n_shifted,
                                            .stop_index = r.stop_index};
        if (r.speculation) {
            result->n_guessed = r.speculation->n_guessed;
            result->n_accepted = r.speculation->n_accepted;
        }
    }
    decoder_free(&r.decoder);
    stop_free(r.stop);
    sampler_permit(s->sampler, NULL);
    constraint_free(r.constraint);
    speculation_free(r.speculation);
    free(r.turn_ends);
    free(r.bias);
    return status;
}
