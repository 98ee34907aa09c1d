/* Any bytes as a GGUF file: whole, as a header alone, and as both parts of a split one. What opens is walked in full:
 * every view must lie inside the bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "gguf/gguf.h"

static uint64_t sum(const void *data, size_t n) {
    const uint8_t *p = data;
    uint64_t s = 0;
    for (size_t i = 0; i < n; i++) s = s * 31 + p[i];
    return s;
}

static uint64_t walk_value(const gguf_kv *kv) {
    uint64_t s = sum(kv->key.data, kv->key.n) + sum(kv->data, kv->n_bytes);
    gguf_string text;
    uint32_t u;
    int32_t i;
    float f;
    for (gguf_string_iterator it = gguf_strings(kv); gguf_next_string(&it, &text);) s += sum(text.data, text.n);
    for (uint64_t k = 0; k < kv->n && k < 64; k++) {
        s += gguf_element_u32(kv, k, &u) + gguf_element_i32(kv, k, &i) + gguf_element_f32(kv, k, &f);
    }
    return s;
}

static uint64_t walk(const gguf_file *file) {
    uint64_t s = 0;
    for (size_t i = 0; i < gguf_n_kv(file); i++) s += walk_value(gguf_kv_at(file, i));
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        s += sum(t->name.data, t->name.n);
        if (t->data) s += sum(t->data, (size_t)t->n_bytes);
    }
    uint32_t u;
    gguf_get_u32(file, "general.alignment", &u, NULL);
    return s;
}

static void open_one(const uint8_t *data, size_t n, size_t n_parts, bool header_only) {
    gguf_part parts[2] = {{data, n}, {data, n}};
    facet_error error = {0};
    gguf_file *file;
    if (gguf_open(&file, parts, n_parts, &(gguf_options){.header_only = header_only}, &error) != FACET_OK) {
        if (file || !error.status || !error.message[0]) abort();
        return;
    }
    volatile uint64_t result = walk(file);
    (void)result;
    gguf_free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    open_one(data, n, 1, false);
    open_one(data, n, 1, true);
    open_one(data, n, 2, false);
    return 0;
}
