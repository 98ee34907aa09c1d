/* Makes a vocabulary-only GGUF from JSON on stdin: {tokens: [text], types: [int], merges: ["left right"], eos: int}.
 *   vocab_gguf OUT.gguf [TEMPLATE.txt] <VOCAB.json
 * The keys are those of a real Gemma 4 file's vocabulary; nothing else is in it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/writer.h"

static facet_status write_file(void *ctx, const void *data, size_t n, facet_error *err) {
    return fwrite(data, 1, n, ctx) == n ? FACET_OK : error_set(err, FACET_ERROR_IO, "cannot write the file");
}

static void add_text(gguf_writer *w, const char *key, const char *text) {
    gguf_add_string(w, key, text, strlen(text));
}

static void add_strings(gguf_writer *w, const char *key, const json_t *list) {
    gguf_add_strings(w, key, json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        gguf_add_item(w, json_string_value(item), json_string_length(item));
    }
}

static bool add_numbers(gguf_writer *w, const json_t *types) {
    size_t n = json_array_size(types);
    float *scores = calloc(n + 1, sizeof *scores);
    int32_t *numbers = calloc(n + 1, sizeof *numbers);
    bool good = scores && numbers;
    for (size_t i = 0; good && i < n; i++) numbers[i] = (int32_t)json_integer_value(json_array_get(types, i));
    if (good) {
        gguf_add_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, n);
        gguf_add_array(w, "tokenizer.ggml.token_type", GGUF_I32, numbers, n);
    }
    free(scores);
    free(numbers);
    return good;
}

static bool add_template(gguf_writer *w, const char *path) {
    static char text[1 << 20];
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    gguf_add_string(w, "tokenizer.chat_template", text, n);
    return true;
}

static bool add_all(gguf_writer *w, const json_t *vocabulary, const char *template_path) {
    const json_t *eos = json_object_get(vocabulary, "eos");
    add_text(w, "general.architecture", "gemma4");
    add_text(w, "general.name", "vocabulary only");
    add_text(w, "tokenizer.ggml.model", "gemma4");
    add_strings(w, "tokenizer.ggml.tokens", json_object_get(vocabulary, "tokens"));
    if (!add_numbers(w, json_object_get(vocabulary, "types"))) return false;
    add_strings(w, "tokenizer.ggml.merges", json_object_get(vocabulary, "merges"));
    gguf_add_bool(w, "tokenizer.ggml.add_space_prefix", false);
    gguf_add_bool(w, "tokenizer.ggml.add_bos_token", true);
    gguf_add_u32(w, "tokenizer.ggml.bos_token_id", 2);
    gguf_add_u32(w, "tokenizer.ggml.eos_token_id", eos ? (uint32_t)json_integer_value(eos) : 106);
    gguf_add_u32(w, "tokenizer.ggml.padding_token_id", 0);
    gguf_add_u32(w, "tokenizer.ggml.unknown_token_id", 3);
    return !template_path || add_template(w, template_path);
}

static facet_status write_out(gguf_writer *w, const char *path, facet_error *err) {
    FILE *f = fopen(path, "wb");
    if (!f) return error_set(err, FACET_ERROR_IO, "cannot write '%s'", path);
    facet_status status = gguf_writer_begin(w, write_file, f, err);
    if (fclose(f) != 0 && status == FACET_OK) status = error_set(err, FACET_ERROR_IO, "cannot write '%s'", path);
    if (status != FACET_OK) remove(path);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: vocab_gguf OUT.gguf [TEMPLATE.txt] <VOCAB.json\n");
        return 2;
    }
    json_error_t where;
    facet_error error = {0};
    gguf_writer *w = NULL;
    json_t *vocabulary = json_loadf(stdin, JSON_ALLOW_NUL, &where);
    bool good = vocabulary && gguf_writer_new(&w, 0, &error) == FACET_OK &&
                add_all(w, vocabulary, argc == 3 ? argv[2] : NULL) && write_out(w, argv[1], &error) == FACET_OK;
    if (!good) fprintf(stderr, "vocab_gguf: %s\n", error.status ? error.message : "cannot read the vocabulary");
    gguf_writer_free(w);
    json_decref(vocabulary);
    return good ? 0 : 1;
}
