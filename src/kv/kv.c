/* The KV cache. See kv.h. */
#include "kv/kv.h"

#include <stdlib.h>

#include "base/checked.h"
#include "os/system.h"

enum { NO_PAGE = -1 };

typedef struct kv_pool {
    uint8_t *memory;
    size_t page_bytes;
    size_t n_pages;
    int32_t *free_pages; /* a stack: the page freed last is warm and goes out first */
    size_t n_free;
} kv_pool;

typedef struct kv_layer_place {
    size_t offset;      /* of the layer in a page of its pool */
    size_t plane_bytes; /* of one head's 64 rows */
} kv_layer_place;

struct kv_cache {
    const hparams *h;
    facet_kv_type type;
    kv_pool pools[2];       /* [sliding] */
    kv_layer_place *places; /* [n_layer] */
};

struct kv_sequence {
    kv_cache *cache;
    size_t length;
    size_t n_pages;     /* entries of each table */
    size_t checkpoint;  /* 0: none */
    size_t held[2];     /* first page that may still be held, per pool */
    int32_t *tables[2]; /* [n_pages]: page numbers, NO_PAGE */
};

static size_t pages_for(size_t n_positions) { return (n_positions + CPU_PAGE - 1) / CPU_PAGE; }

static size_t layer_bytes(const hparams *h, uint32_t i, facet_kv_type type) {
    const layer_hparams *l = &h->layers[i];
    return 2 * (size_t)l->n_head_kv * CPU_PAGE * cpu_kv_row_bytes(type, l->head_dim);
}

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
    size_t all = pages_for(n_context);
    /* the window of the next ubatch, and the window kept at the checkpoint; each can start inside a page */
    size_t live = pages_for(h->window + (size_t)ubatch) + 1, kept = pages_for(h->window + (size_t)CPU_PAGE) + 1;
    out->n_full = all;
    out->n_sliding = live + kept < all ? live + kept : all;
    return FACET_OK;
}

uint64_t kv_need_bytes(const kv_need *need) {
    return (uint64_t)need->n_full * need->full_page_bytes + (uint64_t)need->n_sliding * need->sliding_page_bytes;
}

/* ---- pools */

static facet_status pool_open(kv_pool *p, size_t page_bytes, size_t n_pages, facet_error *err) {
    *p = (kv_pool){.page_bytes = page_bytes, .n_pages = n_pages};
    size_t bytes;
    if (page_bytes == 0 || n_pages == 0) return FACET_OK; /* no layer of this kind: pages without content */
    if (!checked_mul(page_bytes, n_pages, &bytes) || n_pages > INT32_MAX) {
        return error_set(err, FACET_ERROR_BUDGET, "a KV cache of %zu pages is too large", n_pages);
    }
    p->free_pages = malloc(n_pages * sizeof *p->free_pages);
    p->memory = os_pages_new(bytes);
    if (!p->free_pages || !p->memory) return error_memory(err, bytes);
    for (size_t i = 0; i < n_pages; i++) p->free_pages[i] = (int32_t)(n_pages - 1 - i);
    p->n_free = n_pages;
    return FACET_OK;
}

static void pool_close(kv_pool *p) {
    os_pages_free(p->memory, p->page_bytes * p->n_pages);
    free(p->free_pages);
}

static bool has_content(const kv_pool *p) { return p->memory != NULL; }

/* ---- cache */

static void place_layers(kv_cache *c) {
    size_t at[2] = {0, 0};
    for (uint32_t i = 0; i < c->h->n_own; i++) {
        const layer_hparams *l = &c->h->layers[i];
        c->places[i].offset = at[l->sliding];
        c->places[i].plane_bytes = CPU_PAGE * cpu_kv_row_bytes(c->type, l->head_dim);
        at[l->sliding] += layer_bytes(c->h, i, c->type);
    }
}

facet_status kv_cache_new(kv_cache **out, const hparams *h, facet_kv_type type, const kv_need *need, uint64_t bytes,
                          facet_error *err) {
    *out = NULL;
    uint64_t one = kv_need_bytes(need);
    if (bytes < one) {
        return error_set(err, FACET_ERROR_BUDGET, "one session needs %llu bytes of KV memory, the budget is %llu",
                         (unsigned long long)one, (unsigned long long)bytes);
    }
    double share = one ? (double)bytes / (double)one : 1;
    kv_cache *c = calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c);
    *c = (kv_cache){.h = h, .type = type, .places = calloc(h->n_layer, sizeof *c->places)};
    facet_status status = c->places ? FACET_OK : error_memory(err, h->n_layer * sizeof *c->places);
    if (status == FACET_OK) {
        place_layers(c);
        status = pool_open(&c->pools[0], need->full_page_bytes, (size_t)((double)need->n_full * share), err);
    }
    if (status == FACET_OK) {
        status = pool_open(&c->pools[1], need->sliding_page_bytes, (size_t)((double)need->n_sliding * share), err);
    }
    if (status != FACET_OK) {
        kv_cache_free(c);
        return status;
    }
    *out = c;
    return FACET_OK;
}

void kv_cache_free(kv_cache *c) {
    if (!c) return;
    pool_close(&c->pools[0]);
    pool_close(&c->pools[1]);
    free(c->places);
    free(c);
}

facet_kv_type kv_cache_type(const kv_cache *c) { return c->type; }

uint64_t kv_cache_bytes(const kv_cache *c) {
    return (uint64_t)c->pools[0].page_bytes * c->pools[0].n_pages +
           (uint64_t)c->pools[1].page_bytes * c->pools[1].n_pages;
}

/* ---- sequences */

facet_status kv_sequence_new(kv_sequence **out, kv_cache *cache, size_t n_context, facet_error *err) {
    *out = NULL;
    size_t n_pages = pages_for(n_context);
    kv_sequence *s = calloc(1, sizeof *s);
    int32_t *tables = malloc(2 * n_pages * sizeof *tables);
    if (!s || !tables) {
        free(s);
        free(tables);
        return error_memory(err, 2 * n_pages * sizeof *tables);
    }
    for (size_t i = 0; i < 2 * n_pages; i++) tables[i] = NO_PAGE;
    *s = (kv_sequence){.cache = cache, .n_pages = n_pages, .tables = {tables, tables + n_pages}};
    *out = s;
    return FACET_OK;
}

static void give_back(kv_sequence *s, int kind, size_t page) {
    kv_pool *p = &s->cache->pools[kind];
    int32_t *entry = &s->tables[kind][page];
    if (*entry == NO_PAGE) return;
    p->free_pages[p->n_free++] = *entry;
    *entry = NO_PAGE;
}

static void give_back_range(kv_sequence *s, int kind, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) give_back(s, kind, i);
}

void kv_sequence_free(kv_sequence *s) {
    if (!s) return;
    kv_sequence_cut(s, 0);
    free(s->tables[0]);
    free(s);
}

facet_kv_type kv_sequence_type(const kv_sequence *s) { return s->cache->type; }

size_t kv_sequence_length(const kv_sequence *s) { return s->length; }

/* The first position that a token at `position` sees on sliding layers. */
static size_t window_begin(const kv_sequence *s, size_t position) {
    size_t window = s->cache->h->window;
    return position + 1 > window ? position + 1 - window : 0;
}

/* Gives back the sliding pages that neither the window at the present length nor the checkpoint needs. */
static void leave_behind(kv_sequence *s) {
    size_t live = window_begin(s, s->length) / CPU_PAGE;
    size_t kept_begin = live, kept_end = live;
    if (s->checkpoint) {
        size_t low = s->checkpoint > CPU_PAGE ? s->checkpoint - CPU_PAGE : 0;
        kept_begin = window_begin(s, low) / CPU_PAGE;
        kept_end = pages_for(s->checkpoint);
    }
    for (size_t i = s->held[1]; i < live; i++) {
        if (i < kept_begin || i >= kept_end) give_back(s, 1, i);
    }
    s->held[1] = kept_begin < live ? kept_begin : live;
}

static size_t missing_pages(const kv_sequence *s, int kind, size_t first, size_t end) {
    size_t n = 0;
    for (size_t i = first; i < end; i++) n += s->tables[kind][i] == NO_PAGE;
    return n;
}

static void take_pages(kv_sequence *s, int kind, size_t first, size_t end) {
    kv_pool *p = &s->cache->pools[kind];
    for (size_t i = first; i < end; i++) {
        if (s->tables[kind][i] == NO_PAGE) s->tables[kind][i] = p->free_pages[--p->n_free];
    }
}

facet_status kv_sequence_extend(kv_sequence *s, size_t n, facet_error *err) {
    size_t first = s->length / CPU_PAGE, end = pages_for(s->length + n);
    if (end > s->n_pages) {
        return error_set(err, FACET_ERROR_CONTEXT, "%zu positions do not fit a context of %zu", s->length + n,
                         s->n_pages * CPU_PAGE);
    }
    leave_behind(s);
    for (int kind = 0; kind < 2; kind++) {
        const kv_pool *p = &s->cache->pools[kind];
        size_t missing = missing_pages(s, kind, first, end);
        if (has_content(p) && missing > p->n_free) {
            return error_set(err, FACET_ERROR_BUDGET, "the KV cache is full: %zu more pages are needed, %zu are free",
                             missing, p->n_free);
        }
    }
    for (int kind = 0; kind < 2; kind++) {
        if (has_content(&s->cache->pools[kind])) take_pages(s, kind, first, end);
    }
    s->length += n;
    return FACET_OK;
}

size_t kv_sequence_resumable(const kv_sequence *s, size_t n) {
    if (n > s->length) n = s->length;
    if (!has_content(&s->cache->pools[1])) return n;
    size_t first = window_begin(s, n) / CPU_PAGE, end = pages_for(n);
    return missing_pages(s, 1, first, end) ? 0 : n;
}

void kv_sequence_cut(kv_sequence *s, size_t n) {
    size_t end = pages_for(s->length), keep = pages_for(n);
    for (int kind = 0; kind < 2; kind++) {
        if (!has_content(&s->cache->pools[kind])) continue;
        give_back_range(s, kind, keep, end);
    }
    if (n == 0 && has_content(&s->cache->pools[1])) s->held[1] = 0;
    if (s->checkpoint > n) s->checkpoint = n;
    s->length = n;
}

void kv_sequence_set_checkpoint(kv_sequence *s, size_t position) { s->checkpoint = position; }

static uint8_t *plane(const kv_sequence *s, uint32_t layer, size_t i, size_t page) {
    const kv_cache *c = s->cache;
    int kind = c->h->layers[layer].sliding;
    int32_t entry = s->tables[kind][page];
    if (entry == NO_PAGE) return NULL;
    const kv_layer_place *place = &c->places[layer];
    return c->pools[kind].memory + (size_t)entry * c->pools[kind].page_bytes + place->offset + i * place->plane_bytes;
}

uint8_t *kv_keys(const kv_sequence *s, uint32_t layer, uint32_t head, size_t page) {
    return plane(s, layer, head, page);
}

uint8_t *kv_values(const kv_sequence *s, uint32_t layer, uint32_t head, size_t page) {
    return plane(s, layer, s->cache->h->layers[layer].n_head_kv + head, page);
}
