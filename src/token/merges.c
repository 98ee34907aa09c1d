/* The merges. See merges.h. Format: gemma4's `tokenizer.ggml.merges`, "LEFT RIGHT", the rank is the index. */
#include "token/merges.h"

#include <stdlib.h>

static gguf_string text_of(const merges *m, uint32_t rank) {
    gguf_string_iterator it = {.kv = m->list, .i = rank, .at = m->at[rank]};
    gguf_string text = {0};
    gguf_next_string(&it, &text);
    return text;
}

/* The length of the left half; 0 unless there are two halves with one space between. */
static size_t left_half(gguf_string text) {
    const char *space = text.n ? memchr(text.data, ' ', text.n) : NULL;
    if (!space) return 0;
    size_t left = (size_t)(space - text.data), right = text.n - left - 1;
    return right && !memchr(space + 1, ' ', right) ? left : 0;
}

/* A merge on its way into the table. Half a million insertions at random places would each wait for memory, so merges
 * are hashed a block at a time, their places fetched ahead. */
typedef struct entry {
    gguf_string text;
    uint64_t hash;
} entry;
enum { BLOCK = 32 };

static facet_status read_entry(merges *m, uint32_t rank, gguf_string_iterator *it, entry *e, facet_error *err) {
    m->at[rank] = (uint32_t)it->at;
    if (!gguf_next_string(it, &e->text)) return error_set(err, FACET_ERROR_FORMAT, "merge %u is missing", rank);
    size_t left = left_half(e->text), right = e->text.n - left - 1;
    if (!left)
        return error_set(err, FACET_ERROR_FORMAT, "merge %u is not two spellings with one space between", rank);
    const char *second = e->text.data + left + 1;
    e->hash = hash_pair(hash_bytes(e->text.data, left), hash_bytes(second, right));
    table_fetch(&m->by_pair, e->hash);
    uint8_t last = merges_last_class(e->text.data, left), first = merges_first_class(second, right);
    m->joins[last][first / 32] |= (uint32_t)1 << (first % 32);
    return FACET_OK;
}

static facet_status insert(merges *m, uint32_t rank, const entry *e, facet_error *err) {
    table_walk w = table_start(&m->by_pair, e->hash);
    for (uint32_t other; table_next(&m->by_pair, &w, &other);) {
        gguf_string seen = text_of(m, other);
        if (seen.n == e->text.n && memcmp(seen.data, e->text.data, seen.n) == 0)
            return error_set(err, FACET_ERROR_FORMAT, "merge %u repeats merge %u", rank, other);
    }
    if (table_insert(&m->by_pair, &w, rank)) return FACET_OK;
    return error_set(err, FACET_ERROR_FORMAT, "merge %u: too many merges with one hash", rank);
}

static facet_status read_all(merges *m, facet_error *err) {
    entry block[BLOCK];
    gguf_string_iterator it = gguf_strings(m->list);
    uint32_t n = (uint32_t)m->list->n;
    for (uint32_t start = 0; start < n; start += BLOCK) {
        uint32_t n_block = n - start < BLOCK ? n - start : BLOCK;
        for (uint32_t i = 0; i < n_block; i++) FACET_TRY(read_entry(m, start + i, &it, &block[i], err));
        for (uint32_t i = 0; i < n_block; i++) FACET_TRY(insert(m, start + i, &block[i], err));
    }
    return FACET_OK;
}

facet_status merges_new(merges *m, const gguf_kv *list, facet_error *err) {
    *m = (merges){.list = list};
    if (list->n > (uint64_t)1 << 30 || list->n_bytes > UINT32_MAX)
        return error_set(err, FACET_ERROR_UNSUPPORTED, "more merges than facet can index");
    size_t n = (size_t)list->n;
    m->at = malloc((n ? n : 1) * sizeof *m->at);
    bool ready = m->at && table_new(&m->by_pair, n);
    facet_status status = ready ? read_all(m, err) : error_memory(err, n * sizeof *m->at);
    if (status != FACET_OK) merges_free(m);
    return status;
}

void merges_free(merges *m) {
    free(m->at);
    table_free(&m->by_pair);
    *m = (merges){0};
}

size_t merges_bytes(const merges *m) { return (size_t)m->list->n * sizeof *m->at + table_bytes(&m->by_pair); }

uint32_t merges_rank(const merges *m, const char *s, size_t left_bytes, size_t right_bytes, uint64_t left_hash,
                     uint64_t right_hash) {
    table_walk w = table_start(&m->by_pair, hash_pair(left_hash, right_hash));
    for (uint32_t rank; table_next(&m->by_pair, &w, &rank);) {
        gguf_string text = text_of(m, rank);
        if (text.n == left_bytes + 1 + right_bytes && text.data[left_bytes] == ' ' &&
            memcmp(text.data, s, left_bytes) == 0 &&
            memcmp(text.data + left_bytes + 1, s + left_bytes, right_bytes) == 0)
            return rank;
    }
    return MERGES_NONE;
}
