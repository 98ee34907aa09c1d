/* Small vocabularies for tests: a GGUF image in memory, made of a list of tokens and merges. */
#ifndef FACET_TESTS_QUICK_TOKEN_IMAGE_H
#define FACET_TESTS_QUICK_TOKEN_IMAGE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "gguf/writer.h"
#include "token/vocab.h"

typedef struct image_token {
    const char *text; /* terminated */
    int32_t type;
} image_token;

/* What a file says. Parts that are NULL are left out of it. */
typedef struct image {
    const char *model;
    bool bytes; /* the 256 byte tokens come first, with ids 0 to 255 */
    const image_token *tokens;
    size_t n_tokens;
    bool no_types;
    size_t n_types_missing; /* at the end */
    const char *const *merges;
    size_t n_merges;
    int64_t bos, eos; /* below 0: left out */
    const int32_t *suppressed;
    size_t n_suppressed;
} image;

/* A file and its bytes, as a vocabulary needs them. */
typedef struct image_file {
    buffer bytes;
    gguf_file *file;
} image_file;

static inline facet_status image_write(void *ctx, const void *data, size_t n, facet_error *err) {
    return buffer_append(ctx, data, n) ? FACET_OK : error_memory(err, n);
}

static inline void image_add_tokens(gguf_writer *w, const image *im, int32_t *types) {
    size_t n_bytes = im->bytes ? 256 : 0;
    gguf_add_strings(w, "tokenizer.ggml.tokens", n_bytes + im->n_tokens);
    for (unsigned i = 0; i < n_bytes; i++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", i & 255);
        gguf_add_item(w, text, 6);
        types[i] = 6;
    }
    for (size_t i = 0; i < im->n_tokens; i++) {
        gguf_add_item(w, im->tokens[i].text, strlen(im->tokens[i].text));
        types[n_bytes + i] = im->tokens[i].type;
    }
    if (!im->no_types)
        gguf_add_array(w, "tokenizer.ggml.token_type", GGUF_I32, types, n_bytes + im->n_tokens - im->n_types_missing);
}

static inline void image_add_all(gguf_writer *w, const image *im, int32_t *types) {
    if (im->model) gguf_add_string(w, "tokenizer.ggml.model", im->model, strlen(im->model));
    if (im->tokens) image_add_tokens(w, im, types);
    if (im->merges) {
        gguf_add_strings(w, "tokenizer.ggml.merges", im->n_merges);
        for (size_t i = 0; i < im->n_merges; i++) gguf_add_item(w, im->merges[i], strlen(im->merges[i]));
    }
    if (im->bos >= 0) gguf_add_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)im->bos);
    if (im->eos >= 0) gguf_add_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)im->eos);
    if (im->suppressed)
        gguf_add_array(w, "tokenizer.ggml.suppress_tokens", GGUF_I32, im->suppressed, im->n_suppressed);
}

static inline void image_close(image_file *f) {
    gguf_free(f->file);
    buffer_free(&f->bytes);
    *f = (image_file){0};
}

static inline facet_status image_open(image_file *f, const image *im, facet_error *err) {
    *f = (image_file){0};
    gguf_writer *w = NULL;
    int32_t *types = calloc(256 + im->n_tokens + 1, sizeof *types);
    facet_status status = types ? gguf_writer_new(&w, 0, err) : error_memory(err, im->n_tokens);
    if (status == FACET_OK) {
        image_add_all(w, im, types);
        status = gguf_writer_begin(w, image_write, &f->bytes, err);
    }
    if (status == FACET_OK) status = gguf_writer_end(w, err);
    gguf_part part = {.data = (const uint8_t *)f->bytes.data, .n_bytes = f->bytes.n};
    if (status == FACET_OK) status = gguf_open(&f->file, &part, 1, NULL, err);
    gguf_writer_free(w);
    free(types);
    if (status != FACET_OK) image_close(f);
    return status;
}

#endif
