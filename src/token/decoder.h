/* Ids to text, token by token. Owns: the bytes of an unfinished character. Borrows: the vocabulary. Text that comes
 * out is always UTF-8 and never ends inside a character: bytes that byte tokens leave unfinished are held back, and
 * what cannot become UTF-8 is U+FFFD, one for each maximal subpart (the Unicode standard, section 3.9). A control
 * token ends an unfinished character, shown or not; so hiding them only removes their spellings. */
#ifndef FACET_TOKEN_DECODER_H
#define FACET_TOKEN_DECODER_H

#include "token/vocab.h"

typedef struct decoder {
    const vocab *v;
    bool show_control;
    buffer held; /* bytes that may still become a character: at most 3 between calls */
    buffer text; /* what the last call gave */
} decoder;

void decoder_init(decoder *d, const vocab *v, bool show_control);
void decoder_free(decoder *d); /* frees what it owns, not the struct */

/* *text (terminated, may be empty) is valid until the next call. An id out of range is FACET_ERROR_ARGUMENT and
 * changes nothing. */
facet_status decoder_push(decoder *d, int32_t id, const char **text, size_t *n_bytes, facet_error *err);
/* What was held back, as U+FFFD. The decoder is then as new. */
facet_status decoder_finish(decoder *d, const char **text, size_t *n_bytes, facet_error *err);

/* Appends the text of n ids. On failure *out holds a part of it. */
facet_status vocab_decode(const vocab *v, const int32_t *ids, size_t n, bool show_control, buffer *out,
                          facet_error *err);

#endif
