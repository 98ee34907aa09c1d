/* tokenizer.json of Gemma 4 to the keys of GGUF. Owns: the kinds of tokens: added tokens are control tokens where
 * they are special and user-defined where not, <0xXX> are bytes, and ids without a token are unused. Format of the
 * file: the Hugging Face tokenizers library (model BPE). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert_parts.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

typedef struct vocabulary {
    const char **texts;
    size_t *lengths;
    int32_t *types;
    float *scores;
    size_t n;
} vocabulary;

static facet_status fail(facet_error *error, const char *what) {
    return error_set(error, FACET_ERROR_FORMAT, "tokenizer.json: %s", what);
}

static bool is_byte(const char *text, size_t n) {
    static const char hex[] = "0123456789ABCDEF";
    return n == 6 && !memcmp(text, "<0x", 3) && text[5] == '>' && strchr(hex, text[3]) && strchr(hex, text[4]);
}

static facet_status put(vocabulary *v, const json_t *id, const char *text, size_t n, int32_t type,
                        facet_error *error) {
    if (!json_is_integer(id) || json_integer_value(id) < 0 || (size_t)json_integer_value(id) >= v->n) {
        return error_set(error, FACET_ERROR_FORMAT, "tokenizer.json: the id of '%.60s' is not below vocab_size %zu",
                         text, v->n);
    }
    size_t i = (size_t)json_integer_value(id);
    v->texts[i] = text;
    v->lengths[i] = n;
    v->types[i] = type;
    return FACET_OK;
}

static facet_status read_tokens(vocabulary *v, const json_t *model, facet_error *error) {
    json_t *map = json_object_get(model, "vocab"), *id;
    const char *text, *unknown = json_string_value(json_object_get(model, "unk_token"));
    if (!json_is_object(map)) return fail(error, "there is no model.vocab");
    json_object_foreach(map, text, id) {
        size_t n = strlen(text);
        int32_t type = is_byte(text, n) ? BYTE : unknown && !strcmp(text, unknown) ? UNKNOWN : NORMAL;
        FACET_TRY(put(v, id, text, n, type, error));
    }
    return FACET_OK;
}

static facet_status read_added(vocabulary *v, const json_t *tokenizer, facet_error *error) {
    const json_t *added = json_object_get(tokenizer, "added_tokens"), *entry;
    size_t i;
    json_array_foreach(added, i, entry) {
        const json_t *text = json_object_get(entry, "content"), *id = json_object_get(entry, "id");
        int32_t type = json_is_true(json_object_get(entry, "special")) ? CONTROL : USER_DEFINED;
        if (!json_is_string(text)) return fail(error, "an added token has no content");
        if (json_is_integer(id) && json_integer_value(id) >= 0 && (size_t)json_integer_value(id) < v->n &&
            v->types[json_integer_value(id)] == UNKNOWN) {
            type = UNKNOWN;
        }
        FACET_TRY(put(v, id, json_string_value(text), json_string_length(text), type, error));
    }
    return FACET_OK;
}

static void add_tokens(gguf_writer *w, const vocabulary *v) {
    gguf_add_strings(w, "tokenizer.ggml.tokens", v->n);
    for (size_t i = 0; i < v->n; i++) {
        char unused[32];
        if (v->texts[i]) {
            gguf_add_item(w, v->texts[i], v->lengths[i]);
        } else {
            int n = snprintf(unused, sizeof unused, "[PAD%zu]", i);
            gguf_add_item(w, unused, (size_t)n);
        }
    }
    gguf_add_array(w, "tokenizer.ggml.scores", GGUF_F32, v->scores, v->n);
    gguf_add_array(w, "tokenizer.ggml.token_type", GGUF_I32, v->types, v->n);
}

/* "left right", or a list of the two. */
static facet_status add_merges(gguf_writer *w, const json_t *merges, facet_error *error) {
    size_t i;
    const json_t *merge;
    if (!json_is_array(merges)) return fail(error, "there is no model.merges");
    gguf_add_strings(w, "tokenizer.ggml.merges", json_array_size(merges));
    json_array_foreach(merges, i, merge) {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        if (json_is_string(merge)) {
            gguf_add_item(w, json_string_value(merge), json_string_length(merge));
            continue;
        }
        if (!json_is_string(left) || !json_is_string(right) || json_array_size(merge) != 2) {
            return fail(error, "a merge is no pair of texts");
        }
        size_t n = json_string_length(left), m = json_string_length(right);
        char *pair = malloc(n + m + 1);
        if (!pair) return error_memory(error, n + m + 1);
        memcpy(pair, json_string_value(left), n);
        pair[n] = ' ';
        memcpy(pair + n + 1, json_string_value(right), m);
        gguf_add_item(w, pair, n + m + 1);
        free(pair);
    }
    return FACET_OK;
}

static void add_id(gguf_writer *w, const vocabulary *v, const char *key, const char *text, uint32_t otherwise) {
    uint32_t id = otherwise;
    for (size_t i = 0; i < v->n; i++) {
        if (v->texts[i] && v->lengths[i] == strlen(text) && !memcmp(v->texts[i], text, v->lengths[i])) {
            id = (uint32_t)i;
            break;
        }
    }
    gguf_add_u32(w, key, id);
}

/* Ids that are never to be sampled. */
static void add_suppressed(gguf_writer *w, size_t n_vocab, const json_t *generation) {
    const json_t *list = json_object_get(generation, "suppress_tokens");
    int32_t ids[256];
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(list) && n < 256; i++) {
        const json_t *id = json_array_get(list, i);
        if (json_is_integer(id) && json_integer_value(id) >= 0 && (size_t)json_integer_value(id) < n_vocab)
            ids[n++] = (int32_t)json_integer_value(id);
    }
    if (n) gguf_add_array(w, "tokenizer.ggml.suppress_tokens", GGUF_I32, ids, n);
}

static facet_status add_all(gguf_writer *w, vocabulary *v, const json_t *tokenizer, const json_t *generation,
                            facet_error *error) {
    const json_t *model = json_object_get(tokenizer, "model");
    for (size_t i = 0; i < v->n; i++) v->types[i] = UNUSED;
    FACET_TRY(read_tokens(v, model, error));
    FACET_TRY(read_added(v, tokenizer, error));
    gguf_add_string(w, "tokenizer.ggml.model", "gemma4", 6);
    add_tokens(w, v);
    FACET_TRY(add_merges(w, json_object_get(model, "merges"), error));
    gguf_add_bool(w, "tokenizer.ggml.add_space_prefix", false);
    gguf_add_bool(w, "tokenizer.ggml.add_bos_token", true);
    add_id(w, v, "tokenizer.ggml.bos_token_id", "<bos>", 2);
    add_id(w, v, "tokenizer.ggml.eos_token_id", "<turn|>", 1);
    add_id(w, v, "tokenizer.ggml.padding_token_id", "<pad>", 0);
    add_id(w, v, "tokenizer.ggml.unknown_token_id", "<unk>", 3);
    add_suppressed(w, v->n, generation);
    return FACET_OK;
}

facet_status convert_add_vocabulary(gguf_writer *w, const convert_config *c, const json_t *tokenizer,
                                    const json_t *generation, facet_error *error) {
    vocabulary v = {.n = c->n_vocab};
    v.texts = calloc(v.n + 1, sizeof *v.texts);
    v.lengths = calloc(v.n + 1, sizeof *v.lengths);
    v.types = calloc(v.n + 1, sizeof *v.types);
    v.scores = calloc(v.n + 1, sizeof *v.scores);
    facet_status status = v.texts && v.lengths && v.types && v.scores ? add_all(w, &v, tokenizer, generation, error)
                                                                      : error_memory(error, v.n * sizeof *v.texts);
    free(v.texts);
    free(v.lengths);
    free(v.types);
    free(v.scores);
    return status;
}
