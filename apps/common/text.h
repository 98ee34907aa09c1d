/* Text in memory: a growing string, whole files, UTF-8 checks, lists of ids. */
#ifndef FACET_COMMON_TEXT_H
#define FACET_COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct text {
    char *data; /* NULL until something is added; terminated after that */
    size_t n, capacity;
} text;

bool cli_text_append(text *t, const char *data, size_t n); /* false: no memory, t is as it was */
void cli_text_clear(text *t);
void cli_text_free(text *t);
const char *cli_text_get(const text *t); /* "" while empty */

/* Everything that is left in `file`; false with errno set. */
bool cli_text_read(text *t, FILE *file);

/* The offset of the first byte that is not UTF-8, or n. */
size_t cli_text_valid_utf8(const char *data, size_t n);

/* Decimal ids in [0, n_vocab) separated by white space, or also by commas and inside brackets (a JSON array). *out is
 * malloc'ed. False: `why` says what is wrong and where. */
bool cli_text_parse_ids(const char *data, size_t n, int32_t n_vocab, int32_t **out, size_t *n_ids, char *why,
                        size_t why_bytes);

#endif
