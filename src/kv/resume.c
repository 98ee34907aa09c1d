/* Starting a timeline: what of it is known already, and taking that over. See kv.h.
 *
 * A prefix of n positions can be resumed where its full pages are known and the sliding pages that the next token
 * sees. Whole pages are shared. A page of which only a part fits is copied, unless it is the sequence's own and
 * nobody counts on more of it. */
#include "kv/cache.h"

/* ---- what is known */

int32_t kv_ancestor(const kv_index *x, int32_t node, size_t n_pages) {
    while (node != NO_NODE && x->nodes[node].depth + 1 > n_pages) node = x->nodes[node].parent;
    return node;
}

/* The last page of the path, but not before page `first`, whose sliding part is gone: its number plus 1, or 0 when
 * all are there. */
static size_t missing_sliding(const kv_index *x, int32_t node, size_t first) {
    for (; node != NO_NODE && x->nodes[node].depth >= first; node = x->nodes[node].parent) {
        if (x->nodes[node].pages[KV_SLIDING] == NO_PAGE) return (size_t)x->nodes[node].depth + 1;
    }
    return 0;
}

static void drop_tail(kv_match *m) {
    m->n -= m->n_tail;
    m->n_tail = 0;
    m->tail = NO_NODE;
}

/* Cuts the match to where the window is there. */
static void fit_window(const kv_cache *c, kv_match *m) {
    const kv_index *x = &c->index;
    if (!kv_pages_has(&c->pages, KV_SLIDING)) return;
    if (m->n_tail && x->nodes[m->tail].pages[KV_SLIDING] == NO_PAGE) drop_tail(m);
    size_t missing;
    while ((missing = missing_sliding(x, m->node, kv_window_page(c, m->n))) > 0) {
        drop_tail(m);
        m->n = (missing - 1) * CPU_PAGE;
        m->node = kv_ancestor(x, m->node, missing - 1);
    }
}

kv_match kv_match_find(const kv_cache *c, kv_key key, const int32_t *tokens, size_t most) {
    const kv_index *x = &c->index;
    kv_match m = {.node = NO_NODE, .tail = NO_NODE};
    int32_t child;
    while (m.n + CPU_PAGE <= most && (child = kv_index_child(x, m.node, key, tokens + m.n)) != NO_NODE) {
        m.node = child;
        m.n += CPU_PAGE;
    }
    size_t left = most - m.n < CPU_PAGE ? most - m.n : CPU_PAGE;
    m.tail = kv_index_best(x, m.node, key, tokens + m.n, left, &m.n_tail);
    m.n += m.n_tail;
    m.n_known = m.n;
    fit_window(c, &m);
    return m;
}

/* ---- taking it over */

static void clear_spare(kv_sequence *s) {
    for (int kind = 0; kind < KV_KINDS; kind++) {
        for (size_t i = 0; i < s->n_pages; i++) s->spare[kind][i] = NO_PAGE;
    }
}

/* Holds the pages of the path: all full ones, the sliding ones that the window needs. */
static void hold_path(kv_sequence *s, const kv_match *m, size_t first_sliding) {
    kv_cache *c = s->cache;
    for (int32_t i = m->node; i != NO_NODE; i = c->index.nodes[i].parent) {
        const kv_node *node = &c->index.nodes[i];
        for (int kind = 0; kind < KV_KINDS; kind++) {
            if (kind == KV_SLIDING && node->depth < first_sliding) continue;
            s->spare[kind][node->depth] = node->pages[kind];
            kv_pages_hold(&c->pages, kind, node->pages[kind]);
        }
    }
}

static void hold_tail(kv_sequence *s, const kv_match *m, size_t page) {
    for (int kind = 0; kind < KV_KINDS && m->n_tail; kind++) {
        s->spare[kind][page] = s->cache->index.nodes[m->tail].pages[kind];
        kv_pages_hold(&s->cache->pages, kind, s->spare[kind][page]);
    }
}

/* The page is somebody else's: replaces it by a copy of its first n rows. False when there is no memory. */
static bool copy_tail(kv_sequence *s, size_t page, size_t n) {
    kv_cache *c = s->cache;
    bool ok = true;
    for (int kind = 0; kind < KV_KINDS; kind++) {
        int32_t from = s->tables[kind][page];
        if (from == NO_PAGE) continue;
        int32_t to = ok ? kv_cache_take(c, kind) : NO_PAGE;
        ok = ok && to != NO_PAGE;
        ok = ok && kv_cache_copy_rows(c, kind, to, from, n);
        kv_pages_release(&c->pages, kind, from);
        s->tables[kind][page] = to;
    }
    return ok;
}

static void swap_tables(kv_sequence *s) {
    for (int kind = 0; kind < KV_KINDS; kind++) {
        int32_t *table = s->tables[kind];
        s->tables[kind] = s->spare[kind];
        s->spare[kind] = table;
    }
}

/* Makes the sequence what the match says. False when there was no memory for its tail: it ends before the tail then,
 * and may lack a part of its window. */
static bool take_over(kv_sequence *s, const kv_match *m) {
    kv_index *x = &s->cache->index;
    size_t page = m->n / CPU_PAGE, first_sliding = kv_window_page(s->cache, m->n);
    bool own = m->n_tail && m->tail == s->tail && x->nodes[m->tail].n_tokens == m->n_tail;
    int32_t tail = own ? s->tail : NO_NODE;
    clear_spare(s);
    hold_path(s, m, first_sliding);
    hold_tail(s, m, page);
    kv_node_hold(x, m->node);
    kv_node_hold(x, tail);
    kv_sequence_release(s);
    swap_tables(s);
    s->node = m->node;
    s->tail = tail;
    s->length = m->n;
    s->first_sliding = first_sliding;
    s->end_page = kv_pages_for(m->n);
    if (m->n_tail == 0 || own || copy_tail(s, page, m->n_tail)) return true;
    s->length -= m->n_tail;
    return false;
}

static void resume(kv_sequence *s, const int32_t *tokens, size_t most) {
    kv_match m = kv_match_find(s->cache, s->key, tokens, most);
    s->checkpoints[1] = m.n_known; /* where timelines part: others will come to this point */
    kv_index_touch(&s->cache->index, m.tail != NO_NODE ? m.tail : m.node);
    if (take_over(s, &m)) return;
    m = kv_match_find(s->cache, s->key, tokens, s->length);
    take_over(s, &m);
}

facet_status kv_sequence_begin(kv_sequence *s, const int32_t *tokens, size_t n, size_t most, facet_error *err) {
    resume(s, tokens, most);
    s->checkpoints[0] = n;
    facet_status status = kv_sequence_reserve(s, n, err);
    if (status != FACET_OK) kv_sequence_release(s);
    return status;
}
