/* Reading the key-values of one part: names, types, and the extent of every value. Nothing is copied; an array of
 * strings is walked once, to find its end. Format: gguf.h names the source. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "gguf/file.h"

enum {
    MAX_NAME_BYTES = 65535, /* the format's limit for keys */
    MAX_KEYS = 1 << 16      /* a thousand times what models have; keeps the tables of a hostile file small */
};

size_t gguf_type_bytes(gguf_type type) {
    static const uint8_t sizes[] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};
    return (size_t)type < sizeof sizes ? sizes[type] : 0;
}

const char *gguf_type_name(gguf_type type) {
    static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    return (size_t)type < sizeof names / sizeof *names ? names[type] : "?";
}

facet_status gguf_read_name(gguf_reader *r, const char *what, uint64_t index, gguf_string *out) {
    size_t start = r->in.at;
    uint64_t n = bytes_u64(&r->in);
    if (!r->in.failed && n > MAX_NAME_BYTES) {
        return gguf_fail(r, FACET_ERROR_FORMAT, start, "the name of %s %llu has %llu bytes, the limit is %d", what,
                         (unsigned long long)index, (unsigned long long)n, MAX_NAME_BYTES);
    }
    const uint8_t *data = bytes_take(&r->in, (size_t)n);
    if (!data) return gguf_fail_truncated(r, start, "the name of %s %llu", what, (unsigned long long)index);
    *out = (gguf_string){(const char *)data, (size_t)n};
    return FACET_OK;
}

/* Passes n strings. This loop is what opening a real vocabulary costs: two loads and an addition each. */
static bool skip_strings(bytes *in, uint64_t n) {
    const uint8_t *p = in->data + in->at, *end = in->data + in->n;
    while (n--) {
        size_t left = (size_t)(end - p);
        if (left < 8) return false;
        bytes head = bytes_of(p, 8);
        uint64_t length = bytes_le(&head, 8);
        if (length > left - 8) return false;
        p += 8 + length;
    }
    in->at = (size_t)(p - in->data);
    return true;
}

static bool skip_values(bytes *in, gguf_type type, uint64_t n) {
    size_t size = gguf_type_bytes(type);
    if (!size) return skip_strings(in, n);
    return n <= bytes_left(in) / size && bytes_take(in, (size_t)n * size);
}

static facet_status read_array_head(gguf_reader *r, gguf_kv *kv, uint64_t start) {
    uint32_t element = bytes_u32(&r->in);
    kv->n = bytes_u64(&r->in);
    if (r->in.failed) return gguf_fail_truncated(r, start, "the value of key '%s'", gguf_quote(kv->key).text);
    if (element == GGUF_ARRAY) {
        return gguf_fail(r, FACET_ERROR_UNSUPPORTED, start, "key '%s' is an array of arrays: facet reads flat arrays",
                         gguf_quote(kv->key).text);
    }
    if (element > GGUF_F64) {
        return gguf_fail(r, FACET_ERROR_FORMAT, start, "key '%s' is an array of the unknown type %u",
                         gguf_quote(kv->key).text, element);
    }
    kv->element = (gguf_type)element;
    return FACET_OK;
}

static facet_status read_value(gguf_reader *r, gguf_kv *kv) {
    size_t start = r->in.at;
    uint32_t type = bytes_u32(&r->in);
    if (r->in.failed) return gguf_fail_truncated(r, start, "the type of key '%s'", gguf_quote(kv->key).text);
    if (type > GGUF_F64) {
        return gguf_fail(r, FACET_ERROR_FORMAT, start, "key '%s' has the unknown type %u", gguf_quote(kv->key).text,
                         type);
    }
    kv->type = kv->element = (gguf_type)type;
    kv->n = 1;
    if (kv->type == GGUF_ARRAY) FACET_TRY(read_array_head(r, kv, start));
    size_t first = r->in.at;
    kv->data = r->in.data + first;
    if (!skip_values(&r->in, kv->element, kv->n)) {
        if (kv->type == GGUF_ARRAY) {
            return gguf_fail_truncated(r, start, "key '%s', an array of %llu values", gguf_quote(kv->key).text,
                                       (unsigned long long)kv->n);
        }
        return gguf_fail_truncated(r, start, "the value of key '%s'", gguf_quote(kv->key).text);
    }
    kv->n_bytes = r->in.at - first;
    return FACET_OK;
}

/* Grows with what was really there, so that a lying count costs nothing. */
static facet_status add_key(gguf_reader *r, const gguf_kv *kv) {
    gguf_keys *keys = r->keys;
    if (keys->n == keys->capacity) {
        size_t capacity = keys->capacity ? keys->capacity * 2 : 64;
        gguf_kv *larger = realloc(keys->kv, capacity * sizeof *larger);
        if (!larger) return error_memory(r->err, capacity * sizeof *larger);
        keys->kv = larger;
        keys->capacity = capacity;
    }
    if (!name_add(&keys->index, kv->key, keys->n)) return error_memory(r->err, keys->n * sizeof(name_slot));
    keys->kv[keys->n++] = *kv;
    return FACET_OK;
}

static facet_status read_key(gguf_reader *r, uint64_t i) {
    gguf_kv kv = {0};
    size_t start = r->in.at;
    FACET_TRY(gguf_read_name(r, "key", i, &kv.key));
    if (name_find(&r->keys->index, kv.key) != NAME_ABSENT) {
        return gguf_fail(r, FACET_ERROR_FORMAT, start, "key '%s' is there twice", gguf_quote(kv.key).text);
    }
    FACET_TRY(read_value(r, &kv));
    return add_key(r, &kv);
}

facet_status gguf_read_keys(gguf_reader *r) {
    enum { SMALLEST = 8 + 4 + 1 }; /* an empty name, a type and one byte */
    if (r->n_kv > bytes_left(&r->in) / SMALLEST && !r->header_only) {
        return gguf_fail(r, FACET_ERROR_TRUNCATED, 16,
                         "the header announces %llu keys, the file's %zu bytes hold fewer",
                         (unsigned long long)r->n_kv, r->in.n);
    }
    if (r->n_kv > MAX_KEYS) {
        return gguf_fail(r, FACET_ERROR_UNSUPPORTED, 16, "the header announces %llu keys, facet reads up to %d",
                         (unsigned long long)r->n_kv, MAX_KEYS);
    }
    for (uint64_t i = 0; i < r->n_kv; i++) FACET_TRY(read_key(r, i));
    return FACET_OK;
}
