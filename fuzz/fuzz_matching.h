/* What the targets of grammars share: a small vocabulary, and a model that chooses permitted tokens by the input. */
#ifndef FACET_FUZZ_MATCHING_H
#define FACET_FUZZ_MATCHING_H

#include <stdlib.h>

#include "../tests/quick_token_image.h"
#include "sample/grammar_match.h"

static const image_token fuzz_tokens[] = {{"<bos>", 3},
                                          {"<eos>", 3},
                                          {"<|tool_call>", 3},
                                          {"<tool_call|>", 3},
                                          {"<|\"|>", 3},
                                          {"\xe2\x96\x81", 1},
                                          {"{", 1},
                                          {"}", 1},
                                          {"{\"", 1},
                                          {"\":", 1},
                                          {"\",", 1},
                                          {"a", 1},
                                          {"b", 1},
                                          {"ab", 1},
                                          {"aba", 1},
                                          {"1", 1},
                                          {"0", 1},
                                          {"true", 1},
                                          {"\xc3\xa9", 1},
                                          {"call:f", 1},
                                          {"\"", 1},
                                          {"[", 1},
                                          {"]", 1},
                                          {"\n", 1},
                                          {"2024-02-29", 1},
                                          {"\"a\":", 1},
                                          {"],[", 1},
                                          {"null}", 1},
                                          {"<", 1},
                                          {"\\", 1}};

static const char *const fuzz_merges[] = {"a b"};

typedef struct fuzz_words {
    image_file file;
    vocab *v;
    token_trie *trie;
} fuzz_words;

static inline void check(bool good) {
    if (!good) abort();
}

static inline void fuzz_words_open(fuzz_words *w) {
    image im = {.model = "gemma4",
                .bytes = true,
                .tokens = fuzz_tokens,
                .n_tokens = sizeof fuzz_tokens / sizeof *fuzz_tokens,
                .merges = fuzz_merges,
                .n_merges = 1,
                .bos = -1,
                .eos = -1};
    check(image_open(&w->file, &im, NULL) == FACET_OK);
    check(vocab_new(&w->v, w->file.file, NULL) == FACET_OK);
    check(trie_new(&w->trie, w->v, NULL) == FACET_OK);
}

static inline void fuzz_words_close(fuzz_words *w) {
    trie_free(w->trie);
    vocab_free(w->v);
    image_close(&w->file);
}

static inline int32_t fuzz_find(const void *ctx, const char *s, size_t n) { return vocab_find(ctx, s, n); }

static inline grammar_vocab fuzz_names(const fuzz_words *w) {
    return (grammar_vocab){.ctx = w->v, .find = fuzz_find, .n_vocab = vocab_size(w->v)};
}

/* The permitted token at or behind `from`, around; there must be one. */
static inline int32_t fuzz_choose(const fuzz_words *w, const uint64_t *mask, uint32_t from) {
    int32_t n = vocab_size(w->v);
    for (int32_t i = 0; i < n; i++) {
        int32_t id = (int32_t)(((uint32_t)i + from) % (uint32_t)n);
        if (mask_has(mask, id)) return id;
    }
    check(false);
    return -1;
}

/* Up to 40 tokens: what is permitted can be said, what is not cannot. */
static inline void fuzz_babble(const fuzz_words *w, grammar *g, uint32_t seed) {
    matcher *m;
    facet_status status = matcher_new(&m, g, w->trie, w->v, NULL);
    for (int i = 0; i < 40 && status == FACET_OK && !matcher_finished(m); i++) {
        const uint64_t *mask;
        status = matcher_mask(m, &mask, NULL);
        if (status != FACET_OK) break;
        seed = seed * 1664525 + 1013904223;
        int32_t id = fuzz_choose(w, mask, seed >> 8), other = (int32_t)(seed >> 16) % vocab_size(w->v);
        bool permitted = mask_has(mask, other) && !vocab_is_end(w->v, other);
        if (vocab_is_end(w->v, id)) {
            check(matcher_may_end(m) || matcher_accept(m, id, NULL) == FACET_OK); /* a grammar may name it */
            break;
        }
        if (!permitted && !vocab_is_end(w->v, other)) {
            facet_status refused = matcher_accept(m, other, NULL);
            check(refused == FACET_ERROR_ARGUMENT || refused == FACET_ERROR_BUDGET);
        }
        status = matcher_accept(m, id, NULL);
    }
    check(status == FACET_OK || status == FACET_ERROR_BUDGET || status == FACET_ERROR_MEMORY);
    matcher_free(m);
}

#endif
