/* The tokens that text is cut at before anything else: control tokens and user-defined ones. Owns: their list, sorted
 * by spelling. Borrows: the spellings. Knows nothing of merges. */
#ifndef FACET_TOKEN_CUTS_H
#define FACET_TOKEN_CUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cut {
    const char *spelling;
    uint32_t n_bytes; /* at least 1 */
    int32_t id;
    bool control;
} cut;

typedef struct cuts {
    cut *list; /* sorted by spelling, bytewise */
    size_t n;
    uint32_t first[257]; /* the cuts that begin with byte b are first[b] .. first[b + 1] - 1 */
} cuts;

/* An empty list with room for n. False: no memory. */
bool cuts_new(cuts *c, size_t n);
void cuts_free(cuts *c);
void cuts_add(cuts *c, cut one);
void cuts_sort(cuts *c); /* once, when all have been added */

static inline bool cuts_may_start(const cuts *c, char byte) {
    return c->first[(uint8_t)byte] != c->first[(uint8_t)byte + 1];
}
/* The longest cut that the n >= 1 bytes at s begin with, or NULL. Control tokens count only where `control` is set.
 */
const cut *cuts_match(const cuts *c, const char *s, size_t n, bool control);

#endif
