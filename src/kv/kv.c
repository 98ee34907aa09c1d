/* The KV cache's memory and the layout of its pages. See kv.h. */
#include "kv/cache.h"

#include <stdlib.h>
#include <string.h>

enum { MEMORY_GRAIN = 4096 }; /* pages are handed back to the system, so they are whole pages of its own */

static size_t layer_bytes(const hparams *h, uint32_t i, facet_kv_type type) {
    const layer_hparams *l = &h->layers[i];
    return 2 * (size_t)l->n_head_kv * CPU_PAGE * cpu_kv_row_bytes(type, l->head_dim);
}

static size_t whole_pages(size_t n_bytes) { return (n_bytes + MEMORY_GRAIN - 1) / MEMORY_GRAIN * MEMORY_GRAIN; }

facet_status kv_plan(const hparams *h, facet_kv_type type, size_t n_context, size_t ubatch, kv_need *out,
                     facet_error *err) {
    *out = (kv_need){0};
    for (uint32_t i = 0; i < h->n_own; i++) {
        if (cpu_kv_row_bytes(type, h->layers[i].head_dim) == 0) {
            return error_set(err, FACET_ERROR_ARGUMENT,
                             "layer %u has heads of %u numbers, which the KV type cannot hold", i,
                             h->layers[i].head_dim);
        }
        *(h->layers[i].sliding ? &out->sliding_page_bytes : &out->full_page_bytes) += layer_bytes(h, i, type);
    }
    out->full_page_bytes = whole_pages(out->full_page_bytes);
    out->sliding_page_bytes = whole_pages(out->sliding_page_bytes);
    size_t all = kv_pages_for(n_context);
    /* the window of the next ubatch, and the window kept at the checkpoint; each can start inside a page */
    size_t live = kv_pages_for(h->window + (size_t)ubatch) + 1, kept = kv_pages_for(h->window + (size_t)CPU_PAGE) + 1;
    out->n_full = all;
    out->n_live = live < all ? live : all;
    out->n_sliding = live + kept < all ? live + kept : all;
    return FACET_OK;
}

uint64_t kv_need_bytes(const kv_need *need) {
    return (uint64_t)need->n_full * need->full_page_bytes + (uint64_t)need->n_sliding * need->sliding_page_bytes;
}

/* ---- cache */

static void place_layers(kv_cache *c) {
    size_t at[KV_KINDS] = {0, 0};
    for (uint32_t i = 0; i < c->h->n_own; i++) {
        const layer_hparams *l = &c->h->layers[i];
        c->places[i].offset = at[l->sliding];
        c->places[i].plane_bytes = CPU_PAGE * cpu_kv_row_bytes(c->type, l->head_dim);
        at[l->sliding] += layer_bytes(c->h, i, c->type);
    }
}

static facet_status open_cache(kv_cache *c, const kv_need *need, uint64_t bytes, facet_error *err) {
    c->places = calloc(c->h->n_layer, sizeof *c->places);
    if (!c->places) return error_memory(err, c->h->n_layer * sizeof *c->places);
    place_layers(c);
    const size_t page_bytes[KV_KINDS] = {need->full_page_bytes, need->sliding_page_bytes};
    FACET_TRY(kv_pages_open(&c->pages, page_bytes, bytes, err));
    /* every node holds a page that no other node holds */
    int kind = kv_pages_has(&c->pages, KV_FULL) ? KV_FULL : KV_SLIDING;
    return kv_index_open(&c->index, &c->pages, c->pages.pools[kind].n_pages + 1, err);
}

facet_status kv_cache_new(kv_cache **out, const hparams *h, facet_kv_type type, const kv_need *need, uint64_t bytes,
                          facet_error *err) {
    *out = NULL;
    uint64_t one = kv_need_bytes(need);
    if (bytes < one) {
        return error_set(err, FACET_ERROR_BUDGET, "one session needs %llu bytes of KV memory, the budget is %llu",
                         (unsigned long long)one, (unsigned long long)bytes);
    }
    kv_cache *c = calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c);
    c->h = h;
    c->type = type;
    c->n_live = need->n_live;
    facet_status status = open_cache(c, need, bytes, err);
    if (status != FACET_OK)
        kv_cache_free(c);
    else
        *out = c;
    return status;
}

void kv_cache_free(kv_cache *c) {
    if (!c) return;
    kv_index_close(&c->index);
    kv_pages_close(&c->pages);
    free(c->places);
    free(c);
}

facet_kv_type kv_cache_type(const kv_cache *c) { return c->type; }

uint64_t kv_cache_bytes(const kv_cache *c) { return c->pages.budget_bytes; }

uint64_t kv_cache_used_bytes(const kv_cache *c) {
    const kv_page_pool *p = c->pages.pools;
    return (uint64_t)p[0].n_used * p[0].page_bytes + (uint64_t)p[1].n_used * p[1].page_bytes;
}

uint64_t kv_cache_cached_bytes(const kv_cache *c) {
    const kv_page_pool *p = c->pages.pools;
    return (uint64_t)p[0].n_cached * p[0].page_bytes + (uint64_t)p[1].n_cached * p[1].page_bytes;
}

int32_t kv_cache_take(kv_cache *c, int kind) {
    int32_t page = kv_pages_take(&c->pages, kind);
    while (page == NO_PAGE && kv_index_evict(&c->index)) page = kv_pages_take(&c->pages, kind);
    return page;
}

/* ---- inside a page */

bool kv_cache_copy_rows(kv_cache *c, int kind, int32_t to, int32_t from, size_t n) {
    if (c->watched) {
        if (c->n_copies == KV_MAX_COPIES) return false;
        c->copies[c->n_copies++] = (kv_copy){.kind = kind, .to = to, .from = from, .n_rows = n};
    }
    uint8_t *out = kv_pages_at(&c->pages, kind, to);
    const uint8_t *in = kv_pages_at(&c->pages, kind, from);
    for (uint32_t i = 0; i < c->h->n_own; i++) {
        const layer_hparams *l = &c->h->layers[i];
        if (l->sliding != kind) continue;
        size_t plane = c->places[i].plane_bytes;
        for (size_t k = 0; k < 2 * (size_t)l->n_head_kv; k++) {
            size_t at = c->places[i].offset + k * plane;
            memcpy(out + at, in + at, plane / CPU_PAGE * n);
        }
    }
    return true;
}

uint8_t *kv_plane_at(const kv_cache *c, uint32_t layer, size_t i, int32_t page) {
    if (page == NO_PAGE) return NULL;
    const kv_layer_place *place = &c->places[layer];
    return kv_pages_at(&c->pages, c->h->layers[layer].sliding, page) + place->offset + i * place->plane_bytes;
}

static int32_t page_of(const kv_sequence *s, uint32_t layer, size_t page) {
    return s->tables[s->cache->h->layers[layer].sliding][page];
}

uint8_t *kv_keys(const kv_sequence *s, uint32_t layer, uint32_t head, size_t page) {
    return kv_plane_at(s->cache, layer, head, page_of(s, layer, page));
}

uint8_t *kv_values(const kv_sequence *s, uint32_t layer, uint32_t head, size_t page) {
    return kv_plane_at(s->cache, layer, s->cache->h->layers[layer].n_head_kv + head, page_of(s, layer, page));
}

size_t kv_cache_pages(const kv_cache *c, int kind) { return c->pages.pools[kind].n_pages; }

size_t kv_cache_page_bytes(const kv_cache *c, int kind) { return c->pages.pools[kind].page_bytes; }

bool kv_cache_keeps(const kv_cache *c, int kind, int32_t page) {
    const kv_page *p = &c->pages.pools[kind].pages[page];
    return p->users || p->indexed;
}

int32_t kv_sequence_page(const kv_sequence *s, int kind, size_t page) { return s->tables[kind][page]; }

void kv_cache_watch_copies(kv_cache *c) { c->watched = true; }

size_t kv_cache_take_copies(kv_cache *c, kv_copy out[KV_MAX_COPIES]) {
    size_t n = c->n_copies;
    memcpy(out, c->copies, n * sizeof *out);
    c->n_copies = 0;
    return n;
}

void kv_cache_forget(kv_cache *c) {
    for (kv_sequence *s = c->sequences; s; s = s->next) kv_sequence_release(s);
    while (kv_index_evict(&c->index)) continue;
    c->n_copies = 0;
}
