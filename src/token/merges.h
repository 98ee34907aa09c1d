/* The merges of byte-pair encoding: which two neighbours join, and how early. Owns: an index over the file's list.
 * Borrows: the list's text. Knows nothing of token ids: a merge is found by the spellings of its halves, so that
 * opening needs no look-up in the vocabulary for half a million lines. */
#ifndef FACET_TOKEN_MERGES_H
#define FACET_TOKEN_MERGES_H

#include "base/error.h"
#include "gguf/gguf.h"
#include "token/hash.h"

typedef struct merges {
    const gguf_kv *list;
    uint32_t *at; /* where merge i starts in the list */
    table by_pair;
    uint32_t joins[256][256 / 32]; /* see merges_join */
} merges;

#define MERGES_NONE UINT32_MAX

/* U+2581, which stands for a space. */
#define TOKEN_SPACE "\xe2\x96\x81"
enum { TOKEN_SPACE_BYTES = 3 };

facet_status merges_new(merges *m, const gguf_kv *list, facet_error *err);
void merges_free(merges *m);
size_t merges_bytes(const merges *m);

/* The rank of the merge of two spellings that lie one after the other at s, or MERGES_NONE. The hashes are theirs. */
uint32_t merges_rank(const merges *m, const char *s, size_t left_bytes, size_t right_bytes, uint64_t left_hash,
                     uint64_t right_hash);

/* What decides cheaply where text can be cut. Whatever spans the border of two characters began as a merge whose left
 * half ends with the first and whose right half begins with the second. So a border is safe to cut where no merge of
 * the file has such ends. The ends are told apart by one byte, the space mark by one that no character begins or ends
 * with. */
static inline uint8_t merges_first_class(const char *s, size_t n) {
    return n >= TOKEN_SPACE_BYTES && memcmp(s, TOKEN_SPACE, TOKEN_SPACE_BYTES) == 0 ? 0xff : (uint8_t)s[0];
}
static inline uint8_t merges_last_class(const char *s, size_t n) {
    return n >= TOKEN_SPACE_BYTES && memcmp(s + n - TOKEN_SPACE_BYTES, TOKEN_SPACE, TOKEN_SPACE_BYTES) == 0
               ? 0xff
               : (uint8_t)s[n - 1];
}
/* Whether some merge has a left half that ends in class `last` and a right half that begins with class `first`. */
static inline bool merges_join(const merges *m, uint8_t last, uint8_t first) {
    return m->joins[last][first / 32] >> (first % 32) & 1;
}

#endif
