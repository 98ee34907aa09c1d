/* Speculation. See speculate.h. */
#include "engine/speculate.h"

#include <stdlib.h>
#include <string.h>

facet_status speculation_new(speculation **out, const facet_session *s, facet_error *err) {
    *out = NULL;
    const hparams *h = &s->engine->model->hparams;
    size_t rows = 1 + LOOKUP_MAX_DRAFT;
    speculation *p = calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p);
    p->logits = malloc(rows * h->n_vocab * sizeof *p->logits);
    p->hidden = malloc(rows * h->n_embd * sizeof *p->hidden);
    if (!p->logits || !p->hidden) {
        speculation_free(p);
        return error_memory(err, rows * h->n_vocab * sizeof *p->logits);
    }
    *out = p;
    return FACET_OK;
}

void speculation_free(speculation *p) {
    if (!p) return;
    free(p->logits);
    free(p->hidden);
    free(p);
}

/* Keeps n positions of what was computed as guesses, and lets others know them. */
static void keep(facet_session *s, size_t n) {
    scheduler_lock(&s->engine->scheduler);
    if (kv_sequence_length(s->kv) > n) kv_sequence_shorten(s->kv, n);
    kv_sequence_publish(s->kv, s->tokens);
    scheduler_unlock(&s->engine->scheduler);
}

/* The hidden states of the last token and of the guessed ones behind it, then their logits. */
static facet_status compute(speculation *p, facet_session *s, facet_error *err) {
    size_t n_embd = s->engine->model->hparams.n_embd, end = s->n_tokens + p->n_draft, n = 0;
    while (kv_sequence_length(s->kv) < end) {
        if (kv_sequence_length(s->kv) < s->n_tokens) n = 0; /* a lost device starts the timeline again */
        request r = {.kv = s->kv,
                     .tokens = s->tokens,
                     .end = end,
                     .hidden = p->hidden + n * n_embd,
                     .hidden_from = s->n_tokens - 1,
                     .tentative = true};
        FACET_TRY(session_run(s, &r, err));
        n += r.n_hidden;
    }
    request head = {.hidden = p->hidden, .n_hidden = n, .logits = p->logits};
    return session_run(s, &head, err);
}

static void use_row(const speculation *p, facet_session *s, size_t row) {
    size_t n_vocab = s->engine->model->hparams.n_vocab;
    memcpy(s->logits, p->logits + row * n_vocab, n_vocab * sizeof *s->logits);
    s->has_logits = true;
}

facet_status speculation_step(speculation *p, facet_session *s, bool *guessed, facet_error *err) {
    *guessed = false;
    if (kv_sequence_length(s->kv) + 1 != s->n_tokens) return FACET_OK;
    size_t room = s->max_context - s->n_tokens,
           most = (size_t)s->engine->options.ubatch - 1; /* with the last token */
    if (most > room) most = room;
    if (most > LOOKUP_MAX_DRAFT) most = LOOKUP_MAX_DRAFT;
    p->n_right = 0;
    p->n_draft = lookup_guess(&p->lookup, s->tokens, s->n_tokens, most, p->draft);
    if (p->n_draft == 0) return FACET_OK;
    memcpy(s->tokens + s->n_tokens, p->draft, p->n_draft * sizeof *p->draft);
    facet_status status = compute(p, s, err);
    if (status != FACET_OK) {
        p->n_draft = 0;
        keep(s, s->n_tokens - 1);
        return status;
    }
    p->n_guessed += p->n_draft;
    *guessed = true;
    use_row(p, s, 0);
    return FACET_OK;
}

static void finish(speculation *p, facet_session *s, size_t n_positions) {
    keep(s, n_positions);
    lookup_learn(&p->lookup, p->n_draft, p->n_right);
    p->n_draft = p->n_right = 0;
}

void speculation_follow(speculation *p, facet_session *s) {
    if (p->n_draft == 0) return;
    bool right = p->n_right < p->n_draft && s->tokens[s->n_tokens - 1] == p->draft[p->n_right];
    if (right) {
        p->n_accepted++;
        use_row(p, s, ++p->n_right);
    } else { /* another token than was guessed, or the one after all that were */
        finish(p, s, s->n_tokens - 1);
    }
}

void speculation_end(speculation *p, facet_session *s) {
    if (p->n_draft) finish(p, s, s->n_tokens);
}
