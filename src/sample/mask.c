/* The vocabulary as a trie. See mask.h. The tokens' bytes are sorted; a node begins wherever two neighbours part. */
#include "sample/mask.h"

#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"

/* Most words permit nothing, or everything. */
void mask_forbid(const uint64_t *mask, float *logits, size_t n_vocab) {
    for (size_t start = 0; start < n_vocab; start += 64) {
        uint64_t word = mask[start / 64];
        size_t n = n_vocab - start < 64 ? n_vocab - start : 64;
        if (word == UINT64_MAX) continue;
        if (word == 0) {
            for (size_t i = 0; i < n; i++) logits[start + i] = -INFINITY;
            continue;
        }
        for (size_t i = 0; i < n; i++) logits[start + i] = word >> i & 1 ? logits[start + i] : -INFINITY;
    }
}

int32_t mask_lowest(const uint64_t *mask, size_t n_vocab) {
    for (size_t i = 0; i < mask_words(n_vocab); i++) {
        if (mask[i]) return (int32_t)(64 * i + (size_t)__builtin_ctzll(mask[i]));
    }
    return 0;
}

/* A token on its way into the trie. */
typedef struct piece {
    uint64_t head; /* the first bytes, the first one highest */
    const char *bytes;
    uint32_t n;
    int32_t id;
} piece;

typedef struct pieces {
    piece *list;
    size_t n;
    buffer bytes;
} pieces;

static int by_bytes(const void *a, const void *b) {
    const piece *x = a, *y = b;
    if (x->head != y->head) return x->head < y->head ? -1 : 1;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = memcmp(x->bytes, y->bytes, n);
    if (order) return order;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The characters of a plain token, or TRIE_MIXED. */
static uint8_t plain_characters(const piece *p) {
    uint32_t code, n = 0;
    for (size_t i = 0, step; i < p->n; i += step, n++) {
        step = utf8_decode(p->bytes + i, p->n - i, &code);
        if (step == 0 || code < 0x20 || code == '"' || code == '\\' || code == 0x7f) return TRIE_MIXED;
    }
    return n < TRIE_MIXED - 1 ? (uint8_t)n : TRIE_MIXED - 1;
}

static facet_status gather(pieces *p, const vocab *v, facet_error *err) {
    size_t n_vocab = (size_t)vocab_size(v), start = 0;
    p->list = malloc(n_vocab * sizeof *p->list);
    if (!p->list) return error_memory(err, n_vocab * sizeof *p->list);
    for (int32_t id = 0; (size_t)id < n_vocab; id++) {
        if (vocab_is_control(v, id)) continue;
        if (!vocab_piece(v, id, &p->bytes)) return error_memory(err, p->bytes.n);
        p->list[p->n++] = (piece){.n = (uint32_t)(p->bytes.n - start), .id = id};
        start = p->bytes.n;
    }
    start = 0;
    for (size_t i = 0; i < p->n; i++) { /* the buffer no longer moves */
        p->list[i].bytes = p->bytes.data + start;
        for (size_t k = 0; k < p->list[i].n && k < 8; k++)
            p->list[i].head |= (uint64_t)(uint8_t)p->list[i].bytes[k] << (56 - 8 * k);
        start += p->list[i].n;
    }
    qsort(p->list, p->n, sizeof *p->list, by_bytes);
    return FACET_OK;
}

static size_t common(const piece *a, const piece *b) {
    size_t n = a->n < b->n ? a->n : b->n, i = 0;
    while (i < n && a->bytes[i] == b->bytes[i]) i++;
    return i;
}

static size_t count_nodes(const pieces *p) {
    size_t n = 1;
    for (size_t i = 0; i < p->n; i++) n += p->list[i].n - (i ? common(&p->list[i - 1], &p->list[i]) : 0);
    return n;
}

/* Subtrees deeper than `depth` that are open end at the next node. */
static void close_to(token_trie *t, uint32_t *open, size_t *n_open, size_t depth) {
    while (*n_open > depth) t->nodes[open[--*n_open]].end = (uint32_t)t->n_nodes;
}

static void fill(token_trie *t, const pieces *p) {
    uint32_t open[TRIE_MAX_DEPTH + 1]; /* the nodes of the token at hand, but the root */
    size_t n_open = 0;
    t->nodes[t->n_nodes++] = (trie_node){0};
    for (size_t i = 0; i < p->n; i++) {
        const piece *one = &p->list[i];
        size_t shared = i ? common(one - 1, one) : 0;
        close_to(t, open, &n_open, shared);
        for (size_t d = shared; d < one->n; d++) {
            open[n_open++] = (uint32_t)t->n_nodes;
            t->nodes[t->n_nodes++] =
                (trie_node){.first = (uint32_t)i, .depth = (uint16_t)(d + 1), .byte = (uint8_t)one->bytes[d]};
        }
        t->ids[i] = one->id;
        if (one->n > t->longest) t->longest = one->n;
    }
    close_to(t, open, &n_open, 0);
    t->nodes[0].end = (uint32_t)t->n_nodes;
    t->nodes[t->n_nodes] = (trie_node){.end = (uint32_t)t->n_nodes, .first = (uint32_t)p->n};
}

/* Children stand behind their parents: from the end, every subtree is complete before its root is met. */
static void describe(token_trie *t, const pieces *p) {
    size_t words = mask_words(t->n_vocab);
    for (size_t i = 0; i < p->n; i++) {
        uint8_t n = plain_characters(&p->list[i]);
        if (n == TRIE_MIXED) continue;
        for (size_t k = n ? n : 1; k <= TRIE_PLAIN_STEPS; k++) mask_set(t->plain + (k - 1) * words, t->ids[i]);
        mask_set(t->plain + TRIE_PLAIN_STEPS * words, t->ids[i]);
    }
    for (size_t i = t->n_nodes; i-- > 0;) {
        uint8_t worst = 0;
        for (uint32_t token = t->nodes[i].first; token < t->nodes[i + 1].first; token++) {
            uint8_t n = plain_characters(&p->list[token]);
            worst = n > worst ? n : worst;
        }
        for (uint32_t child = (uint32_t)i + 1; child < t->nodes[i].end; child = t->nodes[child].end) {
            worst = t->nodes[child].plain > worst ? t->nodes[child].plain : worst;
        }
        t->nodes[i].plain = worst;
    }
}

static facet_status build(token_trie *t, const pieces *p, facet_error *err) {
    size_t n_nodes = count_nodes(p), words = mask_words(t->n_vocab);
    if (n_nodes >= UINT32_MAX) return error_set(err, FACET_ERROR_UNSUPPORTED, "the vocabulary is too large");
    t->nodes = malloc((n_nodes + 1) * sizeof *t->nodes);
    t->ids = malloc((p->n ? p->n : 1) * sizeof *t->ids);
    t->plain = calloc((TRIE_PLAIN_STEPS + 1) * words, sizeof *t->plain);
    if (!t->nodes || !t->ids || !t->plain) return error_memory(err, (n_nodes + 1) * sizeof *t->nodes);
    t->n_ids = p->n;
    fill(t, p);
    describe(t, p);
    return FACET_OK;
}

static facet_status find_ends(token_trie *t, const vocab *v, facet_error *err) {
    for (int32_t id = 0; (size_t)id < t->n_vocab; id++) t->n_ends += vocab_is_end(v, id);
    t->ends = malloc((t->n_ends + 1) * sizeof *t->ends);
    if (!t->ends) return error_memory(err, t->n_ends * sizeof *t->ends);
    size_t n = 0;
    for (int32_t id = 0; (size_t)id < t->n_vocab; id++) {
        if (vocab_is_end(v, id)) t->ends[n++] = id;
    }
    return FACET_OK;
}

facet_status trie_new(token_trie **out, const vocab *v, facet_error *err) {
    *out = NULL;
    pieces p = {0};
    token_trie *t = calloc(1, sizeof *t);
    if (!t) return error_memory(err, sizeof *t);
    t->n_vocab = (size_t)vocab_size(v);
    facet_status status = gather(&p, v, err);
    if (status == FACET_OK) status = build(t, &p, err);
    if (status == FACET_OK) status = find_ends(t, v, err);
    free(p.list);
    buffer_free(&p.bytes);
    if (status == FACET_OK)
        *out = t;
    else
        trie_free(t);
    return status;
}

void trie_free(token_trie *t) {
    if (!t) return;
    free(t->nodes);
    free(t->ids);
    free(t->ends);
    free(t->plain);
    free(t);
}

size_t trie_memory_bytes(const token_trie *t) {
    return (t->n_nodes + 1) * sizeof *t->nodes + t->n_ids * sizeof *t->ids +
           (TRIE_PLAIN_STEPS + 1) * mask_words(t->n_vocab) * sizeof *t->plain;
}

const uint64_t *trie_plain(const token_trie *t, uint32_t *n) {
    size_t step = *n >= TRIE_MAX_DEPTH ? TRIE_PLAIN_STEPS + 1 : *n < TRIE_PLAIN_STEPS ? *n : TRIE_PLAIN_STEPS;
    if (step > TRIE_PLAIN_STEPS)
        *n = TRIE_MIXED - 1;
    else
        *n = (uint32_t)step;
    return t->plain + (step - 1) * mask_words(t->n_vocab);
}
