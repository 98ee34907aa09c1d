/* Prompt lookup: guesses the next tokens by finding the last few earlier in the timeline and reading on from there.
 * Text that repeats itself (edited code, summaries, quotations) is guessed well, at no cost but the search. A guess
 * only saves time: what is generated does not depend on it. Knows nothing of models and sessions. */
#ifndef FACET_ENGINE_LOOKUP_H
#define FACET_ENGINE_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

enum { LOOKUP_MAX_DRAFT = 8 };

/* How far to guess, learnt from how the last guesses went. Begins as {0}. */
typedef struct lookup {
    size_t length; /* tokens to guess next; 0 means the first length */
    size_t pause;  /* tokens to go without a guess, after wrong ones */
    size_t misses; /* wrong guesses in a row */
} lookup;

/* Writes at most `most` guessed tokens that would follow the n tokens; returns how many. */
size_t lookup_guess(lookup *l, const int32_t *tokens, size_t n, size_t most, int32_t draft[LOOKUP_MAX_DRAFT]);
/* Tells how many of the n_draft guessed tokens were right. */
void lookup_learn(lookup *l, size_t n_draft, size_t n_right);

#endif
