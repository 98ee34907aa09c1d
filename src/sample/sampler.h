/* Which token comes next. Owns: the chain suppressed ids, bias, penalties, mask, temperature, top-k, top-p, min-p,
 * draw,
 * and its workspace. Knows nothing of models, sessions or text. The result depends on the logits, the settings, the
 * timeline and (seed, choice, position) alone: scalar IEEE operations in a fixed order, our own exp and log, random
 * numbers from a counter. NaN logits count as -infinity. Ties go to the lower id.
 *
 * One caller at a time for each sampler. */
#ifndef FACET_SAMPLE_SAMPLER_H
#define FACET_SAMPLE_SAMPLER_H

#include "base/error.h"

typedef struct sampler sampler;

/* 1 <= n_vocab <= INT32_MAX. `suppress`: ids that are never chosen, in any order, copied; those beyond the vocabulary
 * mean nothing. Until sampler_configure the settings are the defaults. */
facet_status sampler_new(sampler **out, size_t n_vocab, const int32_t *suppress, size_t n_suppress, facet_error *err);
void sampler_free(sampler *s);

/* Checks and takes new settings (NULL: the defaults); the bias is copied. On failure the old ones stay. */
facet_status sampler_configure(sampler *s, const facet_sampling *sampling, facet_error *err);
/* The check alone: FACET_ERROR_ARGUMENT names the field that is out of range. */
facet_status sampler_check(const facet_sampling *sampling, size_t n_vocab, facet_error *err);

/* The next token after the timeline of n_tokens `tokens` (read for the penalties only; may be NULL when n_tokens is
 * 0), for `logits` of n_vocab, which are not modified. When no token has a logit above -infinity: the lowest that is
 * permitted. Allocates nothing. */
int32_t sampler_choose(sampler *s, const float *logits, const int32_t *tokens, size_t n_tokens, uint64_t position);

/* From now on only tokens of this set (mask.h) are chosen; NULL: any. Borrowed. It stands between the penalties and
 * the temperature. When the other settings leave none of them, the lowest of them is chosen. */
void sampler_permit(sampler *s, const uint64_t *mask);

/* The natural logarithm of the softmax of logits at id (0 <= id < n): of the logits as they are, without the chain.
 */
float sampler_logprob(const float *logits, size_t n, int32_t id);
/* The k likeliest ids, best first, ties to the lower id, with what sampler_logprob says of them. Returns how many
 * there are: k, or n where that is less. NaN logits count as -infinity. */
size_t sampler_top_logprobs(const float *logits, size_t n, facet_token_logprob *out, size_t k);

#endif
