/* Reading the tensor directory of one part: names, types, shapes and places, each checked against the bytes at hand.
 * Format: gguf.h names the source. */
#include <stdlib.h>

#include "base/checked.h"
#include "gguf/file.h"

enum {
    DEFAULT_ALIGNMENT = 32,
    MAX_TENSORS = 1 << 18 /* of all parts; keeps the tables of a hostile file small */
};
#define MAX_AXIS ((uint64_t)1 << 40)

static facet_status find_alignment(const gguf_reader *r, size_t *out) {
    const gguf_kv *kv;
    uint64_t alignment = DEFAULT_ALIGNMENT;
    bool good = gguf_keys_get_u64(r->keys, "general.alignment", &kv, &alignment);
    if (kv && (!good || alignment == 0 || alignment > UINT32_MAX || (alignment & (alignment - 1)))) {
        return gguf_fail(r, FACET_ERROR_FORMAT, (uint64_t)(kv->data - r->in.data),
                         "key 'general.alignment' is no power of two that fits 32 bits");
    }
    *out = (size_t)alignment;
    return FACET_OK;
}

/* Plain numbers that no weight is stored in, but that files may carry. */
static uint32_t number_bytes(uint32_t type_id) {
    switch (type_id) {
    case GGUF_TENSOR_I8: return 1;
    case GGUF_TENSOR_I16: return 2;
    case GGUF_TENSOR_I32: return 4;
    case GGUF_TENSOR_I64:
    case GGUF_TENSOR_F64: return 8;
    default: return 0;
    }
}

static facet_status read_shape(gguf_reader *r, gguf_tensor *t, size_t start) {
    t->n_dims = bytes_u32(&r->in);
    if (!r->in.failed && t->n_dims > GGUF_MAX_DIMS) {
        return gguf_fail(r, FACET_ERROR_FORMAT, start, "tensor '%s' has %u dimensions, at most %d are possible",
                         gguf_quote(t->name).text, t->n_dims, GGUF_MAX_DIMS);
    }
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) t->ne[i] = i < t->n_dims && !r->in.failed ? bytes_u64(&r->in) : 1;
    t->type_id = bytes_u32(&r->in);
    t->offset = bytes_u64(&r->in);
    if (r->in.failed) return gguf_fail_truncated(r, start, "the entry of tensor '%s'", gguf_quote(t->name).text);
    t->format = quant_format_by_id(t->type_id);
    return FACET_OK;
}

/* The number of bytes, which needs every axis and their product in range. */
static facet_status measure(const gguf_reader *r, gguf_tensor *t, size_t start) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (t->ne[i] == 0 || t->ne[i] > MAX_AXIS || !checked_mul_u64(n, t->ne[i], &n) || n > INT64_MAX) {
            return gguf_fail(r, FACET_ERROR_FORMAT, start, "tensor '%s': dimension %u is %llu, which is out of range",
                             gguf_quote(t->name).text, i, (unsigned long long)t->ne[i]);
        }
    }
    uint64_t row = t->format ? quant_row_bytes(t->format, t->ne[0]) : t->ne[0] * number_bytes(t->type_id);
    if (t->format && row == 0) {
        return gguf_fail(r, FACET_ERROR_FORMAT, start,
                         "tensor '%s': rows of %llu weights are no multiple of %u, the block of %s",
                         gguf_quote(t->name).text, (unsigned long long)t->ne[0], t->format->block, t->format->name);
    }
    if (!checked_mul_u64(row, n / t->ne[0], &t->n_bytes) || t->n_bytes > SIZE_MAX / 2) {
        return gguf_fail(r, FACET_ERROR_FORMAT, start, "tensor '%s': its size in bytes is out of range",
                         gguf_quote(t->name).text);
    }
    return FACET_OK;
}

static facet_status add_tensor(gguf_reader *r, const gguf_tensor *t) {
    gguf_file *file = r->file;
    if (file->n_tensors == file->tensor_capacity) {
        size_t capacity = file->tensor_capacity ? file->tensor_capacity * 2 : 64;
        gguf_tensor *larger = realloc(file->tensors, capacity * sizeof *larger);
        if (!larger) return error_memory(r->err, capacity * sizeof *larger);
        file->tensors = larger;
        file->tensor_capacity = capacity;
    }
    if (!name_add(&file->tensor_index, t->name, file->n_tensors)) {
        return error_memory(r->err, file->n_tensors * sizeof(name_slot));
    }
    file->tensors[file->n_tensors++] = *t;
    return FACET_OK;
}

static facet_status read_tensor(gguf_reader *r, uint64_t i) {
    gguf_tensor t = {.part = r->part};
    size_t start = r->in.at;
    FACET_TRY(gguf_read_name(r, "tensor", i, &t.name));
    if (name_find(&r->file->tensor_index, t.name) != NAME_ABSENT) {
        return gguf_fail(r, FACET_ERROR_FORMAT, start, "tensor '%s' is there twice", gguf_quote(t.name).text);
    }
    FACET_TRY(read_shape(r, &t, start));
    FACET_TRY(measure(r, &t, start));
    return add_tensor(r, &t);
}

/* From an offset in the data to a place in the file. */
static facet_status place(const gguf_reader *r, gguf_tensor *t, size_t data_start, size_t alignment) {
    uint64_t end;
    if (t->offset % alignment) {
        return gguf_fail(r, FACET_ERROR_FORMAT, 0, "tensor '%s': its offset %llu is no multiple of the alignment %zu",
                         gguf_quote(t->name).text, (unsigned long long)t->offset, alignment);
    }
    if (!checked_add_u64(t->offset, data_start, &t->offset) || !checked_add_u64(t->offset, t->n_bytes, &end)) {
        return gguf_fail(r, FACET_ERROR_FORMAT, 0, "tensor '%s': its offset is out of range",
                         gguf_quote(t->name).text);
    }
    bool here = end <= r->in.n;
    if (!here && !r->header_only) {
        return gguf_fail(r, FACET_ERROR_TRUNCATED, t->offset,
                         "truncated: tensor '%s' needs bytes %llu to %llu, the file has %zu",
                         gguf_quote(t->name).text, (unsigned long long)t->offset, (unsigned long long)end, r->in.n);
    }
    if (here) t->data = r->in.data + t->offset;
    return FACET_OK;
}

static int by_offset(const void *a, const void *b) {
    const gguf_tensor *x = *(const gguf_tensor *const *)a, *y = *(const gguf_tensor *const *)b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* Two tensors in the same bytes are the mark of a damaged directory. Files list tensors in the order of their data,
 * so sorting is the exception. */
static facet_status check_overlap(const gguf_reader *r) {
    size_t n = r->file->n_tensors - r->first_tensor;
    if (n < 2) return FACET_OK;
    const gguf_tensor *first = r->file->tensors + r->first_tensor;
    bool ordered = true;
    for (size_t i = 1; i < n && ordered; i++)
        ordered =
            first[i].offset - first[i - 1].offset >= first[i - 1].n_bytes && first[i].offset >= first[i - 1].offset;
    if (ordered) return FACET_OK;
    const gguf_tensor **sorted = malloc(n * sizeof *sorted);
    if (!sorted) return error_memory(r->err, n * sizeof *sorted);
    for (size_t i = 0; i < n; i++) sorted[i] = &first[i];
    qsort(sorted, n, sizeof *sorted, by_offset);
    facet_status status = FACET_OK;
    for (size_t i = 1; i < n && status == FACET_OK; i++) {
        if (sorted[i]->offset - sorted[i - 1]->offset >= sorted[i - 1]->n_bytes) continue;
        status = gguf_fail(r, FACET_ERROR_FORMAT, sorted[i]->offset, "tensors '%s' and '%s' overlap at byte %llu",
                           gguf_quote(sorted[i - 1]->name).text, gguf_quote(sorted[i]->name).text,
                           (unsigned long long)sorted[i]->offset);
    }
    free(sorted);
    return status;
}

facet_status gguf_read_tensors(gguf_reader *r) {
    enum { SMALLEST = 8 + 4 + 4 + 8 }; /* an empty name, no dimension, type and offset */
    size_t alignment = 0, data_start = 0;
    FACET_TRY(find_alignment(r, &alignment));
    if (r->n_tensors > bytes_left(&r->in) / SMALLEST && !r->header_only) {
        return gguf_fail(r, FACET_ERROR_TRUNCATED, 8,
                         "the header announces %llu tensors, the file's %zu bytes hold fewer",
                         (unsigned long long)r->n_tensors, r->in.n);
    }
    if (r->n_tensors > MAX_TENSORS - r->file->n_tensors) {
        return gguf_fail(r, FACET_ERROR_UNSUPPORTED, 8, "the header announces %llu tensors, facet reads up to %d",
                         (unsigned long long)r->n_tensors, MAX_TENSORS);
    }
    for (uint64_t i = 0; i < r->n_tensors; i++) FACET_TRY(read_tensor(r, i));
    if (!checked_align(r->in.at, alignment, &data_start)) {
        return gguf_fail(r, FACET_ERROR_FORMAT, r->in.at, "the tensors' data begins out of range");
    }
    for (size_t i = r->first_tensor; i < r->file->n_tensors; i++) {
        FACET_TRY(place(r, &r->file->tensors[i], data_start, alignment));
    }
    return check_overlap(r);
}
