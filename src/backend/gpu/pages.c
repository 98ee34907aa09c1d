/* Where pages of the KV cache lie in the device's memory. Owns: that memory and the map from the cache's page numbers
 * to places. Everything here happens while the cache does not change: under the scheduler's lock, before a step. See
 * parts.h.
 *
 * Both kinds of pages share one buffer of no more bytes than the cache's budget: full pages fill it from the bottom,
 * sliding ones from the top. A page gets a place when a step or a copy first needs it, and loses it once the cache
 * has forgotten it and the place is wanted. Pages of a kind are alike, so a hole is filled with the last page of its
 * kind, and memory is never in pieces: what the cache keeps at one time it keeps within its budget, so there is
 * always a place for it. */
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/parts.h"

enum { GRAIN = 256 }; /* bytes: pages of either end are aligned as rows of keys need it */

/* ---- life */

/* The device's part of a page may be a part of the layers: the budget shrinks by as much as the larger share. */
static uint64_t pool_bytes(const gpu *g, const kv_cache *kv) {
    uint64_t budget = kv_cache_bytes(kv), most = 0;
    for (int kind = 0; kind < KV_KINDS; kind++) {
        uint64_t whole = kv_cache_page_bytes(kv, kind), part = g->page_bytes[kind];
        if (whole == 0) continue;
        uint64_t bytes = budget / whole * part + budget % whole * part / whole;
        if (bytes > most) most = bytes;
    }
    return most / GRAIN * GRAIN + (most % GRAIN ? GRAIN : 0);
}

static void place_layers(gpu *g) {
    g->page_bytes[0] = g->page_bytes[1] = 0;
    for (uint32_t i = g->options.first; i < g->options.end && i < g->h->n_own; i++) {
        const layer_hparams *l = &g->h->layers[i];
        g->layers[i].kv_at = g->page_bytes[l->sliding];
        g->page_bytes[l->sliding] +=
            2 * (uint64_t)l->n_head_kv * CPU_PAGE * cpu_kv_row_bytes(g->kv_type, l->head_dim);
    }
}

static facet_status open_map(gpu *g, const kv_cache *kv, int kind, facet_error *err) {
    gpu_places *p = &g->places[kind];
    size_t n = kv_cache_pages(kv, kind);
    p->of_page = malloc((n + 1) * sizeof *p->of_page);
    p->pages = malloc((g->n_pages[kind] + 1) * sizeof *p->pages);
    p->holes = malloc((g->n_pages[kind] + 1) * sizeof *p->holes);
    if (!p->of_page || !p->pages || !p->holes) return error_memory(err, (n + 1) * sizeof *p->of_page);
    for (size_t i = 0; i < n; i++) p->of_page[i] = NO_PAGE;
    return FACET_OK;
}

facet_status gpu_pages_open(gpu *g, const kv_cache *kv, bool only_count, facet_error *err) {
    place_layers(g);
    g->pool_bytes = pool_bytes(g, kv);
    g->kv = kv;
    for (int kind = 0; kind < KV_KINDS; kind++) {
        g->n_pages[kind] = g->page_bytes[kind] ? g->pool_bytes / g->page_bytes[kind] : 0;
        if (!only_count) FACET_TRY(open_map(g, kv, kind, err));
    }
    g->sliding_at = g->pool_bytes - g->n_pages[KV_SLIDING] * g->page_bytes[KV_SLIDING];
    for (uint32_t i = g->options.first; i < g->options.end && i < g->h->n_own; i++) {
        if (g->h->layers[i].sliding) g->layers[i].kv_at += g->sliding_at;
    }
    return gpu_take(g, &g->pool, g->pool_bytes, only_count, err);
}

void gpu_pages_close(gpu *g) {
    g->device->driver->buffer_free(g->device, &g->pool);
    for (int kind = 0; kind < KV_KINDS; kind++) {
        free(g->places[kind].of_page);
        free(g->places[kind].pages);
        free(g->places[kind].holes);
    }
}

/* ---- places: the n-th of a kind from its end of the memory */

/* As kernels count pages: upwards, the sliding ones from sliding_at. */
static size_t number_of(const gpu *g, int kind, size_t place) {
    return kind == KV_FULL ? place : g->n_pages[KV_SLIDING] - 1 - place;
}

int32_t gpu_page_number(const gpu *g, int kind, int32_t page) {
    int32_t place = page == NO_PAGE ? NO_PAGE : g->places[kind].of_page[page];
    return place == NO_PAGE ? NO_PAGE : (int32_t)number_of(g, kind, (size_t)place);
}

static void set_place(gpu *g, int kind, size_t place, int32_t page) {
    g->places[kind].pages[place] = page;
    g->places[kind].of_page[page] = (int32_t)place;
}

/* ---- holes */

/* Whether a copy to come reads the page; the first of those pending is `first`. */
static bool is_read(const gpu *g, size_t first, int kind, int32_t page) {
    for (size_t i = first; i < g->n_pending; i++) {
        if (g->pending[i].kind == kind && g->pending[i].from == page) return true;
    }
    return false;
}

static bool is_kept(const gpu *g, size_t first, int kind, int32_t page) {
    return kv_cache_keeps(g->kv, kind, page) || is_read(g, first, kind, page);
}

/* What the cache forgot leaves holes. */
static void find_holes(gpu *g, int kind) {
    gpu_places *p = &g->places[kind];
    p->n_holes = 0;
    for (size_t i = p->n; i-- > 0;) {
        int32_t page = p->pages[i];
        if (page != NO_PAGE && is_kept(g, 0, kind, page)) continue;
        if (page != NO_PAGE) p->of_page[page] = NO_PAGE;
        p->pages[i] = NO_PAGE;
        p->holes[p->n_holes++] = (int32_t)i;
    }
}

static void copy_bytes(gpu *g, uint64_t to, uint64_t from, uint64_t n_bytes) {
    if (g->status != FACET_OK) return;
    g->status = g->device->driver->copy(g->device, &g->pool, to, &g->pool, from, n_bytes, &g->error);
}

/* The last page of a kind moves to a place before it. */
static void move_last(gpu *g, int kind, size_t to) {
    gpu_places *p = &g->places[kind];
    uint64_t base = kind == KV_SLIDING ? g->sliding_at : 0, n_bytes = g->page_bytes[kind];
    size_t last = --p->n;
    copy_bytes(g, base + number_of(g, kind, to) * n_bytes, base + number_of(g, kind, last) * n_bytes, n_bytes);
    set_place(g, kind, to, p->pages[last]);
}

static void fill_holes(gpu *g, int kind) {
    gpu_places *p = &g->places[kind];
    for (;;) {
        while (p->n && p->pages[p->n - 1] == NO_PAGE) p->n--;
        if (p->n_holes == 0) return;
        size_t hole = (size_t)p->holes[--p->n_holes];
        if (hole < p->n) move_last(g, kind, hole);
    }
}

/* ---- taking */

static bool has_room(const gpu *g, int kind) {
    uint64_t used = g->places[0].n * g->page_bytes[0] + g->places[1].n * g->page_bytes[1];
    return used + g->page_bytes[kind] <= g->pool_bytes;
}

static void make_room(gpu *g, int kind) {
    find_holes(g, kind);
    if (g->places[kind].n_holes) return;
    find_holes(g, !kind);
    fill_holes(g, !kind);
}

/* A place for the page, whatever is in it. */
static void take_place(gpu *g, int kind, int32_t page) {
    gpu_places *p = &g->places[kind];
    if (g->page_bytes[kind] == 0 || page == NO_PAGE || p->of_page[page] != NO_PAGE) return;
    if (p->n_holes == 0 && !has_room(g, kind)) make_room(g, kind);
    if (p->n_holes)
        set_place(g, kind, (size_t)p->holes[--p->n_holes], page);
    else if (has_room(g, kind))
        set_place(g, kind, p->n++, page);
    else if (g->status == FACET_OK)
        g->status = error_set(&g->error, FACET_ERROR_INTERNAL, "the device has no place for a page of keys");
}

/* ---- copies */

/* Every layer's first rows, of each head's keys and values. */
static void copy_rows(gpu *g, const kv_copy *copy) {
    uint64_t page_bytes = g->page_bytes[copy->kind];
    uint64_t to = (uint64_t)gpu_page_number(g, copy->kind, copy->to) * page_bytes,
             from = (uint64_t)gpu_page_number(g, copy->kind, copy->from) * page_bytes;
    for (uint32_t i = g->options.first; i < g->options.end && i < g->h->n_own; i++) {
        const layer_hparams *l = &g->h->layers[i];
        if (l->sliding != copy->kind) continue;
        uint64_t row = cpu_kv_row_bytes(g->kv_type, l->head_dim), at = g->layers[i].kv_at;
        for (size_t k = 0; k < 2 * (size_t)l->n_head_kv; k++, at += CPU_PAGE * row) {
            copy_bytes(g, to + at, from + at, copy->n_rows * row);
        }
    }
}

/* Whether a later copy fills the page before anybody reads it. */
static bool is_overwritten(const gpu *g, int kind, int32_t page) {
    for (size_t i = 1; i < g->n_pending; i++) {
        const kv_copy *later = &g->pending[i];
        if (later->kind != kind) continue;
        if (later->from == page) return false;
        if (later->to == page) return true;
    }
    return false;
}

/* The first of those pending. A page that nobody wants any more gives its place to the copy: so there never are more
 * places than pages that the cache keeps. */
static void make_copy(gpu *g) {
    const kv_copy *copy = g->pending;
    int kind = copy->kind;
    int32_t *of_page = g->places[kind].of_page;
    bool wanted = is_kept(g, 1, kind, copy->to) && !is_overwritten(g, kind, copy->to);
    if (g->page_bytes[kind] == 0 || !wanted || of_page[copy->from] == NO_PAGE) return;
    if (of_page[copy->to] == NO_PAGE && !is_kept(g, 1, kind, copy->from)) {
        set_place(g, kind, (size_t)of_page[copy->from], copy->to);
        of_page[copy->from] = NO_PAGE;
        return;
    }
    take_place(g, kind, copy->to);
    if (g->status == FACET_OK) copy_rows(g, copy);
}

void gpu_take_pages(gpu *g, const kv_copy *copies, size_t n_copies, const forward_segment *segments,
                    size_t n_segments) {
    g->pending = copies;
    for (g->n_pending = n_copies; g->n_pending; g->pending++, g->n_pending--) make_copy(g);
    for (size_t i = 0; i < n_segments; i++) {
        size_t n = (kv_sequence_length(segments[i].kv) + CPU_PAGE - 1) / CPU_PAGE;
        for (size_t k = 0; k < 2 * n; k++) {
            take_place(g, (int)(k % 2), kv_sequence_page(segments[i].kv, (int)(k % 2), k / 2));
        }
    }
}
