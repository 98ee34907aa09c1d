/* Where a model's bytes come from: a file, all parts of a split file, the caller's memory, the caller's read
 * function, or a stream that is still arriving; as parts that the GGUF reader takes. Owns: the mappings and buffers,
 * and the promise to release what is the caller's exactly once. Knows nothing of what the bytes mean. */
#ifndef FACET_SOURCE_SOURCE_H
#define FACET_SOURCE_SOURCE_H

#include "base/error.h"
#include "gguf/gguf.h"
#include "source/stream.h"

typedef struct source source;

/* A path that ends in "-00001-of-00003.gguf" (any of the parts may be named) opens all parts beside it. */
facet_status source_open_path(source **out, const char *path, bool use_mmap, facet_error *err);
/* That one file, also when its name is that of a part. */
facet_status source_open_one(source **out, const char *path, bool use_mmap, facet_error *err);
/* Takes over the duty to call `release` (may be NULL), also when it fails. */
facet_status source_open_memory(source **out, const void *data, size_t n_bytes, facet_release_fn release, void *ctx,
                                facet_error *err);
/* Reads everything into memory of its own. `header_only`: only until the GGUF directory is whole. Takes over the duty
 * to call from->release (may be NULL), also when it fails; it is called as soon as nothing more is read. */
facet_status source_open_read(source **out, const facet_source *from, bool header_only, facet_error *err);
/* The whole of a stream, of which the bytes that matter need not have arrived. Holds it. */
facet_status source_open_stream(source **out, stream *from, facet_error *err);

const gguf_part *source_parts(const source *s, size_t *n);
/* Asks for all bytes to stay resident; false when the system refuses, or when the memory is the caller's. */
bool source_lock(const source *s);
/* Tells that of these bytes only some are read, here and there. */
void source_sparse(const source *s, const uint8_t *data, size_t n_bytes);
/* FACET_ERROR_IO when a mapped file has changed since it was opened. Cheap; any thread. */
facet_status source_check(const source *s, facet_error *err);
void source_free(source *s);

/* Puts "PATH: " in front of the message of an error that speaks of a file's contents. */
void source_blame(const char *path, facet_error *err);

#endif
