/* Sets of tokens, and the vocabulary as a trie over the bytes that tokens stand for. Owns: both. Knows nothing of
 * grammars. Built once for a vocabulary, then immutable, so that any number of threads may use it.
 *
 * Plain characters are those that may stand in a JSON string as they are: U+0020 and above without '"', '\\' and
 * U+007F. A token is plain when it is made of whole plain characters. The trie says of every subtree whether all its
 * tokens are plain and how many characters the longest has, and the sets of plain tokens of at most k characters are
 * kept: so whoever accepts all plain text need not walk most of the vocabulary. */
#ifndef FACET_SAMPLE_MASK_H
#define FACET_SAMPLE_MASK_H

#include "base/error.h"
#include "token/vocab.h"

/* Bit i of a mask is token i. */
static inline size_t mask_words(size_t n_vocab) { return (n_vocab + 63) / 64; }
static inline void mask_set(uint64_t *mask, int32_t id) { mask[id / 64] |= (uint64_t)1 << (id % 64); }
static inline bool mask_has(const uint64_t *mask, int32_t id) { return mask[id / 64] >> (id % 64) & 1; }
/* The logits of tokens outside of the set become -infinity. */
void mask_forbid(const uint64_t *mask, float *logits, size_t n_vocab);
int32_t mask_lowest(const uint64_t *mask, size_t n_vocab); /* 0 where there is none */

enum {
    TRIE_PLAIN_STEPS = 24, /* the sets of plain tokens that are kept: of at most 1..24 characters, and all */
    TRIE_MIXED = 255,      /* not all tokens of the subtree are plain */
    TRIE_MAX_DEPTH = VOCAB_MAX_SPELLING
};

/* Nodes in depth-first order; 0 is the root, the last one a sentinel. The children of i begin at i + 1, and the
 * subtree ends before `end`. */
typedef struct trie_node {
    uint32_t end;
    uint32_t first; /* the tokens here are ids[first .. first of the next node) */
    uint16_t depth; /* bytes */
    uint8_t byte;
    uint8_t plain; /* characters of the longest token in the subtree (at most 254), or TRIE_MIXED */
} trie_node;

typedef struct token_trie {
    trie_node *nodes;
    size_t n_nodes; /* without the sentinel */
    int32_t *ids;   /* tokens that are text, sorted by their bytes */
    size_t n_ids;
    int32_t *ends; /* tokens that end a generation */
    size_t n_ends;
    size_t n_vocab;
    size_t longest;  /* bytes of the longest token */
    uint64_t *plain; /* [TRIE_PLAIN_STEPS + 1][mask_words] */
} token_trie;

facet_status trie_new(token_trie **out, const vocab *v, facet_error *err);
void trie_free(token_trie *t);
size_t trie_memory_bytes(const token_trie *t);

/* The plain tokens of at most *n >= 1 characters, or a subset; *n becomes the number that it really is. */
const uint64_t *trie_plain(const token_trie *t, uint32_t *n);

#endif
