/* The pages of the KV cache. Owns: their memory, who uses them, and the budget that all of them together never
 * exceed. Knows nothing of what a page holds.
 *
 * Two pools (pages of full and of sliding layers differ in size) share one budget: each has address room for all of
 * it, and free pages of one pool hand their memory back to the system when the other needs it. A page is in use while
 * a sequence holds it, cached while only the prefix index knows it, else free. */
#ifndef FACET_KV_PAGES_H
#define FACET_KV_PAGES_H

#include "base/error.h"

enum { NO_PAGE = -1, KV_FULL = 0, KV_SLIDING = 1, KV_KINDS = 2 };

typedef struct kv_page {
    uint32_t users; /* sequences that hold it */
    bool indexed;
} kv_page;

typedef struct kv_page_pool {
    uint8_t *memory; /* NULL: the model has no layer of this kind */
    size_t page_bytes;
    size_t n_pages;
    kv_page *pages;
    int32_t *free_pages; /* a stack: with memory, the page freed last is warm and goes out first */
    int32_t *bare_pages; /* a stack: once used, their memory was handed back */
    size_t n_free, n_bare;
    size_t n_touched; /* pages from here on were never used */
    size_t n_used;    /* with users */
    size_t n_cached;  /* indexed, without users */
} kv_page_pool;

typedef struct kv_pages {
    kv_page_pool pools[KV_KINDS];
    uint64_t budget_bytes;
    uint64_t resident_bytes; /* of pages that have memory */
} kv_pages;

facet_status kv_pages_open(kv_pages *p, const size_t page_bytes[KV_KINDS], uint64_t budget_bytes, facet_error *err);
void kv_pages_close(kv_pages *p);

static inline bool kv_pages_has(const kv_pages *p, int kind) { return p->pools[kind].memory != NULL; }
static inline uint8_t *kv_pages_at(const kv_pages *p, int kind, int32_t page) {
    return p->pools[kind].memory + (size_t)page * p->pools[kind].page_bytes;
}

/* A page that nobody else knows, with one user; NO_PAGE when the budget has no room beside what is used and cached.
 */
int32_t kv_pages_take(kv_pages *p, int kind);
/* One user more, one less. NO_PAGE is fine. */
void kv_pages_hold(kv_pages *p, int kind, int32_t page);
void kv_pages_release(kv_pages *p, int kind, int32_t page);
/* The prefix index learns of the page, and forgets it. NO_PAGE is fine. */
void kv_pages_index(kv_pages *p, int kind, int32_t page);
void kv_pages_forget(kv_pages *p, int kind, int32_t page);
static inline bool kv_pages_in_use(const kv_pages *p, int kind, int32_t page) {
    return p->pools[kind].pages[page].users > 0;
}

#endif
