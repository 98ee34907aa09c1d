/* The table of indices. See hash.h. */
#include "token/hash.h"

#include <stdlib.h>

bool table_new(table *t, size_t n) {
    size_t n_slots = 16;
    while (n_slots < 2 * n) n_slots *= 2;
    *t = (table){.mask = n_slots - 1, .index_bits = 1};
    while (((size_t)1 << t->index_bits) <= n) t->index_bits++;
    t->slots = calloc(n_slots, sizeof *t->slots);
    return t->slots != NULL;
}

void table_free(table *t) {
    free(t->slots);
    *t = (table){0};
}
