/* PEFT directories made for tests: a writer of safetensors that is no part of the project's, and names as PEFT 0.18
 * gives them. */
#ifndef FACET_TESTS_PEFT_FILES_H
#define FACET_TESTS_PEFT_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

enum { PEFT_TENSORS = 300 };

typedef struct peft_tensor {
    char name[160];
    const char *dtype;
    uint64_t shape[3];
    size_t n_dims, n_bytes;
    void *data;
} peft_tensor;

typedef struct peft_dir {
    char path[48];
    peft_tensor tensors[PEFT_TENSORS];
    size_t n;
} peft_dir;

static inline peft_dir *peft_dir_new(void) {
    peft_dir *d = calloc(1, sizeof *d);
    strcpy(d->path, "/tmp/facet-peft-XXXXXX");
    assert_non_null(mkdtemp(d->path));
    return d;
}

static inline void peft_dir_path(const peft_dir *d, const char *name, char out[128]) {
    snprintf(out, 128, "%s/%s", d->path, name);
}

static inline void peft_dir_write(const peft_dir *d, const char *name, const void *data, size_t n) {
    char path[128];
    peft_dir_path(d, name, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

/* A copy of `data` is kept. n1 0: one axis. */
static inline peft_tensor *peft_dir_add(peft_dir *d, const char *name, const char *dtype, const void *data,
                                        size_t n_bytes, size_t n_dims, const uint64_t *shape) {
    assert_true(d->n < PEFT_TENSORS);
    peft_tensor *t = &d->tensors[d->n++];
    *t = (peft_tensor){.dtype = dtype, .n_dims = n_dims, .n_bytes = n_bytes, .data = malloc(n_bytes)};
    snprintf(t->name, sizeof t->name, "%s", name);
    memcpy(t->shape, shape, n_dims * sizeof *shape);
    memcpy(t->data, data, n_bytes);
    return t;
}

/* adapter_model.safetensors of all tensors, and adapter_config.json. */
static inline void peft_dir_finish(const peft_dir *d, const char *config) {
    char *text = calloc(1, 400 * (d->n + 1)), path[128];
    size_t at = 8, offset = 0;
    at += (size_t)sprintf(text + at, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < d->n; i++) {
        const peft_tensor *t = &d->tensors[i];
        at += (size_t)sprintf(text + at, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, t->dtype);
        for (size_t k = 0; k < t->n_dims; k++)
            at += (size_t)sprintf(text + at, "%s%llu", k ? "," : "", (unsigned long long)t->shape[k]);
        at += (size_t)sprintf(text + at, "],\"data_offsets\":[%zu,%zu]}", offset, offset + t->n_bytes);
        offset += t->n_bytes;
    }
    text[at++] = '}';
    while (at % 8) text[at++] = ' ';
    uint64_t length = at - 8;
    memcpy(text, &length, sizeof length);
    peft_dir_path(d, "adapter_model.safetensors", path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, at, f), at);
    for (size_t i = 0; i < d->n; i++)
        assert_int_equal(fwrite(d->tensors[i].data, 1, d->tensors[i].n_bytes, f), d->tensors[i].n_bytes);
    fclose(f);
    free(text);
    peft_dir_write(d, "adapter_config.json", config, strlen(config));
}

static inline void peft_dir_free(peft_dir *d) {
    static const char *const files[] = {"adapter_model.safetensors", "adapter_config.json", "out.gguf", "base.gguf",
                                        "merged.gguf"};
    char path[128];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) peft_dir_path(d, files[i], path), unlink(path);
    assert_int_equal(rmdir(d->path), 0);
    for (size_t i = 0; i < d->n; i++) free(d->tensors[i].data);
    free(d);
}

#endif
