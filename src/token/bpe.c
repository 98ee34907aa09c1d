/* Byte-pair encoding. See bpe.h. Rule: start from single characters, join the neighbours of lowest rank, the leftmost
 * on ties, until none has a merge. */
#include "token/bpe.h"

#include <stdlib.h>

#include "base/checked.h"

void bpe_free(bpe *b) {
    buffer_free(&b->text);
    free(b->symbols);
    free(b->heap);
    *b = (bpe){0};
}

/* Room for one more element; the array stays as it was when there is no memory. */
static bool grow(void **array, size_t n, size_t *capacity, size_t element_bytes) {
    if (n < *capacity) return true;
    size_t wanted = *capacity ? *capacity * 2 : 64, n_bytes;
    if (!checked_mul(wanted, element_bytes, &n_bytes)) return false;
    void *larger = realloc(*array, n_bytes);
    if (!larger) return false;
    *array = larger;
    *capacity = wanted;
    return true;
}

bool bpe_add(bpe *b, const char *s, size_t n, uint64_t hash, int32_t id) {
    if (!grow((void **)&b->symbols, b->n_symbols, &b->symbol_capacity, sizeof *b->symbols)) return false;
    uint32_t i = (uint32_t)b->n_symbols;
    b->symbols[i] = (bpe_symbol){.hash = hash,
                                 .start = (uint32_t)b->text.n,
                                 .n_bytes = (uint32_t)n,
                                 .previous = i ? i - 1 : BPE_NONE,
                                 .next = BPE_NONE,
                                 .id = id};
    if (!buffer_append(&b->text, s, n)) return false;
    if (i) b->symbols[i - 1].next = i;
    b->n_symbols++;
    return true;
}

static bool heap_push(bpe *b, bpe_candidate c) {
    if (!grow((void **)&b->heap, b->n_heap, &b->heap_capacity, sizeof *b->heap)) return false;
    size_t i = b->n_heap++;
    for (; i && c.order < b->heap[(i - 1) / 2].order; i = (i - 1) / 2) b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = c;
    return true;
}

static bpe_candidate heap_pop(bpe *b) {
    bpe_candidate top = b->heap[0], last = b->heap[--b->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < b->n_heap; i = child) {
        if (child + 1 < b->n_heap && b->heap[child + 1].order < b->heap[child].order) child++;
        if (last.order <= b->heap[child].order) break;
        b->heap[i] = b->heap[child];
    }
    b->heap[i] = last;
    return top;
}

/* Queues a symbol and its right neighbour if a merge joins them to a token of the vocabulary. */
static bool consider(bpe *b, uint32_t left) {
    const bpe_symbol *l = &b->symbols[left];
    if (l->next == BPE_NONE) return true;
    const bpe_symbol *r = &b->symbols[l->next];
    const char *text = b->text.data + l->start;
    size_t n = (size_t)l->n_bytes + r->n_bytes;
    if (n > b->v->max_bytes) return true;
    uint32_t rank = merges_rank(&b->v->merges, text, l->n_bytes, r->n_bytes, l->hash, r->hash);
    if (rank == MERGES_NONE) return true;
    int32_t id = vocab_text(b->v, text, n, hash_bytes(text, n));
    if (id < 0) return true;
    return heap_push(b, (bpe_candidate){.order = (uint64_t)rank << 32 | left, .n_bytes = (uint32_t)n, .id = id});
}

/* A candidate is out of date when its left symbol was joined away or the two no longer have the length they had:
 * a symbol only ever grows to the right, so equal length means the same two. */
static bool still_there(const bpe *b, uint32_t left, bpe_candidate c) {
    const bpe_symbol *l = &b->symbols[left];
    return l->id >= 0 && l->next != BPE_NONE && l->n_bytes + b->symbols[l->next].n_bytes == c.n_bytes;
}

static void join(bpe *b, uint32_t left, bpe_candidate c) {
    bpe_symbol *l = &b->symbols[left], *r = &b->symbols[l->next];
    l->n_bytes = c.n_bytes;
    l->hash = hash_bytes(b->text.data + l->start, l->n_bytes);
    l->id = c.id;
    l->next = r->next;
    r->id = -1;
    if (r->next != BPE_NONE) b->symbols[r->next].previous = left;
}

static bool merge_all(bpe *b) {
    for (uint32_t i = 0; i + 1 < b->n_symbols; i++) {
        if (!consider(b, i)) return false;
    }
    while (b->n_heap) {
        bpe_candidate c = heap_pop(b);
        uint32_t left = (uint32_t)c.order;
        if (!still_there(b, left, c)) continue;
        join(b, left, c);
        uint32_t previous = b->symbols[left].previous;
        if (!consider(b, left) || (previous != BPE_NONE && !consider(b, previous))) return false;
    }
    return true;
}

bool bpe_flush(bpe *b, token_list *out) {
    if (b->n_symbols == 0) return true;
    bool ok = merge_all(b);
    for (uint32_t i = 0; ok && i != BPE_NONE; i = b->symbols[i].next) ok = token_list_push(out, b->symbols[i].id);
    b->n_symbols = b->n_heap = 0;
    buffer_clear(&b->text);
    return ok;
}
