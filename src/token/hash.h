/* Hashing of spellings, and a flat table of indices found by hash. Owns: nothing but its slots; what an index means,
 * and whether a candidate is the one looked for, its caller knows. A slot is 32 bits: an index and, in the bits that
 * the index leaves free, a tag of the hash that spares most comparisons. Lookups are bounded even against files made
 * to collide: a table that would need more than TABLE_MAX_PROBES steps is not built (at half load, a million random
 * entries need about 100), so the hash needs no secret and opening a file has one outcome. */
#ifndef FACET_TOKEN_HASH_H
#define FACET_TOKEN_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The high and the low half of a product, folded: every bit of a and b reaches every bit of the result. */
static inline uint64_t hash_fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_bytes(const char *s, size_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u ^ n, word = 0;
    for (; n > 8; s += 8, n -= 8) {
        memcpy(&word, s, 8);
        h = hash_fold(h ^ word, 0xd6e8feb86659fd93u);
    }
    uint32_t head = 0, tail = 0;
    if (n >= 4) { /* two overlapping words cover 4 to 8 bytes */
        memcpy(&head, s, 4);
        memcpy(&tail, s + n - 4, 4);
    } else if (n) {
        head = (uint8_t)s[0];
        tail = (uint32_t)(uint8_t)s[n / 2] << 8 | (uint8_t)s[n - 1];
    }
    return hash_fold(h ^ ((uint64_t)tail << 32 | head), 0xa0761d6478bd642fu);
}

/* The hash of an ordered pair, from the hashes of its halves. */
static inline uint64_t hash_pair(uint64_t left, uint64_t right) {
    return hash_fold(left ^ 0xe7037ed1a0b428dbu, (right << 32 | right >> 32) ^ 0x8ebc6af09c88c6e3u);
}

enum { TABLE_MAX_PROBES = 256 };

typedef struct table {
    uint32_t *slots; /* tag | index + 1; 0: empty */
    size_t mask;     /* slots - 1 */
    unsigned index_bits;
} table;

/* A walk over the indices whose hash may be the one given. */
typedef struct table_walk {
    size_t slot;
    uint32_t tag;
    unsigned n_probes;
} table_walk;

/* An empty table for indices below n <= 2^30. False: no memory. */
bool table_new(table *t, size_t n);
void table_free(table *t);
static inline size_t table_bytes(const table *t) { return t->slots ? (t->mask + 1) * sizeof *t->slots : 0; }

static inline table_walk table_start(const table *t, uint64_t hash) {
    uint32_t high = (uint32_t)(hash >> 32);
    return (table_walk){.slot = (size_t)hash & t->mask, .tag = high >> t->index_bits << t->index_bits};
}

/* Asks for the memory where a walk will start. */
static inline void table_fetch(const table *t, uint64_t hash) {
    __builtin_prefetch(&t->slots[(size_t)hash & t->mask], 1);
}

/* The next candidate; false at the end, where the walk stands at the slot for an insertion. */
static inline bool table_next(const table *t, table_walk *w, uint32_t *index) {
    uint32_t index_mask = ((uint32_t)1 << t->index_bits) - 1;
    while (w->n_probes < TABLE_MAX_PROBES) {
        uint32_t slot = t->slots[w->slot];
        if (slot == 0) return false;
        w->slot = (w->slot + 1) & t->mask;
        w->n_probes++;
        if ((slot & ~index_mask) == w->tag) {
            *index = (slot & index_mask) - 1;
            return true;
        }
    }
    return false;
}

/* Adds an index where a finished walk stands. False: too many collisions. */
static inline bool table_insert(table *t, const table_walk *w, uint32_t index) {
    if (w->n_probes >= TABLE_MAX_PROBES) return false;
    t->slots[w->slot] = w->tag | (index + 1);
    return true;
}

#endif
