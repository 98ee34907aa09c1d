/* GGUF reader: header, key-values and tensor directory of one file or of all parts of a split one, validated in full
 * before anything else sees them. Owns: the directory. Borrows: the bytes, which must outlive it. Knows nothing of
 * models. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. */
#ifndef FACET_GGUF_GGUF_H
#define FACET_GGUF_GGUF_H

#include "base/error.h"
#include "quant/format.h"

typedef enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
} gguf_type;

const char *gguf_type_name(gguf_type type); /* "u32" */
size_t gguf_type_bytes(gguf_type type);     /* 0 for strings and arrays */

typedef struct gguf_string {
    const char *data; /* in the file's bytes, not terminated */
    size_t n;
} gguf_string;

/* A key-value. Views into the file; nothing is copied. */
typedef struct gguf_kv {
    gguf_string key;
    gguf_type type;
    gguf_type element;   /* GGUF_ARRAY: the type of its elements (never GGUF_ARRAY: nested arrays are refused) */
    uint64_t n;          /* GGUF_ARRAY: elements; else 1 */
    const uint8_t *data; /* first byte of the value or of the first element, unaligned */
    size_t n_bytes;
} gguf_kv;

enum { GGUF_MAX_DIMS = 4 };

/* Types of tensors that hold plain numbers instead of weights: no quant_format, but a known size. */
enum gguf_number_type {
    GGUF_TENSOR_I8 = 24,
    GGUF_TENSOR_I16 = 25,
    GGUF_TENSOR_I32 = 26,
    GGUF_TENSOR_I64 = 27,
    GGUF_TENSOR_F64 = 28
};

typedef struct gguf_tensor {
    gguf_string name;
    const quant_format *format; /* NULL: a type facet does not know; type_id tells which */
    uint32_t type_id;
    uint32_t n_dims;
    uint64_t ne[GGUF_MAX_DIMS]; /* contiguous axis first; unused axes are 1 */
    const uint8_t *data;        /* n_bytes of blocks; NULL where a header_only file ends before them */
    uint64_t n_bytes;           /* 0 where the type's size is unknown */
    uint64_t offset;            /* in its part, from the start of the file */
    uint32_t part;
} gguf_tensor;

typedef struct gguf_file gguf_file;

typedef struct gguf_part {
    const uint8_t *data;
    size_t n_bytes;
} gguf_part;

typedef struct gguf_options {
    bool header_only; /* tensors may lie beyond the bytes at hand: their data is NULL; one part may stand alone */
} gguf_options;

/* Parses n_parts images (1 for an ordinary file) in order. With several parts the key-values are the first part's and
 * the tensors those of all. The array of parts is copied. */
facet_status gguf_open(gguf_file **out, const gguf_part *parts, size_t n_parts, const gguf_options *options,
                       facet_error *err);
void gguf_free(gguf_file *file);

uint32_t gguf_version(const gguf_file *file);
size_t gguf_n_kv(const gguf_file *file);
const gguf_kv *gguf_kv_at(const gguf_file *file, size_t i);
const gguf_kv *gguf_find(const gguf_file *file, const char *key); /* NULL: absent. Constant time. */
size_t gguf_n_tensors(const gguf_file *file);
const gguf_tensor *gguf_tensor_at(const gguf_file *file, size_t i);
const gguf_tensor *gguf_tensor_find(const gguf_file *file, const char *name); /* NULL: absent. Constant time. */

/* Typed reads of one value. Integers of any width and sign that hold the value are accepted. A missing key is
 * FACET_ERROR_FORMAT "key missing", a wrong type too; *out is untouched on failure. */
facet_status gguf_get_u32(const gguf_file *file, const char *key, uint32_t *out, facet_error *err);
facet_status gguf_get_f32(const gguf_file *file, const char *key, float *out, facet_error *err);
facet_status gguf_get_bool(const gguf_file *file, const char *key, bool *out, facet_error *err);
facet_status gguf_get_string(const gguf_file *file, const char *key, gguf_string *out, facet_error *err);
/* Element i of an array (i < kv->n) of integers or bools; false when the type is another or the value does not fit.
 */
bool gguf_element_u32(const gguf_kv *kv, uint64_t i, uint32_t *out);
bool gguf_element_i32(const gguf_kv *kv, uint64_t i, int32_t *out);
bool gguf_element_f32(const gguf_kv *kv, uint64_t i, float *out);

/* Walking an array of strings, which has no index: start at offset 0; false at the end. */
typedef struct gguf_string_iterator {
    const gguf_kv *kv;
    uint64_t i;
    size_t at;
} gguf_string_iterator;
gguf_string_iterator gguf_strings(const gguf_kv *kv);
bool gguf_next_string(gguf_string_iterator *it, gguf_string *out);

/* "x-00001-of-00003.gguf" -> number of parts and the path of part i (0-based). */
bool gguf_split_parse(const char *path, uint32_t *part, uint32_t *n_parts);
bool gguf_split_path(const char *path, uint32_t part, char *out, size_t out_bytes);

#endif
