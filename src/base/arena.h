/* One block of memory, planned before it is reserved: the same function that carves the buffers first runs on an
 * arena without memory, which only counts. */
#ifndef FACET_BASE_ARENA_H
#define FACET_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/checked.h"

typedef struct arena {
    uint8_t *memory; /* NULL: only counting */
    size_t n_bytes;  /* carved so far */
    bool overflow;   /* the sizes add up to more than a size_t */
} arena;

/* `count` items of `size` bytes, aligned to 64; NULL while counting. */
static inline void *arena_take(arena *a, size_t count, size_t size) {
    size_t bytes, begin = a->n_bytes;
    if (!checked_mul(count, size, &bytes) || !checked_align(bytes, 64, &bytes) ||
        !checked_add(begin, bytes, &a->n_bytes)) {
        a->overflow = true;
        return NULL;
    }
    return a->memory && !a->overflow ? a->memory + begin : NULL;
}

#endif
