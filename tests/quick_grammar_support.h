/* For the tests of grammars and schemas: vocabularies, chance, and a "model" that chooses permitted tokens at random.
 */
#ifndef FACET_TESTS_QUICK_GRAMMAR_SUPPORT_H
#define FACET_TESTS_QUICK_GRAMMAR_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model.h"
#include "sample/grammar_match.h"
#include "sample/schema.h"
#include "sample/tool_grammar.h"
#include "support.h"

typedef struct chance {
    uint64_t state;
} chance;

static inline uint32_t chance_below(chance *c, uint32_t n) {
    c->state = c->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((c->state >> 33) % n);
}

typedef struct words_model {
    facet_model *model;
    const vocab *v;
    const token_trie *trie;
    size_t n_vocab;
    grammar_vocab names;
} words_model;

static inline int32_t words_find(const void *ctx, const char *s, size_t n) { return vocab_find(ctx, s, n); }

static inline words_model words_open(const char *path) {
    words_model w = {0};
    facet_error error;
    facet_model_options options;
    facet_model_options_defaults(&options);
    options.vocabulary_only = true;
    assert_ok(facet_model_open(&w.model, path, &options, &error), &error);
    w.v = w.model->vocab;
    w.n_vocab = (size_t)vocab_size(w.v);
    w.names = (grammar_vocab){.ctx = w.v, .find = words_find, .n_vocab = (int32_t)w.n_vocab};
    assert_ok(model_trie(w.model, &w.trie, &error), &error);
    return w;
}

static inline matcher *words_follow(const words_model *w, grammar *g) {
    facet_error error;
    matcher *m;
    assert_ok(matcher_new(&m, g, w->trie, w->v, &error), &error);
    return m;
}

static inline size_t mask_count(const uint64_t *mask, size_t n_vocab) {
    size_t n = 0;
    for (size_t i = 0; i < mask_words(n_vocab); i++) n += (size_t)__builtin_popcountll(mask[i]);
    return n;
}

/* The k-th token of a mask. */
static inline int32_t mask_at(const uint64_t *mask, size_t k) {
    for (size_t i = 0;; i++) {
        size_t n = (size_t)__builtin_popcountll(mask[i]);
        if (k >= n) {
            k -= n;
            continue;
        }
        uint64_t word = mask[i];
        while (k--) word &= word - 1;
        return (int32_t)(64 * i + (size_t)__builtin_ctzll(word));
    }
}

/* What a random model says next. Once it has said much it prefers what closes something. */
static inline int32_t words_choose(const words_model *w, const uint64_t *mask, chance *c, bool hurry) {
    size_t n = mask_count(mask, w->n_vocab);
    assert_true(n > 0);
    static const char *const quotes[] = {"<|\"|>", "\"", "<0x22>", "<tool_call|>", "<|tool_call>"};
    static const char *const closers[] = {"}", "<0x7D>", "]", "<0x5D>", "0", "0",     "0",
                                          "0", "<0x30>", "x", "@",      ".", "null",  "a",
                                          ":", "<0x3A>", ",", "<0x2C>", "n", "<0x6E>"};
    const size_t n_quotes = sizeof quotes / sizeof *quotes, n_closers = sizeof closers / sizeof *closers;
    bool end = hurry && chance_below(c, 3);
    for (size_t i = 0; end && i < w->trie->n_ends; i++) {
        if (mask_has(mask, w->trie->ends[i])) return w->trie->ends[i];
    }
    size_t from = hurry ? chance_below(c, (uint32_t)n_closers) : 0;
    for (size_t i = 0; hurry && i < n_quotes + n_closers; i++) {
        const char *closer = i < n_quotes ? quotes[i] : closers[(i - n_quotes + from) % n_closers];
        int32_t id = vocab_find(w->v, closer, strlen(closer));
        if (id >= 0 && mask_has(mask, id)) return id;
    }
    return mask_at(mask, chance_below(c, (uint32_t)n));
}

/* A random text that fits; its tokens go to `ids` where that is not NULL. */
static inline buffer words_babble(const words_model *w, matcher *m, chance *c, size_t patience, token_list *ids) {
    facet_error error;
    buffer out = {0};
    for (size_t i = 0; !matcher_finished(m); i++) {
        const uint64_t *mask;
        if (i > 3000) fail_msg("no end: %.300s", out.data);
        assert_ok(matcher_mask(m, &mask, &error), &error);
        int32_t id = words_choose(w, mask, c, i > patience);
        if (vocab_is_end(w->v, id)) {
            assert_true(matcher_may_end(m));
            break;
        }
        assert_ok(matcher_accept(m, id, &error), &error);
        assert_true(vocab_piece(w->v, id, &out));
        if (ids) assert_true(token_list_push(ids, id));
    }
    return out;
}

/* Whether a text is taken token by token, each among the permitted ones, and may end. */
static inline bool words_permit(const words_model *w, matcher *m, const char *text, size_t n, bool control) {
    token_list ids = {0};
    facet_error error;
    bool ok = true;
    matcher_reset(m);
    assert_ok(vocab_encode(w->v, text, n, control, &ids, &error), &error);
    for (size_t i = 0; i < ids.n && ok; i++) {
        const uint64_t *mask;
        assert_ok(matcher_mask(m, &mask, &error), &error);
        facet_status status = matcher_accept(m, ids.ids[i], &error);
        ok = mask_has(mask, ids.ids[i]);
        assert_int_equal(status, ok ? FACET_OK : FACET_ERROR_ARGUMENT);
    }
    free(ids.ids);
    return ok && matcher_may_end(m);
}

/* The vocabulary of the demonstration model, and the real one; open for the whole of a test program. */
#define TINY FACET_SOURCE_DIR "/models/tiny-q8_0.gguf"

static words_model tiny, real;

static int open_words(void **state) {
    (void)state;
    tiny = words_open(TINY);
    real = words_open(FACET_VOCAB_GGUF);
    return 0;
}

static int close_words(void **state) {
    (void)state;
    facet_model_free(tiny.model);
    facet_model_free(real.model);
    return 0;
}

#endif
