/* The insides of the KV cache, shared by its files. Private to src/kv. */
#ifndef FACET_KV_CACHE_H
#define FACET_KV_CACHE_H

#include "kv/kv.h"

typedef struct kv_layer_place {
    size_t offset;      /* of the layer in a page of its kind */
    size_t plane_bytes; /* of one head's 64 rows */
} kv_layer_place;

struct kv_cache {
    const hparams *h;
    facet_kv_type type;
    size_t n_live;
    kv_layer_place *places; /* [n_layer] */
    kv_pages pages;
    kv_index index;
    size_t n_promised;      /* sliding pages that sequences were promised in all, whether taken or not */
    kv_sequence *sequences; /* all of them, a list */
    bool watched;           /* copies are noted */
    kv_copy copies[KV_MAX_COPIES];
    size_t n_copies;
};

struct kv_sequence {
    kv_cache *cache;
    kv_sequence *next, *previous; /* of the cache's */
    kv_key key;
    size_t length;
    size_t n_pages;            /* entries of each table */
    int32_t *memory;           /* of the tables */
    int32_t *tables[KV_KINDS]; /* [n_pages]: page numbers, NO_PAGE */
    int32_t *spare[KV_KINDS];  /* tables of the next timeline, while both are there */
    size_t first_sliding;      /* no sliding page before this one is held */
    size_t end_page;           /* no page from this one on is held */
    size_t n_promised;         /* sliding pages it may hold at once */
    size_t n_reserved;         /* positions that have been promised */
    int32_t node;              /* the last full page that is published */
    int32_t tail;              /* the tail behind it, where that is this sequence's own page */
    bool moved;                /* rows from moved_from on were moved: nothing from there on is published */
    size_t moved_from;
    size_t checkpoints[2]; /* positions whose windows are worth keeping; 0: none or done */
};

static inline size_t kv_pages_for(size_t n_positions) { return (n_positions + CPU_PAGE - 1) / CPU_PAGE; }

/* The first page that a token at `position` sees on sliding layers. */
static inline size_t kv_window_page(const kv_cache *c, size_t position) {
    size_t window = c->h->window;
    return (position + 1 > window ? position + 1 - window : 0) / CPU_PAGE;
}

/* A free page; other sequences' leftovers make room. NO_PAGE when all is in use. */
int32_t kv_cache_take(kv_cache *c, int kind);
/* Copies the first n rows of a page. False: the copy could not be noted. */
bool kv_cache_copy_rows(kv_cache *c, int kind, int32_t to, int32_t from, size_t n);

/* ---- sequence.c */
void kv_node_hold(kv_index *x, int32_t node);
void kv_sequence_release(kv_sequence *s); /* gives everything back; the sequence is empty */
/* Takes the full pages for n positions, and the promise of sliding ones. */
facet_status kv_sequence_reserve(kv_sequence *s, size_t n, facet_error *err);

bool kv_promise(kv_sequence *s, size_t n_full, size_t n_sliding);
void kv_release_range(kv_sequence *s, int kind, size_t first, size_t end);
void kv_node_release(kv_index *x, int32_t *node);

/* ---- kv.c: plane i of a layer in a page: keys of its heads, then values; NULL for NO_PAGE */
uint8_t *kv_plane_at(const kv_cache *c, uint32_t layer, size_t i, int32_t page);

/* ---- resume.c */
int32_t kv_ancestor(const kv_index *x, int32_t node, size_t n_pages);
/* What an index knows of a prefix. */
typedef struct kv_match {
    int32_t node; /* the last full page */
    int32_t tail; /* of `n_tail` > 0 more tokens */
    size_t n_tail;
    size_t n;       /* positions that can be resumed */
    size_t n_known; /* tokens that match, whether or not their sliding pages are there */
} kv_match;
kv_match kv_match_find(const kv_cache *c, kv_key key, const int32_t *tokens, size_t most);

#endif
