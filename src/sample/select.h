/* Finding the best logits without sorting all of them. Owns: scans and heaps over a view of logits. Knows nothing of
 * settings or probabilities. "Better" everywhere: the larger logit, then the lower id. */
#ifndef FACET_SAMPLE_SELECT_H
#define FACET_SAMPLE_SELECT_H

#include <stddef.h>
#include <stdint.h>

/* The logits that may be chosen: all but the suppressed ids (ascending, without repeats), NaN and -infinity. */
typedef struct logit_view {
    const float *logits;
    size_t n_vocab;
    const int32_t *suppressed;
    size_t n_suppressed;
} logit_view;

typedef struct candidate {
    float logit;
    int32_t id;
    double weight; /* the owner's */
} candidate;

int32_t select_best(const logit_view *view); /* -1: there is none */
/* The k best (fewer where there are fewer), best first. 1 <= k; `out` has room for min(k, n_vocab). */
size_t select_top_k(const logit_view *view, size_t k, candidate *out);
/* All, by id. `out` has room for n_vocab. */
size_t select_all(const logit_view *view, candidate *out);

/* Best first, as far as wanted: select_heap orders c[0..n) so that select_pop moves the best of the first n to c[n -
 * 1], after which n - 1 are left. */
void select_heap(candidate *c, size_t n);
void select_pop(candidate *c, size_t n);

#endif
