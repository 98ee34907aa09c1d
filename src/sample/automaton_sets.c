/* Frames and configurations, found by their content. See automaton.h. */
#include <stdlib.h>
#include <string.h>

#include "sample/automaton_parts.h"

facet_status automaton_reserve(automaton *a, list *l, size_t n_more, size_t size) {
    if (l->n + n_more <= l->capacity) return FACET_OK;
    size_t capacity = l->capacity ? l->capacity * 2 : 64;
    while (capacity < l->n + n_more) capacity *= 2;
    void *items = realloc(l->items, capacity * size);
    if (!items) return error_memory(a->err, capacity * size);
    l->items = items;
    l->capacity = capacity;
    return FACET_OK;
}

/* ---- equal things are one */

static uint64_t hash_words(const uint32_t *words, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

/* A table of 1 + index over things that are spans of items. */
typedef bool (*same_fn)(const automaton *a, uint32_t index, const void *items, size_t n, bool flag);
typedef uint64_t (*hash_fn)(const automaton *a, uint32_t index);

static uint32_t *find_slot(const automaton *a, const list *slots, uint64_t hash, same_fn same, const void *items,
                           size_t n, bool flag) {
    uint32_t *table = slots->items;
    size_t mask = slots->n - 1, at = (size_t)(hash >> 20) & mask;
    while (table[at] && !(same && same(a, table[at] - 1, items, n, flag))) at = (at + 1) & mask;
    return &table[at];
}

static facet_status grow_slots(automaton *a, list *slots, size_t n_items, hash_fn hash) {
    if (slots->n > 2 * n_items) return FACET_OK;
    size_t n = slots->n ? slots->n * 2 : 1024;
    uint32_t *table = calloc(n, sizeof *table);
    if (!table) return error_memory(a->err, n * sizeof *table);
    free(slots->items);
    *slots = (list){table, n, n};
    for (uint32_t i = 0; i < n_items; i++) *find_slot(a, slots, hash(a, i), NULL, NULL, 0, false) = i + 1;
    return FACET_OK;
}

static uint64_t frame_hash(const automaton *a, uint32_t frame) {
    return hash_words((const uint32_t *)automaton_links(a, frame), ITEM(a->frames, span, frame).n * 3);
}

/* Empty lists may have no address. */
static bool same_bytes(const void *a, const void *b, size_t n) { return n == 0 || memcmp(a, b, n) == 0; }

static bool same_frame(const automaton *a, uint32_t frame, const void *items, size_t n, bool flag) {
    (void)flag;
    return ITEM(a->frames, span, frame).n == n && same_bytes(automaton_links(a, frame), items, n * sizeof(link));
}

static uint64_t configuration_hash(const automaton *a, uint32_t at) {
    const configuration *c = automaton_at(a, at);
    return hash_words((const uint32_t *)automaton_ways(a, at), c->ways.n * 2) + c->may_end;
}

static bool same_configuration(const automaton *a, uint32_t at, const void *items, size_t n, bool flag) {
    const configuration *c = automaton_at(a, at);
    return c->may_end == flag && c->ways.n == n && same_bytes(automaton_ways(a, at), items, n * sizeof(way));
}

static int by_words(const uint32_t *a, const uint32_t *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    }
    return 0;
}
static int by_link(const void *a, const void *b) { return by_words(a, b, 3); }
static int by_way(const void *a, const void *b) { return by_words(a, b, 2); }

static size_t sort_unique(void *items, size_t n, size_t size, int (*order)(const void *, const void *)) {
    char *base = items;
    size_t kept = 0;
    if (n > 1) qsort(items, n, size, order);
    for (size_t i = 0; i < n; i++) {
        if (kept && order(base + (kept - 1) * size, base + i * size) == 0) continue;
        if (kept != i) memcpy(base + kept * size, base + i * size, size);
        kept++;
    }
    return kept;
}

size_t automaton_sort_ways(way *ways, size_t n) { return n ? sort_unique(ways, n, sizeof *ways, by_way) : 0; }

facet_status automaton_intern_frame(automaton *a, size_t first, uint32_t *out) {
    size_t n = sort_unique(&ITEM(a->links, link, first), a->links.n - first, sizeof(link), by_link);
    a->links.n = first + n;
    FACET_TRY(grow_slots(a, &a->frame_slots, a->frames.n, frame_hash));
    FACET_TRY(automaton_reserve(a, &a->frames, 1, sizeof(span)));
    const link *links = &ITEM(a->links, link, first);
    uint64_t hash = hash_words((const uint32_t *)links, n * 3);
    uint32_t *slot = find_slot(a, &a->frame_slots, hash, same_frame, links, n, false);
    if (*slot) {
        a->links.n = first;
    } else {
        ITEM(a->frames, span, a->frames.n) = (span){(uint32_t)first, (uint32_t)n};
        *slot = (uint32_t)++a->frames.n;
    }
    *out = *slot - 1;
    return FACET_OK;
}

facet_status automaton_intern(automaton *a, const way *ways, size_t n, bool may_end, uint32_t *out) {
    FACET_TRY(grow_slots(a, &a->configuration_slots, a->configurations.n, configuration_hash));
    FACET_TRY(automaton_reserve(a, &a->configurations, 1, sizeof(configuration)));
    FACET_TRY(automaton_reserve(a, &a->ways, n, sizeof(way)));
    uint64_t hash = hash_words((const uint32_t *)ways, n * 2) + may_end;
    uint32_t *slot = find_slot(a, &a->configuration_slots, hash, same_configuration, ways, n, may_end);
    if (!*slot) {
        configuration c = {.ways = {(uint32_t)a->ways.n, (uint32_t)n}, .row = UNKNOWN, .may_end = may_end};
        if (n) memcpy(&ITEM(a->ways, way, a->ways.n), ways, n * sizeof *ways);
        a->ways.n += n;
        ITEM(a->configurations, configuration, a->configurations.n) = c;
        *slot = (uint32_t)++a->configurations.n;
    }
    *out = *slot - 1;
    return FACET_OK;
}
