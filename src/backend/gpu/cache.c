/* Files of compiled programs: a digest of the bytes, then the bytes. See cache.h. */
#include "backend/gpu/cache.h"

#include <stdio.h>
#include <string.h>

#include "os/library.h"
#include "os/map.h"
#include "os/output.h"

#ifndef GPU_KERNELS_FROM_PROGRAM
#define GPU_KERNELS_FROM_PROGRAM "../lib/facet/kernels"
#endif

static void add_text(sha256 *s, const char *text) { sha256_add(s, text, strlen(text) + 1); }

gpu_cache_key gpu_cache_key_of(const gpu_limits *device, const gpu_source *source, const char *options) {
    sha256 s;
    uint8_t digest[SHA256_BYTES];
    gpu_cache_key key;
    sha256_begin(&s);
    add_text(&s, device->kind);
    add_text(&s, device->name);
    add_text(&s, device->version);
    add_text(&s, source->defines);
    add_text(&s, options);
    for (size_t i = 0; i < source->n_pieces; i++) sha256_add(&s, source->pieces[i], source->piece_bytes[i]);
    sha256_end(&s, digest);
    sha256_text(digest, key.text);
    return key;
}

static bool path_of(const char *directory, const gpu_cache_key *key, char path[4096]) {
    int n = snprintf(path, 4096, "%s/%s.kernels", directory, key->text);
    return n > 0 && n < 4096;
}

static void digest_of(const void *data, size_t n, uint8_t digest[SHA256_BYTES]) {
    sha256 s;
    sha256_begin(&s);
    sha256_add(&s, data, n);
    sha256_end(&s, digest);
}

bool gpu_cache_read(const char *directory, const gpu_cache_key *key, buffer *out) {
    char path[4096];
    os_map map;
    uint8_t digest[SHA256_BYTES];
    *out = (buffer){0};
    if (!directory || !path_of(directory, key, path) || os_map_open(&map, path, false, NULL) != FACET_OK)
        return false;
    bool ok = map.n_bytes > SHA256_BYTES;
    if (ok) {
        digest_of(map.data + SHA256_BYTES, map.n_bytes - SHA256_BYTES, digest);
        ok = memcmp(digest, map.data, SHA256_BYTES) == 0 &&
             buffer_append(out, map.data + SHA256_BYTES, map.n_bytes - SHA256_BYTES);
    }
    os_map_close(&map);
    if (!ok) buffer_free(out);
    return ok;
}

/* Beside the shared library, or where it would be from the program's place; the build says how to get there. */
bool gpu_cache_read_installed(const gpu_cache_key *key, buffer *out) {
    static const char *const ways[] = {"facet/kernels", GPU_KERNELS_FROM_PROGRAM};
    char own[2048], directory[4096];
    *out = (buffer){0};
    if (!os_library_own_directory(own, sizeof own)) return false;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        int n = snprintf(directory, sizeof directory, "%s/%s", own, ways[i]);
        if (n > 0 && (size_t)n < sizeof directory && gpu_cache_read(directory, key, out)) return true;
    }
    return false;
}

void gpu_cache_write(const char *directory, const gpu_cache_key *key, const void *data, size_t n_bytes) {
    char path[4096];
    os_output *output;
    uint8_t digest[SHA256_BYTES];
    if (!directory || !path_of(directory, key, path) || os_output_open(&output, path, NULL) != FACET_OK) return;
    digest_of(data, n_bytes, digest);
    bool ok = os_output_write(output, digest, sizeof digest, NULL) == FACET_OK &&
              os_output_write(output, data, n_bytes, NULL) == FACET_OK;
    if (ok)
        os_output_commit(output, NULL);
    else
        os_output_discard(output);
}
