/* Compiled programs in files of a directory. Owns: their names, which are a digest of all that the program depends
 * on, and a checksum, so that a damaged file is as good as none. Everything here may fail silently: the program is
 * then compiled again. */
#ifndef FACET_BACKEND_GPU_CACHE_H
#define FACET_BACKEND_GPU_CACHE_H

#include "backend/gpu/device.h"
#include "base/buffer.h"
#include "base/sha256.h"

typedef struct gpu_cache_key {
    char text[2 * SHA256_BYTES + 1];
} gpu_cache_key;

/* Of a program for a device; `options` beyond those of the source. */
gpu_cache_key gpu_cache_key_of(const gpu_limits *device, const gpu_source *source, const char *options);
/* False: not there. `out` is empty before and after that. */
bool gpu_cache_read(const char *directory, const gpu_cache_key *key, buffer *out);
/* As gpu_cache_read, of what was installed together with facet. */
bool gpu_cache_read_installed(const gpu_cache_key *key, buffer *out);
void gpu_cache_write(const char *directory, const gpu_cache_key *key, const void *data, size_t n_bytes);

#endif
