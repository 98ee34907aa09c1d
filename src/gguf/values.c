/* Typed reads of values that the reader has already checked to be inside the file. See gguf.h. */
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "gguf/file.h"

/* An integer of any type: the sign apart, so that the whole range of both u64 and i64 fits. */
typedef struct integer {
    bool negative;
    uint64_t bits; /* two's complement when negative */
} integer;

static bool integer_at(const gguf_kv *kv, gguf_type type, uint64_t i, integer *out) {
    size_t size = gguf_type_bytes(type);
    if (!size || type == GGUF_F32 || type == GGUF_F64 || i >= kv->n) return false;
    bytes in = bytes_of(kv->data + i * size, size);
    out->bits = bytes_le(&in, size);
    bool is_signed = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
    out->negative = is_signed && out->bits >> (8 * size - 1);
    if (out->negative && size < 8) out->bits |= UINT64_MAX << (8 * size);
    return type != GGUF_BOOL || out->bits <= 1;
}

static bool float_at(const gguf_kv *kv, gguf_type type, uint64_t i, float *out) {
    size_t size = gguf_type_bytes(type);
    if ((type != GGUF_F32 && type != GGUF_F64) || i >= kv->n) return false;
    bytes in = bytes_of(kv->data + i * size, size);
    if (type == GGUF_F32) {
        *out = bytes_f32(&in);
        return true;
    }
    uint64_t bits = bytes_u64(&in);
    double d;
    memcpy(&d, &bits, sizeof d);
    *out = (float)d;
    return true;
}

bool gguf_element_u32(const gguf_kv *kv, uint64_t i, uint32_t *out) {
    integer v;
    if (!integer_at(kv, kv->element, i, &v) || v.negative || v.bits > UINT32_MAX) return false;
    *out = (uint32_t)v.bits;
    return true;
}

bool gguf_element_i32(const gguf_kv *kv, uint64_t i, int32_t *out) {
    integer v;
    if (!integer_at(kv, kv->element, i, &v)) return false;
    if (v.negative ? v.bits < (uint64_t)INT64_MIN + ((uint64_t)INT64_MAX - INT32_MAX) : v.bits > INT32_MAX) {
        return false;
    }
    *out = (int32_t)v.bits;
    return true;
}

bool gguf_element_f32(const gguf_kv *kv, uint64_t i, float *out) { return float_at(kv, kv->element, i, out); }

bool gguf_keys_get_u64(const gguf_keys *keys, const char *key, const gguf_kv **kv, uint64_t *out) {
    size_t i = name_find(&keys->index, (gguf_string){key, strlen(key)});
    integer v;
    *kv = i == NAME_ABSENT ? NULL : &keys->kv[i];
    if (!*kv || (*kv)->type == GGUF_ARRAY || (*kv)->type == GGUF_BOOL) return false;
    if (!integer_at(*kv, (*kv)->type, 0, &v) || v.negative) return false;
    *out = v.bits;
    return true;
}

static facet_status fail_missing(const char *key, facet_error *err) {
    return error_set(err, FACET_ERROR_FORMAT, "key missing: '%s'", key);
}

static facet_status fail_type(const gguf_kv *kv, const char *expected, facet_error *err) {
    const char *array = kv->type == GGUF_ARRAY ? "array of " : "";
    return error_set(err, FACET_ERROR_FORMAT, "key '%s' holds %s%s, expected %s", gguf_quote(kv->key).text, array,
                     gguf_type_name(kv->element), expected);
}

static facet_status fail_value(const gguf_kv *kv, const char *expected, facet_error *err) {
    return error_set(err, FACET_ERROR_FORMAT, "key '%s' holds a value that is no %s", gguf_quote(kv->key).text,
                     expected);
}

static bool is_integer(const gguf_kv *kv) {
    return gguf_type_bytes(kv->type) && kv->type != GGUF_F32 && kv->type != GGUF_F64 && kv->type != GGUF_BOOL;
}

facet_status gguf_get_u32(const gguf_file *file, const char *key, uint32_t *out, facet_error *err) {
    const gguf_kv *kv = gguf_find(file, key);
    if (!kv) return fail_missing(key, err);
    if (!is_integer(kv)) return fail_type(kv, "an integer", err);
    return gguf_element_u32(kv, 0, out) ? FACET_OK : fail_value(kv, "unsigned 32-bit integer", err);
}

facet_status gguf_get_f32(const gguf_file *file, const char *key, float *out, facet_error *err) {
    const gguf_kv *kv = gguf_find(file, key);
    if (!kv) return fail_missing(key, err);
    return kv->type != GGUF_ARRAY && float_at(kv, kv->type, 0, out) ? FACET_OK : fail_type(kv, "a float", err);
}

facet_status gguf_get_bool(const gguf_file *file, const char *key, bool *out, facet_error *err) {
    const gguf_kv *kv = gguf_find(file, key);
    if (!kv) return fail_missing(key, err);
    if (kv->type != GGUF_BOOL) return fail_type(kv, "a bool", err);
    if (kv->data[0] > 1) return fail_value(kv, "bool", err);
    *out = kv->data[0];
    return FACET_OK;
}

facet_status gguf_get_string(const gguf_file *file, const char *key, gguf_string *out, facet_error *err) {
    const gguf_kv *kv = gguf_find(file, key);
    if (!kv) return fail_missing(key, err);
    if (kv->type != GGUF_STRING) return fail_type(kv, "a string", err);
    gguf_string_iterator it = {.kv = kv};
    gguf_next_string(&it, out);
    return FACET_OK;
}

gguf_string_iterator gguf_strings(const gguf_kv *kv) { return (gguf_string_iterator){.kv = kv}; }

bool gguf_next_string(gguf_string_iterator *it, gguf_string *out) {
    if (it->kv->element != GGUF_STRING || it->i >= it->kv->n) return false;
    bytes in = bytes_of(it->kv->data + it->at, it->kv->n_bytes - it->at);
    uint64_t n = bytes_u64(&in);
    *out = (gguf_string){(const char *)bytes_take(&in, (size_t)n), (size_t)n};
    it->at += in.at;
    it->i++;
    return true;
}
