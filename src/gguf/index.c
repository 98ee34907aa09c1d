/* Names to places. See index.h. */
#include "gguf/index.h"

#include <stdlib.h>
#include <string.h>

static inline uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* The table's address is the key: an author of a file cannot know it, and it changes whenever the table grows. */
static uint64_t hash_name(const name_index *index, gguf_string name) {
    uint64_t key = (uint64_t)(uintptr_t)index->slots * 0x9e3779b97f4a7c15u;
    uint64_t v[4] = {key ^ 0x736f6d6570736575u, ~key ^ 0x646f72616e646f6du, key ^ 0x6c7967656e657261u,
                     ~key ^ 0x7465646279746573u};
    for (size_t at = 0; at <= name.n; at += 8) {
        uint64_t m = 0;
        size_t n = name.n - at < 8 ? name.n - at : 8;
        if (n) memcpy(&m, name.data + at, n);
        if (n < 8) m |= (uint64_t)name.n << 56;
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static bool same(gguf_string a, gguf_string b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.data, b.data, a.n) == 0);
}

/* The slot that holds the name, or the free one where it belongs. */
static name_slot *probe(const name_index *index, gguf_string name) {
    size_t mask = index->n_slots - 1, at = (size_t)hash_name(index, name) & mask;
    while (index->slots[at].place != NAME_ABSENT && !same(index->slots[at].name, name)) at = (at + 1) & mask;
    return &index->slots[at];
}

size_t name_find(const name_index *index, gguf_string name) {
    return index->slots ? probe(index, name)->place : NAME_ABSENT;
}

static bool grow(name_index *index) {
    name_index larger = {.n_slots = index->n_slots ? index->n_slots * 2 : 64, .n = index->n};
    if (larger.n_slots > SIZE_MAX / 2 / sizeof(name_slot)) return false;
    larger.slots = malloc(larger.n_slots * sizeof(name_slot));
    if (!larger.slots) return false;
    for (size_t i = 0; i < larger.n_slots; i++) larger.slots[i].place = NAME_ABSENT;
    for (size_t i = 0; i < index->n_slots; i++) {
        const name_slot *slot = &index->slots[i];
        if (slot->place != NAME_ABSENT) *probe(&larger, slot->name) = *slot;
    }
    free(index->slots);
    *index = larger;
    return true;
}

bool name_add(name_index *index, gguf_string name, size_t place) {
    if (index->n * 2 >= index->n_slots && !grow(index)) return false;
    *probe(index, name) = (name_slot){name, place};
    index->n++;
    return true;
}

void name_index_free(name_index *index) {
    free(index->slots);
    *index = (name_index){0};
}
