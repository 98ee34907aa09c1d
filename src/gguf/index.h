/* A hash table from names to their places in an array that the caller owns. Hostile names cannot make it slow: the
 * hash is SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF") with a key that the file's author
 * cannot know. The key never shows in a result. Private to src/gguf. */
#ifndef FACET_GGUF_INDEX_H
#define FACET_GGUF_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf/gguf.h"

typedef struct name_slot {
    gguf_string name;
    size_t place; /* NAME_ABSENT: the slot is free */
} name_slot;

typedef struct name_index {
    name_slot *slots; /* a power of two of them, at most half full; NULL while empty */
    size_t n_slots, n;
} name_index;

#define NAME_ABSENT SIZE_MAX

size_t name_find(const name_index *index, gguf_string name); /* NAME_ABSENT when it is not there */
/* Adds a name that is not there yet; its bytes must outlive the index. False: no memory, nothing changed. */
bool name_add(name_index *index, gguf_string name, size_t place);
void name_index_free(name_index *index);

#endif
