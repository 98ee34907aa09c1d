/* Following a grammar token by token: which tokens are permitted now. Owns: where in the grammar one text is, and
 * what was worked out on the way; a reference to the grammar. Borrows: trie and vocabulary.
 *
 * All ways in which the text so far fits the grammar are followed at once. Where two ways have called the same rule
 * at the same place they share its frame, as in Earley's and in generalised LR parsers: so time stays polynomial. The
 * sets of ways ("configurations") and their steps by bytes are kept, as a deterministic automaton made on demand; so
 * are the masks of the last configurations. Memory and the work for one mask are bounded: FACET_ERROR_BUDGET beyond.
 *
 * A text is followed by bytes: tokens may end inside a character. One caller at a time for each matcher. */
#ifndef FACET_SAMPLE_GRAMMAR_MATCH_H
#define FACET_SAMPLE_GRAMMAR_MATCH_H

#include "sample/grammar.h"
#include "sample/mask.h"

typedef struct matcher matcher;

facet_status matcher_new(matcher **out, grammar *g, const token_trie *trie, const vocab *v, facet_error *err);
void matcher_free(matcher *m);
void matcher_reset(matcher *m); /* to the start of a text; what was worked out stays */

/* The permitted tokens: mask_words(n_vocab) words, valid until the next call. The tokens that end a generation are
 * permitted exactly where the text may end. At least one token is permitted unless matcher_finished. */
facet_status matcher_mask(matcher *m, const uint64_t **mask, facet_error *err);
/* The text goes on with a token. FACET_ERROR_ARGUMENT: it is not permitted; the matcher is then as before. */
facet_status matcher_accept(matcher *m, int32_t id, facet_error *err);
/* The text goes on with bytes. The same statuses. */
facet_status matcher_accept_bytes(matcher *m, const char *text, size_t n, facet_error *err);

bool matcher_may_end(const matcher *m);
bool matcher_finished(const matcher *m); /* it may end and cannot go on */

/* For those who keep matchers for later texts (engine/matchers.h). */
const grammar *matcher_grammar(const matcher *m);
bool matcher_is_broken(const matcher *m); /* a call failed within: what was worked out is not to be relied on */
size_t matcher_memory_bytes(const matcher *m);
uint64_t matcher_masks_made(const matcher *m); /* that could not be taken from those kept */

#endif
