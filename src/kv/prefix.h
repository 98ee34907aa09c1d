/* The prefix index: which pages hold the keys and values of which tokens. Owns: the tree of known pages and the order
 * in which they are forgotten. Knows nothing of sequences and windows.
 *
 * A node is one page of positions: its parent holds the page before it, so a path from a root is a prefix. A node of
 * fewer than CPU_PAGE tokens is a tail: it has no children and grows with the sequence that writes its page. Tokens
 * are compared themselves, so there are no collisions. Full nodes with the same parent differ in their tokens; tails
 * may begin like others. */
#ifndef FACET_KV_PREFIX_H
#define FACET_KV_PREFIX_H

#include "cpu/cpu.h"
#include "kv/pages.h"

enum { NO_NODE = -1 };

/* What keys and values depend on beside the tokens (`context`: adapters and their scales), and who may share them. */
typedef struct kv_key {
    uint64_t context;
    uint64_t salt;
    uint64_t owner; /* 0: shared by all of the same salt; else of one sequence alone */
} kv_key;

typedef struct kv_node {
    int32_t parent, first_child, next, previous; /* siblings in a list; NO_NODE */
    int32_t pages[KV_KINDS];                     /* the sliding one may be gone */
    uint32_t depth;                              /* which page of the prefix */
    uint32_t n_tokens;                           /* 0: the node is free */
    uint32_t users;                              /* sequences whose known part ends here */
    bool kept;                                   /* its sliding page belongs to a checkpoint */
    uint64_t stamp;                              /* when it was last used */
    kv_key key;
} kv_node;

typedef struct kv_index {
    kv_pages *pages;
    kv_node *nodes;
    int32_t (*tokens)[CPU_PAGE];
    size_t capacity, n_touched; /* nodes from n_touched on were never used */
    int32_t free_list;          /* by `next` */
    int32_t roots;
    uint64_t now;
    uint64_t kept_bonus; /* what is worth keeping counts as used this much later */
} kv_index;

facet_status kv_index_open(kv_index *x, kv_pages *pages, size_t capacity, facet_error *err);
void kv_index_close(kv_index *x);

/* The full child of `parent` (NO_NODE: among the roots of `key`) with these CPU_PAGE tokens, or NO_NODE. */
int32_t kv_index_child(const kv_index *x, int32_t parent, kv_key key, const int32_t *tokens);
/* The child that shares the most of n <= CPU_PAGE tokens, *common of them; NO_NODE where that is none. */
int32_t kv_index_best(const kv_index *x, int32_t parent, kv_key key, const int32_t *tokens, size_t n, size_t *common);
/* Adds a node; the index learns of its pages. NO_NODE when there is no room. */
int32_t kv_index_add(kv_index *x, int32_t parent, kv_key key, const int32_t *tokens, size_t n,
                     const int32_t pages[KV_KINDS]);
/* The tokens of a tail, now n of them. */
void kv_index_grow(kv_index *x, int32_t node, const int32_t *tokens, size_t n);
/* A node without children or users. */
void kv_index_remove(kv_index *x, int32_t node);
/* The node and all before it have just been used. */
void kv_index_touch(kv_index *x, int32_t node);
/* Forgets the page whose loss hurts least among those that no sequence holds. False when there is none. */
bool kv_index_evict(kv_index *x);

#endif
