/* Pages and their budget. See pages.h. */
#include "kv/pages.h"

#include <stdlib.h>

#include "os/system.h"

static facet_status open_pool(kv_page_pool *p, size_t page_bytes, uint64_t budget_bytes, facet_error *err) {
    *p = (kv_page_pool){.page_bytes = page_bytes};
    uint64_t n = page_bytes ? budget_bytes / page_bytes : 0;
    if (n == 0) return FACET_OK;
    if (n > INT32_MAX) {
        return error_set(err, FACET_ERROR_BUDGET, "a KV cache of %llu pages is too large", (unsigned long long)n);
    }
    p->n_pages = (size_t)n;
    p->pages = calloc(p->n_pages, sizeof *p->pages);
    p->free_pages = malloc(p->n_pages * sizeof *p->free_pages);
    p->bare_pages = malloc(p->n_pages * sizeof *p->bare_pages);
    p->memory = os_pages_new(p->n_pages * page_bytes);
    if (!p->pages || !p->free_pages || !p->bare_pages || !p->memory)
        return error_memory(err, p->n_pages * page_bytes);
    return FACET_OK;
}

facet_status kv_pages_open(kv_pages *p, const size_t page_bytes[KV_KINDS], uint64_t budget_bytes, facet_error *err) {
    *p = (kv_pages){.budget_bytes = budget_bytes};
    for (int kind = 0; kind < KV_KINDS; kind++) {
        FACET_TRY(open_pool(&p->pools[kind], page_bytes[kind], budget_bytes, err));
    }
    return FACET_OK;
}

void kv_pages_close(kv_pages *p) {
    for (int kind = 0; kind < KV_KINDS; kind++) {
        kv_page_pool *pool = &p->pools[kind];
        os_pages_free(pool->memory, pool->n_pages * pool->page_bytes);
        free(pool->pages);
        free(pool->free_pages);
        free(pool->bare_pages);
    }
}

/* Makes room for `bytes` more of resident memory at the cost of the other pool's free pages. */
static bool make_room(kv_pages *p, int kind, size_t bytes) {
    kv_page_pool *other = &p->pools[!kind];
    while (p->resident_bytes + bytes > p->budget_bytes) {
        if (other->n_free == 0) return false;
        int32_t page = other->free_pages[--other->n_free];
        os_pages_drop(kv_pages_at(p, !kind, page), other->page_bytes);
        other->bare_pages[other->n_bare++] = page;
        p->resident_bytes -= other->page_bytes;
    }
    return true;
}

int32_t kv_pages_take(kv_pages *p, int kind) {
    kv_page_pool *pool = &p->pools[kind];
    int32_t page;
    if (pool->n_free) {
        page = pool->free_pages[--pool->n_free];
    } else {
        if (!make_room(p, kind, pool->page_bytes)) return NO_PAGE;
        p->resident_bytes += pool->page_bytes;
        page = pool->n_bare ? pool->bare_pages[--pool->n_bare] : (int32_t)pool->n_touched++;
    }
    pool->pages[page] = (kv_page){.users = 1};
    pool->n_used++;
    return page;
}

void kv_pages_hold(kv_pages *p, int kind, int32_t page) {
    if (page == NO_PAGE) return;
    kv_page_pool *pool = &p->pools[kind];
    if (pool->pages[page].users++) return;
    pool->n_used++;
    pool->n_cached--;
}

void kv_pages_release(kv_pages *p, int kind, int32_t page) {
    if (page == NO_PAGE) return;
    kv_page_pool *pool = &p->pools[kind];
    if (--pool->pages[page].users) return;
    pool->n_used--;
    if (pool->pages[page].indexed)
        pool->n_cached++;
    else
        pool->free_pages[pool->n_free++] = page;
}

void kv_pages_index(kv_pages *p, int kind, int32_t page) {
    if (page != NO_PAGE) p->pools[kind].pages[page].indexed = true;
}

void kv_pages_forget(kv_pages *p, int kind, int32_t page) {
    if (page == NO_PAGE) return;
    kv_page_pool *pool = &p->pools[kind];
    pool->pages[page].indexed = false;
    if (pool->pages[page].users) return;
    pool->n_cached--;
    pool->free_pages[pool->n_free++] = page;
}
