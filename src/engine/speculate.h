/* Speculation: several tokens are guessed, computed in one step, and kept as far as the sampler chooses the same. The
 * logits of a step do not depend on what else is computed in it, so the text is the same as without, bit for bit.
 * Owns: the guessed tokens and their logits. */
#ifndef FACET_ENGINE_SPECULATE_H
#define FACET_ENGINE_SPECULATE_H

#include "engine/lookup.h"
#include "engine/session.h"

typedef struct speculation {
    lookup lookup;
    float *logits; /* [1 + LOOKUP_MAX_DRAFT][n_vocab]: after the last token, and after each guessed one */
    float *hidden; /* [1 + LOOKUP_MAX_DRAFT][n_embd] */
    int32_t draft[LOOKUP_MAX_DRAFT];
    size_t n_draft, n_right;      /* of the guess that is being checked */
    size_t n_guessed, n_accepted; /* in all */
} speculation;

facet_status speculation_new(speculation **out, const facet_session *s, facet_error *err);
void speculation_free(speculation *p);

/* Instead of session_catch_up, where only the last token of the timeline is missing in the KV cache: guesses and
 * computes both. *guessed is false where there is nothing to guess: nothing was done then. */
facet_status speculation_step(speculation *p, facet_session *s, bool *guessed, facet_error *err);
/* After a token was chosen and joined the timeline: its logits are there if it was guessed. */
void speculation_follow(speculation *p, facet_session *s);
/* Drops what was computed beyond the timeline. */
void speculation_end(speculation *p, facet_session *s);

#endif
