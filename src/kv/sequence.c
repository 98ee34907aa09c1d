/* One sequence: the pages it holds as it grows, and what it tells the prefix index. See kv.h.
 *
 * Promises. The bytes of all full pages in use and of all sliding pages that sequences were promised never exceed the
 * budget. What is neither is cached or free and can be taken, so a sequence within its promise is never refused. */
#include "kv/cache.h"

#include <stdlib.h>

/* ---- life */

facet_status kv_sequence_new(kv_sequence **out, kv_cache *cache, size_t n_context, kv_key key, facet_error *err) {
    *out = NULL;
    size_t n = kv_pages_for(n_context);
    kv_sequence *s = calloc(1, sizeof *s);
    int32_t *tables = malloc(4 * n * sizeof *tables);
    if (!s || !tables) {
        free(s);
        free(tables);
        return error_memory(err, 4 * n * sizeof *tables);
    }
    for (size_t i = 0; i < 4 * n; i++) tables[i] = NO_PAGE;
    *s = (kv_sequence){.cache = cache,
                       .key = key,
                       .n_pages = n,
                       .memory = tables,
                       .tables = {tables, tables + n},
                       .spare = {tables + 2 * n, tables + 3 * n},
                       .node = NO_NODE,
                       .tail = NO_NODE,
                       .next = cache->sequences};
    if (s->next) s->next->previous = s;
    cache->sequences = s;
    *out = s;
    return FACET_OK;
}

void kv_sequence_free(kv_sequence *s) {
    if (!s) return;
    kv_sequence_release(s);
    if (s->next) s->next->previous = s->previous;
    *(s->previous ? &s->previous->next : &s->cache->sequences) = s->next;
    free(s->memory);
    free(s);
}

void kv_sequence_set_key(kv_sequence *s, kv_key key) {
    kv_sequence_release(s);
    s->key = key;
}

kv_key kv_sequence_key(const kv_sequence *s) { return s->key; }
facet_kv_type kv_sequence_type(const kv_sequence *s) { return s->cache->type; }
size_t kv_sequence_length(const kv_sequence *s) { return s->length; }

/* ---- what is worth keeping */

void kv_node_hold(kv_index *x, int32_t node) {
    if (node != NO_NODE) x->nodes[node].users++;
}

void kv_node_release(kv_index *x, int32_t *node) {
    if (*node != NO_NODE) x->nodes[*node].users--;
    *node = NO_NODE;
}

/* The window in front of the positions [low, high) shall outlast others. */
static void keep_window(kv_sequence *s, size_t low, size_t high) {
    kv_index *x = &s->cache->index;
    size_t first = kv_window_page(s->cache, low), end = kv_pages_for(high);
    for (int32_t i = s->tail != NO_NODE ? s->tail : s->node; i != NO_NODE; i = x->nodes[i].parent) {
        if (x->nodes[i].depth < first) return;
        if (x->nodes[i].depth < end) x->nodes[i].kept = true;
    }
}

static void keep_checkpoints(kv_sequence *s) {
    for (int i = 0; i < 2; i++) {
        size_t at = s->checkpoints[i];
        if (at == 0 || at > s->length) continue;
        keep_window(s, at > CPU_PAGE ? at - CPU_PAGE : 0, at);
        s->checkpoints[i] = 0;
    }
}

/* ---- memory */

void kv_release_range(kv_sequence *s, int kind, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        kv_pages_release(&s->cache->pages, kind, s->tables[kind][i]);
        s->tables[kind][i] = NO_PAGE;
    }
}

void kv_sequence_release(kv_sequence *s) {
    kv_index *x = &s->cache->index;
    keep_window(s, s->length, s->length);
    kv_node_release(x, &s->tail);
    kv_node_release(x, &s->node);
    kv_release_range(s, KV_FULL, 0, s->end_page);
    kv_release_range(s, KV_SLIDING, s->first_sliding, s->end_page);
    s->cache->n_promised -= s->n_promised;
    s->length = s->first_sliding = s->end_page = s->n_promised = s->n_reserved = 0;
    s->moved = false;
}

/* Changes the promise, where that and `n_full` more full pages fit the budget. */
bool kv_promise(kv_sequence *s, size_t n_full, size_t n_sliding) {
    kv_cache *c = s->cache;
    const kv_page_pool *pools = c->pages.pools;
    size_t promised = c->n_promised - s->n_promised + n_sliding;
    uint64_t bytes = (uint64_t)(pools[KV_FULL].n_used + n_full) * pools[KV_FULL].page_bytes +
                     (uint64_t)promised * pools[KV_SLIDING].page_bytes;
    if (bytes > c->pages.budget_bytes && (n_full || n_sliding > s->n_promised)) return false;
    c->n_promised = promised;
    s->n_promised = n_sliding;
    return true;
}

static facet_status refuse(const kv_sequence *s, size_t n, facet_error *err) {
    const kv_cache *c = s->cache;
    return error_set(err, FACET_ERROR_BUDGET, "no KV memory for %zu tokens: other sequences hold %llu of %llu bytes",
                     n, (unsigned long long)kv_cache_used_bytes(c), (unsigned long long)c->pages.budget_bytes);
}

static size_t missing_pages(const kv_sequence *s, int kind, size_t first, size_t end) {
    if (!kv_pages_has(&s->cache->pages, kind)) return 0;
    size_t n = 0;
    for (size_t i = first; i < end; i++) n += s->tables[kind][i] == NO_PAGE;
    return n;
}

static bool take_pages(kv_sequence *s, int kind, size_t first, size_t end) {
    if (!kv_pages_has(&s->cache->pages, kind)) return true;
    if (s->end_page < end) s->end_page = end;
    for (size_t i = first; i < end; i++) {
        int32_t *entry = &s->tables[kind][i];
        if (*entry == NO_PAGE) *entry = kv_cache_take(s->cache, kind);
        if (*entry == NO_PAGE) return false;
    }
    return true;
}

facet_status kv_sequence_reserve(kv_sequence *s, size_t n, facet_error *err) {
    size_t first = s->length / CPU_PAGE, end = kv_pages_for(n);
    size_t live = s->cache->n_live < end ? s->cache->n_live : end;
    if (!kv_promise(s, missing_pages(s, KV_FULL, first, end), live) || !take_pages(s, KV_FULL, first, end)) {
        return refuse(s, n, err);
    }
    s->n_reserved = n;
    return FACET_OK;
}

/* The pages stay for the positions to come. */
void kv_sequence_shorten(kv_sequence *s, size_t n) { s->length = n; }

void kv_sequence_trim(kv_sequence *s) {
    size_t end = kv_pages_for(s->length);
    for (int kind = 0; kind < KV_KINDS; kind++) kv_release_range(s, kind, end, s->end_page);
    s->end_page = end;
    s->n_reserved = s->length;
    kv_promise(s, 0, end - s->first_sliding);
}

/* Lets go of sliding pages that no token from the present length on can see. */
static void leave_behind(kv_sequence *s) {
    size_t live = kv_window_page(s->cache, s->length);
    if (live <= s->first_sliding) return;
    kv_release_range(s, KV_SLIDING, s->first_sliding, live);
    s->first_sliding = live;
}

facet_status kv_sequence_extend(kv_sequence *s, size_t n, facet_error *err) {
    size_t first = s->length / CPU_PAGE, end = kv_pages_for(s->length + n);
    if (end > s->n_pages) {
        return error_set(err, FACET_ERROR_CONTEXT, "%zu positions do not fit a context of %zu", s->length + n,
                         s->n_pages * CPU_PAGE);
    }
    leave_behind(s);
    size_t held = end - s->first_sliding;
    if (s->length + n <= s->n_reserved && held < s->n_promised) held = s->n_promised;
    if (!kv_promise(s, missing_pages(s, KV_FULL, first, end), held)) return refuse(s, s->length + n, err);
    if (!take_pages(s, KV_FULL, first, end) || !take_pages(s, KV_SLIDING, first, end)) {
        kv_sequence_trim(s);
        return refuse(s, s->length + n, err);
    }
    s->length += n;
    return FACET_OK;
}

/* ---- telling the index */

/* The node has the same tokens: its pages replace the sequence's own; what it lacks it gets. */
static void share_node(kv_sequence *s, int32_t node, size_t page) {
    kv_pages *pages = &s->cache->pages;
    for (int kind = 0; kind < KV_KINDS; kind++) {
        int32_t *mine = &s->tables[kind][page], *known = &s->cache->index.nodes[node].pages[kind];
        if (*mine == *known || *mine == NO_PAGE) continue;
        if (*known == NO_PAGE) {
            *known = *mine;
            kv_pages_index(pages, kind, *mine);
            continue;
        }
        kv_pages_hold(pages, kind, *known);
        kv_pages_release(pages, kind, *mine);
        *mine = *known;
    }
}

static int32_t add_node(kv_sequence *s, size_t page, const int32_t *tokens, size_t n) {
    const int32_t pages[KV_KINDS] = {s->tables[KV_FULL][page], s->tables[KV_SLIDING][page]};
    return kv_index_add(&s->cache->index, s->node, s->key, tokens, n, pages);
}

static bool publish_full(kv_sequence *s, size_t page, const int32_t *tokens) {
    kv_index *x = &s->cache->index;
    int32_t tail = s->tail, node = kv_index_child(x, s->node, s->key, tokens);
    kv_node_release(x, &s->tail);
    if (node != NO_NODE) {
        if (tail != NO_NODE) kv_index_remove(x, tail);
        share_node(s, node, page);
    } else if (tail != NO_NODE) {
        kv_index_grow(x, tail, tokens, CPU_PAGE);
        node = tail;
    } else {
        node = add_node(s, page, tokens, CPU_PAGE);
    }
    if (node == NO_NODE) return false;
    kv_node_hold(x, node);
    kv_node_release(x, &s->node);
    s->node = node;
    return true;
}

/* Where somebody else's page holds as much, one is enough. */
static void publish_tail(kv_sequence *s, size_t page, const int32_t *tokens, size_t n) {
    kv_index *x = &s->cache->index;
    size_t common;
    if (s->tail != NO_NODE) {
        kv_index_grow(x, s->tail, tokens, n);
        return;
    }
    kv_index_best(x, s->node, s->key, tokens, n, &common);
    if (common == n) return;
    s->tail = add_node(s, page, tokens, n);
    kv_node_hold(x, s->tail);
}

void kv_sequence_publish(kv_sequence *s, const int32_t *tokens) {
    kv_index *x = &s->cache->index;
    if (s->moved) return;
    size_t known = s->node == NO_NODE ? 0 : (size_t)x->nodes[s->node].depth + 1, end = s->length / CPU_PAGE;
    bool grown = known < end;
    for (; known < end; known++) {
        if (!publish_full(s, known, tokens + known * CPU_PAGE)) return;
    }
    size_t n_tail = s->length % CPU_PAGE;
    if (n_tail) publish_tail(s, end, tokens + end * CPU_PAGE, n_tail);
    keep_checkpoints(s);
    if (grown) kv_index_touch(x, s->node);
}
