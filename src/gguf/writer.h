/* GGUF writer, version 3, little-endian. First the key-values and the announcement of all tensors, then `begin`,
 * which writes everything but the data, then the data of all tensors in the order of their announcement, in pieces of
 * any size: so a model of any size is written without being held. Owns: the header under construction. Knows nothing
 * of files: bytes leave through a function. */
#ifndef FACET_GGUF_WRITER_H
#define FACET_GGUF_WRITER_H

#include "base/error.h"
#include "gguf/gguf.h"

typedef struct gguf_writer gguf_writer;

/* Where the bytes go, in order. A failing status ends the writing and is handed on. */
typedef facet_status (*gguf_write_fn)(void *ctx, const void *data, size_t n_bytes, facet_error *err);

/* `alignment` is a power of two from 8 to 2^20; 0 means 32. Any other than 32 is written as general.alignment. */
facet_status gguf_writer_new(gguf_writer **out, uint32_t alignment, facet_error *err);
void gguf_writer_free(gguf_writer *w);

/* The functions that add return nothing: the first failure (no memory, a name twice, too many dimensions) is kept and
 * comes out of `begin`. Keys and strings are copied. */
void gguf_add_u32(gguf_writer *w, const char *key, uint32_t value);
void gguf_add_i32(gguf_writer *w, const char *key, int32_t value);
void gguf_add_u64(gguf_writer *w, const char *key, uint64_t value);
void gguf_add_f32(gguf_writer *w, const char *key, float value);
void gguf_add_bool(gguf_writer *w, const char *key, bool value);
void gguf_add_string(gguf_writer *w, const char *key, const char *text, size_t n_bytes);
/* n values of a type of fixed size, in the machine's own form. */
void gguf_add_array(gguf_writer *w, const char *key, gguf_type element, const void *values, uint64_t n);
/* Announces n strings, which must follow by gguf_add_item. */
void gguf_add_strings(gguf_writer *w, const char *key, uint64_t n);
void gguf_add_item(gguf_writer *w, const char *text, size_t n_bytes);
/* Any value as another file holds it. general.alignment is passed over. */
void gguf_add_copy(gguf_writer *w, const gguf_kv *kv);

/* `n_bytes` must be what the type and the shape make for types that facet knows; ne[0] is the contiguous axis. */
void gguf_add_tensor(gguf_writer *w, gguf_string name, uint32_t type_id, uint32_t n_dims, const uint64_t *ne,
                     uint64_t n_bytes);

facet_status gguf_writer_begin(gguf_writer *w, gguf_write_fn write, void *ctx, facet_error *err);
/* The next bytes of the data; padding between tensors is added here. More than was announced is refused. */
facet_status gguf_writer_data(gguf_writer *w, const void *data, size_t n_bytes, facet_error *err);
/* FACET_ERROR_STATE when data is missing. */
facet_status gguf_writer_end(gguf_writer *w, facet_error *err);

#endif
