/* Byte-pair encoding of one piece of text. Owns: the symbols of the piece. Knows nothing of how text is cut to
 * pieces. Neighbours with a merge wait in a heap by (rank, position), so a piece of n characters takes n log n steps.
 */
#ifndef FACET_TOKEN_BPE_H
#define FACET_TOKEN_BPE_H

#include "token/internal.h"

typedef struct bpe_symbol {
    uint64_t hash; /* of its text */
    uint32_t start, n_bytes;
    uint32_t previous, next; /* indices; BPE_NONE at the ends */
    int32_t id;              /* -1: joined to its left neighbour */
} bpe_symbol;

typedef struct bpe_candidate {
    uint64_t order;   /* rank << 32 | left symbol */
    uint32_t n_bytes; /* of both together: tells whether the neighbours are still the same */
    int32_t id;       /* of the joined symbol */
} bpe_candidate;

#define BPE_NONE UINT32_MAX

typedef struct bpe {
    const vocab *v;
    buffer text; /* of the piece, spaces as U+2581 */
    bpe_symbol *symbols;
    size_t n_symbols, symbol_capacity;
    bpe_candidate *heap;
    size_t n_heap, heap_capacity;
} bpe;

void bpe_free(bpe *b);
/* Adds a character that is a token of the vocabulary to the end of the piece. False: no memory. */
bool bpe_add(bpe *b, const char *s, size_t n, uint64_t hash, int32_t id);
/* Joins what joins, appends the ids and leaves an empty piece. False: no memory. */
bool bpe_flush(bpe *b, token_list *out);

#endif
