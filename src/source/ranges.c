/* See ranges.h. */
#include "source/ranges.h"

#include <stdlib.h>
#include <string.h>

size_t ranges_find(const ranges *r, size_t at) {
    size_t low = 0, high = r->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->items[middle].end < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

ranges_result ranges_reserve(ranges *r, size_t begin, size_t end) {
    size_t i = ranges_find(r, begin);
    bool joins = i < r->n && r->items[i].begin <= end;
    if (joins || r->n < r->capacity) return RANGES_OK;
    if (r->n == RANGES_MOST) return RANGES_TOO_MANY;
    size_t capacity = r->capacity ? 2 * r->capacity : 16;
    range *larger = realloc(r->items, capacity * sizeof *larger);
    if (!larger) return RANGES_NO_MEMORY;
    r->items = larger;
    r->capacity = capacity;
    return RANGES_OK;
}

void ranges_add(ranges *r, size_t begin, size_t end) {
    size_t first = ranges_find(r, begin), last = first;
    range joined = {begin, end};
    for (; last < r->n && r->items[last].begin <= end; last++) {
        if (r->items[last].begin < joined.begin) joined.begin = r->items[last].begin;
        if (r->items[last].end > joined.end) joined.end = r->items[last].end;
        r->n_bytes -= r->items[last].end - r->items[last].begin;
    }
    memmove(r->items + first + 1, r->items + last, (r->n - last) * sizeof *r->items);
    r->items[first] = joined;
    r->n = r->n - last + first + 1;
    r->n_bytes += joined.end - joined.begin;
}

bool ranges_hold(const ranges *r, size_t begin, size_t end) {
    if (begin == end) return true;
    size_t i = ranges_find(r, end);
    return i < r->n && r->items[i].begin <= begin;
}

size_t ranges_prefix(const ranges *r) { return r->n && r->items[0].begin == 0 ? r->items[0].end : 0; }

bool ranges_hole(const ranges *r, size_t from, size_t end, range *hole) {
    size_t i = ranges_find(r, from);
    if (i < r->n && r->items[i].begin <= from) from = r->items[i++].end;
    if (from >= end) return false;
    hole->begin = from;
    hole->end = i < r->n && r->items[i].begin < end ? r->items[i].begin : end;
    return true;
}

void ranges_free(ranges *r) {
    free(r->items);
    *r = (ranges){0};
}
