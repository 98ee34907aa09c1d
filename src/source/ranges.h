/* Which bytes of a whole are there: ranges in order, none touching the next. Knows nothing of the bytes. */
#ifndef FACET_SOURCE_RANGES_H
#define FACET_SOURCE_RANGES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct range {
    size_t begin, end;
} range;

/* More ranges than this are refused: they are all that a sender of crumbs can make us remember. */
enum { RANGES_MOST = 1 << 16 };

typedef struct ranges {
    range *items;
    size_t n, capacity;
    size_t n_bytes; /* in all of them */
} ranges;

typedef enum ranges_result { RANGES_OK, RANGES_TOO_MANY, RANGES_NO_MEMORY } ranges_result;

/* Makes sure that one more range can be added. */
ranges_result ranges_reserve(ranges *r, size_t begin, size_t end);
/* begin < end; after ranges_reserve of the same. */
void ranges_add(ranges *r, size_t begin, size_t end);
/* The first range that ends at `at` or behind it; r->n when there is none. */
size_t ranges_find(const ranges *r, size_t at);
bool ranges_hold(const ranges *r, size_t begin, size_t end); /* all of them; an empty range is always there */
size_t ranges_prefix(const ranges *r);                       /* bytes from the start on */
/* The first hole of [from, end); false when there is none. */
bool ranges_hole(const ranges *r, size_t from, size_t end, range *hole);
void ranges_free(ranges *r);

#endif
