/* Building and writing a GGUF file. See writer.h. The format is little-endian; numbers are laid out byte by byte, so
 * that nothing here depends on the machine's order but gguf_add_array, which says so. */
#include "gguf/writer.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "gguf/file.h"

enum { VERSION = 3, DEFAULT_ALIGNMENT = 32 };

/* Names are kept as places in a buffer that may move; a list of its own keeps them still for the index. */
typedef struct name_list {
    char **names;
    size_t n, capacity;
    name_index index;
} name_list;

struct gguf_writer {
    buffer keys, tensors; /* as the file will hold them */
    name_list key_names, tensor_names;
    uint64_t *sizes; /* bytes of each tensor */
    size_t size_capacity;
    uint64_t next_offset; /* in the data, aligned */
    uint64_t missing;     /* strings announced and not yet added */
    size_t alignment;
    facet_error failure; /* the first one; status 0: none */

    gguf_write_fn write;
    void *ctx;
    size_t current; /* the tensor whose data comes next */
    uint64_t done;  /* bytes of it that are written */
};

facet_status gguf_writer_new(gguf_writer **out, uint32_t alignment, facet_error *err) {
    *out = NULL;
    if (alignment == 0) alignment = DEFAULT_ALIGNMENT;
    if (alignment < 8 || alignment > (1u << 20) || (alignment & (alignment - 1))) {
        return error_set(err, FACET_ERROR_ARGUMENT, "alignment %u is no power of two from 8 to 2^20", alignment);
    }
    gguf_writer *w = calloc(1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w);
    w->alignment = alignment;
    if (alignment != DEFAULT_ALIGNMENT) gguf_add_u32(w, "general.alignment", alignment);
    *out = w;
    return FACET_OK;
}

static void free_names(name_list *list) {
    for (size_t i = 0; i < list->n; i++) free(list->names[i]);
    free(list->names);
    name_index_free(&list->index);
}

void gguf_writer_free(gguf_writer *w) {
    if (!w) return;
    buffer_free(&w->keys);
    buffer_free(&w->tensors);
    free_names(&w->key_names);
    free_names(&w->tensor_names);
    free(w->sizes);
    free(w);
}

static void put_le(buffer *b, uint64_t value, size_t n_bytes) {
    unsigned char out[8];
    for (size_t i = 0; i < n_bytes; i++) out[i] = (unsigned char)(value >> (8 * i));
    buffer_append(b, out, n_bytes);
}

static void put_string(buffer *b, const char *text, size_t n) {
    put_le(b, n, 8);
    buffer_append(b, text, n);
}

static bool grow_names(name_list *list) {
    if (list->n < list->capacity) return true;
    size_t capacity = list->capacity ? list->capacity * 2 : 32;
    char **larger = realloc(list->names, capacity * sizeof *larger);
    if (!larger) return false;
    list->names = larger;
    list->capacity = capacity;
    return true;
}

static bool keep_name(gguf_writer *w, name_list *list, const char *what, gguf_string name) {
    if (w->failure.status) return false;
    if (name_find(&list->index, name) != NAME_ABSENT) {
        error_set(&w->failure, FACET_ERROR_ARGUMENT, "%s '%s' was added twice", what, gguf_quote(name).text);
        return false;
    }
    char *copy = malloc(name.n + 1);
    if (!copy || !grow_names(list)) {
        free(copy);
        error_memory(&w->failure, name.n + 1);
        return false;
    }
    if (name.n) memcpy(copy, name.data, name.n);
    list->names[list->n++] = copy;
    if (name_add(&list->index, (gguf_string){copy, name.n}, list->n - 1)) return true;
    error_memory(&w->failure, list->n * sizeof(name_slot));
    return false;
}

/* The name and the type of a key; false after a failure. */
static bool open_key(gguf_writer *w, gguf_string key, gguf_type type) {
    if (!w->failure.status && w->missing) {
        error_set(&w->failure, FACET_ERROR_STATE, "key '%s' was added before the array in front of it was complete",
                  gguf_quote(key).text);
    }
    if (!keep_name(w, &w->key_names, "key", key)) return false;
    put_string(&w->keys, key.data, key.n);
    put_le(&w->keys, type, 4);
    return true;
}

static gguf_string string_of(const char *text) { return (gguf_string){text, strlen(text)}; }

static void add_number(gguf_writer *w, const char *key, gguf_type type, uint64_t bits) {
    if (open_key(w, string_of(key), type)) put_le(&w->keys, bits, gguf_type_bytes(type));
}

void gguf_add_u32(gguf_writer *w, const char *key, uint32_t value) { add_number(w, key, GGUF_U32, value); }
void gguf_add_i32(gguf_writer *w, const char *key, int32_t value) { add_number(w, key, GGUF_I32, (uint32_t)value); }
void gguf_add_u64(gguf_writer *w, const char *key, uint64_t value) { add_number(w, key, GGUF_U64, value); }
void gguf_add_bool(gguf_writer *w, const char *key, bool value) { add_number(w, key, GGUF_BOOL, value); }

void gguf_add_f32(gguf_writer *w, const char *key, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_number(w, key, GGUF_F32, bits);
}

void gguf_add_string(gguf_writer *w, const char *key, const char *text, size_t n_bytes) {
    if (open_key(w, string_of(key), GGUF_STRING)) put_string(&w->keys, text, n_bytes);
}

static bool open_array(gguf_writer *w, const char *key, gguf_type element, uint64_t n) {
    if (!open_key(w, string_of(key), GGUF_ARRAY)) return false;
    put_le(&w->keys, element, 4);
    put_le(&w->keys, n, 8);
    return true;
}

void gguf_add_array(gguf_writer *w, const char *key, gguf_type element, const void *values, uint64_t n) {
    size_t size = gguf_type_bytes(element), total;
    if (!size || !checked_mul((size_t)n, size, &total)) {
        if (!w->failure.status) {
            error_set(&w->failure, FACET_ERROR_ARGUMENT, "array '%s': type %s, %llu values", key,
                      gguf_type_name(element), (unsigned long long)n);
        }
        return;
    }
    if (open_array(w, key, element, n)) buffer_append(&w->keys, values, total);
}

void gguf_add_strings(gguf_writer *w, const char *key, uint64_t n) {
    if (open_array(w, key, GGUF_STRING, n)) w->missing = n;
}

void gguf_add_item(gguf_writer *w, const char *text, size_t n_bytes) {
    if (w->failure.status) return;
    if (!w->missing) {
        error_set(&w->failure, FACET_ERROR_STATE, "a string was added beyond the end of its array");
        return;
    }
    put_string(&w->keys, text, n_bytes);
    w->missing--;
}

void gguf_add_copy(gguf_writer *w, const gguf_kv *kv) {
    static const char own[] = "general.alignment";
    if (kv->key.n == sizeof own - 1 && memcmp(kv->key.data, own, kv->key.n) == 0) return;
    if (!open_key(w, kv->key, kv->type)) return;
    if (kv->type == GGUF_ARRAY) {
        put_le(&w->keys, kv->element, 4);
        put_le(&w->keys, kv->n, 8);
    }
    buffer_append(&w->keys, kv->data, kv->n_bytes);
}

static bool keep_size(gguf_writer *w, uint64_t n_bytes) {
    if (w->tensor_names.n > w->size_capacity) {
        size_t capacity = w->size_capacity ? w->size_capacity * 2 : 32;
        uint64_t *larger = realloc(w->sizes, capacity * sizeof *larger);
        if (!larger) return false;
        w->sizes = larger;
        w->size_capacity = capacity;
    }
    w->sizes[w->tensor_names.n - 1] = n_bytes;
    return true;
}

static bool shape_fits(uint32_t type_id, uint32_t n_dims, const uint64_t *ne, uint64_t n_bytes) {
    const quant_format *format = quant_format_by_id(type_id);
    if (n_dims > GGUF_MAX_DIMS) return false;
    if (!format) return true;
    uint64_t total = quant_row_bytes(format, n_dims ? ne[0] : 1);
    for (uint32_t i = 1; i < n_dims; i++) {
        if (!checked_mul_u64(total, ne[i], &total)) return false;
    }
    return total == n_bytes && n_bytes;
}

void gguf_add_tensor(gguf_writer *w, gguf_string name, uint32_t type_id, uint32_t n_dims, const uint64_t *ne,
                     uint64_t n_bytes) {
    if (!keep_name(w, &w->tensor_names, "tensor", name)) return;
    if (!shape_fits(type_id, n_dims, ne, n_bytes)) {
        error_set(&w->failure, FACET_ERROR_ARGUMENT, "tensor '%s': %llu bytes do not fit its shape and type",
                  gguf_quote(name).text, (unsigned long long)n_bytes);
        return;
    }
    if (!keep_size(w, n_bytes)) {
        error_memory(&w->failure, w->size_capacity * 2 * sizeof *w->sizes);
        return;
    }
    put_string(&w->tensors, name.data, name.n);
    put_le(&w->tensors, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) put_le(&w->tensors, ne[i], 8);
    put_le(&w->tensors, type_id, 4);
    put_le(&w->tensors, w->next_offset, 8);
    size_t padded;
    if (!checked_add(n_bytes, w->next_offset, &padded) || !checked_align(padded, w->alignment, &padded)) {
        error_set(&w->failure, FACET_ERROR_ARGUMENT, "tensor '%s': the file would be too large",
                  gguf_quote(name).text);
        return;
    }
    w->next_offset = padded;
}

static facet_status check_complete(gguf_writer *w, facet_error *err) {
    if (!w->failure.status && w->missing) {
        error_set(&w->failure, FACET_ERROR_STATE, "%llu strings of the last array are missing",
                  (unsigned long long)w->missing);
    }
    if (!w->failure.status && (w->keys.failed || w->tensors.failed)) {
        error_memory(&w->failure, w->keys.n + w->tensors.n);
    }
    if (err && w->failure.status) *err = w->failure;
    return w->failure.status;
}

static facet_status pad(gguf_writer *w, uint64_t n_bytes, facet_error *err) {
    static const char zeros[64];
    uint64_t n = (w->alignment - n_bytes % w->alignment) % w->alignment;
    while (n) {
        size_t piece = n < sizeof zeros ? (size_t)n : sizeof zeros;
        FACET_TRY(w->write(w->ctx, zeros, piece, err));
        n -= piece;
    }
    return FACET_OK;
}

static facet_status write_buffer(gguf_writer *w, const buffer *b, facet_error *err) {
    return b->n ? w->write(w->ctx, b->data, b->n, err) : FACET_OK;
}

facet_status gguf_writer_begin(gguf_writer *w, gguf_write_fn write, void *ctx, facet_error *err) {
    if (w->write) return error_set(err, FACET_ERROR_STATE, "the header is already written");
    FACET_TRY(check_complete(w, err));
    buffer head = {0};
    buffer_append(&head, "GGUF", 4);
    put_le(&head, VERSION, 4);
    put_le(&head, w->tensor_names.n, 8);
    put_le(&head, w->key_names.n, 8);
    w->write = write;
    w->ctx = ctx;
    facet_status status = head.failed ? error_memory(err, 24) : write_buffer(w, &head, err);
    if (status == FACET_OK) status = write_buffer(w, &w->keys, err);
    if (status == FACET_OK) status = write_buffer(w, &w->tensors, err);
    if (status == FACET_OK) status = pad(w, head.n + w->keys.n + w->tensors.n, err);
    buffer_free(&head);
    return status;
}

facet_status gguf_writer_data(gguf_writer *w, const void *data, size_t n_bytes, facet_error *err) {
    const char *p = data;
    if (!w->write) return error_set(err, FACET_ERROR_STATE, "data came before the header");
    while (n_bytes) {
        if (w->current == w->tensor_names.n) {
            return error_set(err, FACET_ERROR_STATE, "%zu bytes came after the last tensor", n_bytes);
        }
        uint64_t left = w->sizes[w->current] - w->done;
        size_t piece = n_bytes < left ? n_bytes : (size_t)left;
        if (piece) FACET_TRY(w->write(w->ctx, p, piece, err));
        p += piece;
        n_bytes -= piece;
        w->done += piece;
        if (piece < left) break;
        FACET_TRY(pad(w, w->done, err));
        w->current++;
        w->done = 0;
    }
    return FACET_OK;
}

facet_status gguf_writer_end(gguf_writer *w, facet_error *err) {
    while (w->current < w->tensor_names.n && w->sizes[w->current] == w->done && w->done == 0) w->current++;
    if (!w->write || w->current < w->tensor_names.n) {
        return error_set(err, FACET_ERROR_STATE, "the data of %zu tensors is missing",
                         w->tensor_names.n - w->current);
    }
    return FACET_OK;
}
