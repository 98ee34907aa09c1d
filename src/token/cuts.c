/* The tokens that text is cut at. See cuts.h. The sorted list is walked like a trie: byte after byte the range of
 * cuts that still agree with the text is narrowed by bisection. */
#include "token/cuts.h"

#include <stdlib.h>
#include <string.h>

bool cuts_new(cuts *c, size_t n) {
    *c = (cuts){.list = malloc((n ? n : 1) * sizeof *c->list)};
    return c->list != NULL;
}

void cuts_free(cuts *c) {
    free(c->list);
    *c = (cuts){0};
}

void cuts_add(cuts *c, cut one) { c->list[c->n++] = one; }

static int compare(const void *a, const void *b) {
    const cut *x = a, *y = b;
    int order = memcmp(x->spelling, y->spelling, x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes);
    return order ? order : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

void cuts_sort(cuts *c) {
    if (c->n) qsort(c->list, c->n, sizeof *c->list, compare);
    for (size_t i = 0; i < c->n; i++) c->first[(uint8_t)c->list[i].spelling[0] + 1]++;
    for (size_t b = 0; b < 256; b++) c->first[b + 1] += c->first[b];
}

/* The first cut in [low, high), all longer than `at`, whose byte there is not below `byte` (256: high). */
static size_t lower_bound(const cuts *c, size_t low, size_t high, size_t at, unsigned byte) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uint8_t)c->list[middle].spelling[at] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const cut *cuts_match(const cuts *c, const char *s, size_t n, bool control) {
    const cut *best = NULL;
    size_t low = c->first[(uint8_t)s[0]], high = c->first[(uint8_t)s[0] + 1];
    for (size_t at = 1; low < high; at++) {
        const cut *shortest = &c->list[low];
        if (shortest->n_bytes == at) { /* spelt in full; the others of the range go on */
            if (control || !shortest->control) best = shortest;
            low++;
        }
        if (at == n) break;
        low = lower_bound(c, low, high, at, (uint8_t)s[at]);
        high = lower_bound(c, low, high, at, (uint8_t)s[at] + 1u);
    }
    return best;
}
