/* Taking positions out of the middle of a sequence: which pages hold the rows behind them afterwards. See kv.h.
 *
 * With a = n / CPU_PAGE, page d of the new sequence lies where page d + a of the old one did, but for the page of
 * `from`, which stays. So rows move by less than a page inside of the same memory, in ascending order, and no second
 * copy of the sequence is ever needed. Before that the pages have to be the sequence's own: the index forgets those
 * that nobody counts on, the others are copied. */
#include "kv/cache.h"

static size_t window_first(const kv_cache *c, size_t length) {
    return length + 1 > c->h->window ? length + 1 - c->h->window : 0;
}

/* Pages behind the window are let go at some time or other; what may have been counts as gone. */
bool kv_shift_possible(const kv_sequence *s, size_t from, size_t n) {
    const kv_cache *c = s->cache;
    if (n == 0 || from + n >= s->length) return false;
    size_t first = window_first(c, s->length - n);
    bool reaches_back = kv_pages_has(&c->pages, KV_SLIDING) && first < from;
    return !reaches_back || first / CPU_PAGE >= kv_window_page(c, s->length);
}

/* ---- making pages the sequence's own */

/* The index forgets the nodes from page `first` on, where they are this sequence's alone. */
static void leave_index(kv_sequence *s, size_t first) {
    kv_index *x = &s->cache->index;
    int32_t node = s->tail != NO_NODE ? s->tail : s->node;
    int32_t stays = kv_ancestor(x, s->node, first);
    kv_node_hold(x, stays);
    kv_node_release(x, &s->tail);
    kv_node_release(x, &s->node);
    s->node = stays;
    while (node != stays && x->nodes[node].users == 0 && x->nodes[node].first_child == NO_NODE) {
        int32_t parent = x->nodes[node].parent;
        kv_index_remove(x, node);
        node = parent;
    }
}

static bool is_own(const kv_sequence *s, int kind, int32_t page) {
    const kv_page *p = &s->cache->pages.pools[kind].pages[page];
    return p->users == 1 && !p->indexed;
}

static bool own_page(kv_sequence *s, int kind, size_t at) {
    kv_cache *c = s->cache;
    int32_t *entry = &s->tables[kind][at];
    if (*entry == NO_PAGE || is_own(s, kind, *entry)) return true;
    bool others = c->pages.pools[kind].pages[*entry].users > 1;
    if (others && kind == KV_FULL && !kv_promise(s, 1, s->n_promised)) return false;
    int32_t fresh = kv_cache_take(c, kind);
    if (fresh == NO_PAGE) return is_own(s, kind, *entry); /* on the way the index forgot what it could */
    kv_cache_copy_rows(c, kind, fresh, *entry, CPU_PAGE);
    kv_pages_release(&c->pages, kind, *entry);
    *entry = fresh;
    return true;
}

/* The page of `from`, and those that will be written. */
static bool own_pages(kv_sequence *s, int kind, size_t first, size_t n_whole) {
    if (!own_page(s, kind, first)) return false;
    for (size_t i = first + n_whole + 1; i < s->end_page; i++) {
        if (!own_page(s, kind, i)) return false;
    }
    return true;
}

/* Where windows begin in a page of their own afterwards, they may need one more. */
static bool take_first_sliding(kv_sequence *s, size_t first, size_t n_whole, size_t length, int32_t *page) {
    kv_cache *c = s->cache;
    size_t low = kv_window_page(c, length), old = low > first ? low + n_whole : low;
    *page = NO_PAGE;
    if (!kv_pages_has(&c->pages, KV_SLIDING) || s->tables[KV_SLIDING][old] != NO_PAGE) return true;
    size_t n_sliding = kv_pages_for(length) - low;
    if (n_sliding > s->n_promised && !kv_promise(s, 0, n_sliding)) return false;
    *page = kv_cache_take(c, KV_SLIDING);
    return *page != NO_PAGE;
}

/* ---- the tables */

static void rename_pages(kv_sequence *s, int kind, size_t first, size_t n_whole, int32_t *extra) {
    int32_t *table = s->tables[kind];
    *extra = NO_PAGE;
    if (n_whole == 0) return;
    kv_release_range(s, kind, first + 1, first + n_whole);
    *extra = table[first + n_whole];
    for (size_t i = first + 1; i < s->end_page; i++) {
        table[i] = i + n_whole < s->end_page ? table[i + n_whole] : NO_PAGE;
    }
}

/* The page behind the last one may still hold rows to be moved. */
static void cut_tables(kv_sequence *s, size_t length, int32_t first_sliding_page) {
    size_t end = kv_pages_for(length) + 1, low = kv_window_page(s->cache, length);
    if (end > s->end_page) end = s->end_page;
    for (int kind = 0; kind < KV_KINDS; kind++) kv_release_range(s, kind, end, s->end_page);
    kv_release_range(s, KV_SLIDING, 0, low);
    if (first_sliding_page != NO_PAGE) s->tables[KV_SLIDING][low] = first_sliding_page;
    s->first_sliding = low;
    s->end_page = end;
    s->length = length;
    s->n_reserved = length;
}

facet_status kv_shift_begin(kv_shift *out, kv_sequence *s, size_t from, size_t n, facet_error *err) {
    size_t first = from / CPU_PAGE, n_whole = n / CPU_PAGE, length = s->length - n;
    int32_t page = NO_PAGE;
    *out = (kv_shift){.from = from, .n = n, .length = length, .extra = {NO_PAGE, NO_PAGE}};
    leave_index(s, first);
    bool ok = own_pages(s, KV_FULL, first, n_whole) && own_pages(s, KV_SLIDING, first, n_whole) &&
              take_first_sliding(s, first, n_whole, length, &page);
    if (!ok) {
        return error_set(err, FACET_ERROR_BUDGET, "no KV memory to move %zu tokens: other sequences hold it",
                         length - from);
    }
    for (int kind = 0; kind < KV_KINDS; kind++) rename_pages(s, kind, first, n_whole, &out->extra[kind]);
    cut_tables(s, length, page);
    s->checkpoints[0] = s->checkpoints[1] = 0;
    s->moved_from = s->moved && s->moved_from < from ? s->moved_from : from;
    s->moved = true;
    return FACET_OK;
}

/* ---- the rows */

size_t kv_shift_first(const kv_shift *shift, const kv_sequence *s, uint32_t layer) {
    size_t first = s->cache->h->layers[layer].sliding ? window_first(s->cache, shift->length) : 0;
    return first > shift->from ? first : shift->from;
}

static const uint8_t *old_plane(const kv_shift *shift, const kv_sequence *s, uint32_t layer, size_t plane,
                                size_t page) {
    int kind = s->cache->h->layers[layer].sliding;
    size_t n_whole = shift->n / CPU_PAGE;
    bool extra = n_whole && page == shift->from / CPU_PAGE + n_whole;
    return kv_plane_at(s->cache, layer, plane, extra ? shift->extra[kind] : s->tables[kind][page - n_whole]);
}

const uint8_t *kv_shift_keys(const kv_shift *shift, const kv_sequence *s, uint32_t layer, uint32_t head,
                             size_t page) {
    return old_plane(shift, s, layer, head, page);
}

const uint8_t *kv_shift_values(const kv_shift *shift, const kv_sequence *s, uint32_t layer, uint32_t head,
                               size_t page) {
    return old_plane(shift, s, layer, s->cache->h->layers[layer].n_head_kv + head, page);
}

void kv_shift_end(kv_shift *shift, kv_sequence *s) {
    for (int kind = 0; kind < KV_KINDS; kind++) {
        kv_pages_release(&s->cache->pages, kind, shift->extra[kind]);
        shift->extra[kind] = NO_PAGE;
        kv_release_range(s, kind, kv_pages_for(shift->length), s->end_page);
    }
    s->end_page = kv_pages_for(shift->length);
}

/* ---- going on with it */

bool kv_sequence_moved(const kv_sequence *s, size_t *from) {
    *from = s->moved_from;
    return s->moved;
}

bool kv_sequence_continue(kv_sequence *s, size_t keep, size_t n, facet_status *status, facet_error *err) {
    bool sliding = kv_pages_has(&s->cache->pages, KV_SLIDING);
    if (sliding && kv_window_page(s->cache, keep) < kv_window_page(s->cache, s->length)) return false;
    kv_sequence_shorten(s, keep);
    kv_sequence_trim(s);
    *status = kv_sequence_reserve(s, n, err);
    if (*status != FACET_OK) kv_sequence_release(s);
    return true;
}
