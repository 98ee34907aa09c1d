/* The prefix index. See prefix.h. Searches walk the lists of siblings and evictions all nodes: both are a few
 * microseconds per page of 64 tokens, thousands of times less than computing it. */
#include "kv/prefix.h"

#include <stdlib.h>
#include <string.h>

facet_status kv_index_open(kv_index *x, kv_pages *pages, size_t capacity, facet_error *err) {
    *x = (kv_index){.pages = pages, .capacity = capacity, .free_list = NO_NODE, .roots = NO_NODE};
    for (int kind = 0; kind < KV_KINDS; kind++) x->kept_bonus += pages->pools[kind].n_pages;
    x->nodes = malloc(capacity * sizeof *x->nodes);
    x->tokens = malloc(capacity * sizeof *x->tokens);
    return x->nodes && x->tokens ? FACET_OK : error_memory(err, capacity * sizeof *x->tokens);
}

void kv_index_close(kv_index *x) {
    free(x->nodes);
    free(x->tokens);
}

/* ---- finding */

static int32_t first_child(const kv_index *x, int32_t parent) {
    return parent == NO_NODE ? x->roots : x->nodes[parent].first_child;
}

static bool same_key(kv_key a, kv_key b) { return a.context == b.context && a.salt == b.salt && a.owner == b.owner; }

static size_t common_tokens(const int32_t *a, const int32_t *b, size_t n) {
    size_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

int32_t kv_index_child(const kv_index *x, int32_t parent, kv_key key, const int32_t *tokens) {
    for (int32_t i = first_child(x, parent); i != NO_NODE; i = x->nodes[i].next) {
        if (x->nodes[i].n_tokens != CPU_PAGE || !same_key(x->nodes[i].key, key)) continue;
        if (!memcmp(x->tokens[i], tokens, sizeof x->tokens[i])) return i;
    }
    return NO_NODE;
}

int32_t kv_index_best(const kv_index *x, int32_t parent, kv_key key, const int32_t *tokens, size_t n,
                      size_t *common) {
    int32_t best = NO_NODE;
    *common = 0;
    for (int32_t i = first_child(x, parent); i != NO_NODE; i = x->nodes[i].next) {
        if (!same_key(x->nodes[i].key, key)) continue;
        size_t most = x->nodes[i].n_tokens < n ? x->nodes[i].n_tokens : n;
        size_t same = common_tokens(x->tokens[i], tokens, most);
        bool whole = same && same == *common && x->nodes[i].pages[KV_SLIDING] != NO_PAGE;
        if (same <= *common && !whole) continue;
        best = i;
        *common = same;
    }
    return best;
}

/* ---- changing */

static int32_t *list_of(kv_index *x, int32_t parent) {
    return parent == NO_NODE ? &x->roots : &x->nodes[parent].first_child;
}

static int32_t take_node(kv_index *x) {
    int32_t node = x->free_list;
    if (node != NO_NODE) {
        x->free_list = x->nodes[node].next;
        return node;
    }
    return x->n_touched < x->capacity ? (int32_t)x->n_touched++ : NO_NODE;
}

int32_t kv_index_add(kv_index *x, int32_t parent, kv_key key, const int32_t *tokens, size_t n,
                     const int32_t pages[KV_KINDS]) {
    int32_t node = take_node(x);
    if (node == NO_NODE) return NO_NODE;
    int32_t *list = list_of(x, parent);
    x->nodes[node] = (kv_node){.parent = parent,
                               .first_child = NO_NODE,
                               .next = *list,
                               .previous = NO_NODE,
                               .depth = parent == NO_NODE ? 0 : x->nodes[parent].depth + 1,
                               .stamp = x->now,
                               .key = key};
    if (*list != NO_NODE) x->nodes[*list].previous = node;
    *list = node;
    for (int kind = 0; kind < KV_KINDS; kind++) {
        x->nodes[node].pages[kind] = pages[kind];
        kv_pages_index(x->pages, kind, pages[kind]);
    }
    kv_index_grow(x, node, tokens, n);
    return node;
}

void kv_index_grow(kv_index *x, int32_t node, const int32_t *tokens, size_t n) {
    uint32_t had = x->nodes[node].n_tokens;
    memcpy(x->tokens[node] + had, tokens + had, (n - had) * sizeof *tokens);
    x->nodes[node].n_tokens = (uint32_t)n;
}

void kv_index_remove(kv_index *x, int32_t node) {
    kv_node *gone = &x->nodes[node];
    if (gone->next != NO_NODE) x->nodes[gone->next].previous = gone->previous;
    if (gone->previous != NO_NODE)
        x->nodes[gone->previous].next = gone->next;
    else
        *list_of(x, gone->parent) = gone->next;
    for (int kind = 0; kind < KV_KINDS; kind++) kv_pages_forget(x->pages, kind, gone->pages[kind]);
    gone->n_tokens = 0;
    gone->next = x->free_list;
    x->free_list = node;
}

void kv_index_touch(kv_index *x, int32_t node) {
    x->now++;
    for (; node != NO_NODE; node = x->nodes[node].parent) x->nodes[node].stamp = x->now;
}

/* ---- forgetting */

/* Something that can be forgotten. The lowest goes first: by time of use, then leaves before single sliding pages,
 * then the earlier position. Leaves and the sliding pages of checkpoints count as used later than other sliding
 * pages: those help only a prompt that leaves the known path just there. */
typedef struct victim {
    int32_t node;
    bool leaf;
    uint64_t time;
    uint32_t depth;
} victim;

static bool goes_before(const victim *a, const victim *b) {
    if (b->node == NO_NODE) return true;
    if (a->time != b->time) return a->time < b->time;
    if (a->leaf != b->leaf) return a->leaf;
    return a->depth < b->depth;
}

static bool sliding_unused(const kv_index *x, const kv_node *node) {
    return node->pages[KV_SLIDING] != NO_PAGE && !kv_pages_in_use(x->pages, KV_SLIDING, node->pages[KV_SLIDING]);
}

static void consider(const kv_index *x, int32_t i, victim *best) {
    const kv_node *node = &x->nodes[i];
    bool leaf = node->first_child == NO_NODE && node->users == 0, sliding = sliding_unused(x, node);
    if (!leaf && !sliding) return;
    bool worth = !sliding || node->kept;
    victim v = {
        .node = i, .leaf = leaf && worth, .time = node->stamp + (worth ? x->kept_bonus : 0), .depth = node->depth};
    if (goes_before(&v, best)) *best = v;
}

bool kv_index_evict(kv_index *x) {
    victim best = {.node = NO_NODE};
    for (size_t i = 0; i < x->n_touched; i++) {
        if (x->nodes[i].n_tokens) consider(x, (int32_t)i, &best);
    }
    if (best.node == NO_NODE) return false;
    if (best.leaf) {
        kv_index_remove(x, best.node);
        return true;
    }
    kv_pages_forget(x->pages, KV_SLIDING, x->nodes[best.node].pages[KV_SLIDING]);
    x->nodes[best.node].pages[KV_SLIDING] = NO_PAGE;
    return true;
}
