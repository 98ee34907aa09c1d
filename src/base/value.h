/* Values from the inside: what the rest of the library needs beyond facet.h.
 *
 * Every node knows its parent and its place there, so that walking, copying, writing and freeing take no stack: a
 * tree may be a million levels deep. Whoever recurses over a value asks value_depth first. */
#ifndef FACET_BASE_VALUE_H
#define FACET_BASE_VALUE_H

#include "facet.h"

facet_value *value_copy(const facet_value *value); /* NULL: no memory (or value is NULL) */
/* The member of that name, which may hold NUL bytes; NULL when absent or when `object` is no object. */
const facet_value *value_get(const facet_value *object, const char *key, size_t key_bytes);
size_t value_depth(const facet_value *value);                   /* 1 for a scalar, 0 for NULL */
bool value_is_text(const facet_value *value, const char *text); /* a string that says exactly this */
bool value_number_valid(const char *text, size_t n_bytes);      /* the grammar of JSON */

/* Every node of a tree, parents before their members. Containers are met twice: entered and left. */
typedef struct value_walk {
    const facet_value *root;
    const facet_value *node; /* NULL before the first step */
    bool leaving;
    size_t depth; /* of node: 0 for the root */
} value_walk;
bool value_walk_next(value_walk *walk);                    /* false at the end */
const facet_value *value_parent(const facet_value *value); /* NULL for a root */
size_t value_place(const facet_value *value);              /* its index there */

#endif
