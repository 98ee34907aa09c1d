/* Stop strings in a text that arrives in pieces. Owns: what may be shown and what must wait. Knows nothing of tokens.
 * The result is the same however the text is cut: text is released up to the point where a stop string that ends
 * first begins (the longest where several end there); text that could still become one is held back. Where the pieces
 * end at characters, so does what is released. Time is linear in the text for each string (Knuth, Morris, Pratt,
 * 1977). */
#ifndef FACET_SAMPLE_STOP_H
#define FACET_SAMPLE_STOP_H

#include "base/error.h"

typedef struct stop_matcher stop_matcher;

/* n strings, UTF-8, none empty (FACET_ERROR_ARGUMENT, FACET_ERROR_ENCODING); they are copied. n may be 0. */
facet_status stop_new(stop_matcher **out, const char *const *strings, size_t n, facet_error *err);
void stop_free(stop_matcher *stop);

/* Takes a piece; *out gets the text that is released by it, terminated, maybe empty, valid until the next call. After
 * a match (stop_matched) nothing is taken or released any more. Fails with FACET_ERROR_MEMORY only: the matcher must
 * then be reset or freed. */
facet_status stop_push(stop_matcher *stop, const char *text, size_t n_bytes, const char **out, size_t *n_out,
                       facet_error *err);
bool stop_matched(const stop_matcher *stop);
size_t stop_which(const stop_matcher *stop); /* the index of the string, after a match */
/* The text ends: what was held back is released, and the matcher is ready for another text. Cannot fail. */
void stop_finish(stop_matcher *stop, const char **out, size_t *n_out);
void stop_reset(stop_matcher *stop); /* forgets the text */

#endif
