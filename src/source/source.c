/* Files, memory and streams as parts. See source.h; read.c reads from the caller's function. */
#include "source/source.h"
#include "source/read.h"

#include <limits.h>
#include <stdlib.h>

#include "os/map.h"
#include "os/system.h"

struct source {
    gguf_part *parts;
    size_t n_parts;
    os_map *maps;   /* one a part; NULL for memory */
    stream *stream; /* NULL: none */
    void *pages;    /* the source's own, [n_pages_bytes] */
    size_t n_pages_bytes;
    facet_release_fn release;
    void *ctx;
};

static facet_status new_source(source **out, size_t n_parts, bool of_files, facet_error *err) {
    source *s = calloc(1, sizeof *s);
    if (s) s->parts = calloc(n_parts, sizeof *s->parts);
    if (s && of_files) s->maps = calloc(n_parts, sizeof *s->maps);
    if (!s || !s->parts || (of_files && !s->maps)) {
        source_free(s);
        return error_memory(err, sizeof *s + n_parts * (sizeof(gguf_part) + sizeof(os_map)));
    }
    *out = s;
    return FACET_OK;
}

static facet_status open_part(source *s, const char *path, bool use_mmap, facet_error *err) {
    os_map *map = &s->maps[s->n_parts];
    FACET_TRY(os_map_open(map, path, use_mmap, err));
    s->parts[s->n_parts++] = (gguf_part){map->data, map->n_bytes};
    return FACET_OK;
}

static facet_status open_parts(source *s, const char *path, uint32_t n_parts, bool use_mmap, facet_error *err) {
    for (uint32_t i = 0; i < n_parts; i++) {
        char name[PATH_MAX];
        if (!gguf_split_path(path, i, name, sizeof name)) {
            return error_set(err, FACET_ERROR_IO, "cannot open '%s': the name is too long", path);
        }
        FACET_TRY(open_part(s, name, use_mmap, err));
    }
    return FACET_OK;
}

/* n_parts 0: that one file, whatever its name. */
static facet_status open_files(source **out, const char *path, uint32_t n_parts, bool use_mmap, facet_error *err) {
    source *s = NULL;
    *out = NULL;
    FACET_TRY(new_source(&s, n_parts ? n_parts : 1, true, err));
    facet_status status = n_parts ? open_parts(s, path, n_parts, use_mmap, err) : open_part(s, path, use_mmap, err);
    if (status != FACET_OK) {
        source_free(s);
        return status;
    }
    *out = s;
    return FACET_OK;
}

facet_status source_open_path(source **out, const char *path, bool use_mmap, facet_error *err) {
    uint32_t part, n_parts;
    if (!gguf_split_parse(path, &part, &n_parts)) n_parts = 0;
    return open_files(out, path, n_parts, use_mmap, err);
}

facet_status source_open_one(source **out, const char *path, bool use_mmap, facet_error *err) {
    return open_files(out, path, 0, use_mmap, err);
}

static facet_status new_of_memory(source **out, const void *data, size_t n_bytes, facet_error *err) {
    FACET_TRY(new_source(out, 1, false, err));
    (*out)->parts[0] = (gguf_part){data, n_bytes};
    (*out)->n_parts = 1;
    return FACET_OK;
}

facet_status source_open_memory(source **out, const void *data, size_t n_bytes, facet_release_fn release, void *ctx,
                                facet_error *err) {
    *out = NULL;
    facet_status status = FACET_OK;
    if (!data && n_bytes) status = error_set(err, FACET_ERROR_ARGUMENT, "no data: the pointer is NULL");
    source *s = NULL;
    if (status == FACET_OK) status = new_of_memory(&s, data, n_bytes, err);
    if (status != FACET_OK) {
        if (release) release(ctx, data, n_bytes);
        return status;
    }
    s->release = release;
    s->ctx = ctx;
    *out = s;
    return FACET_OK;
}

facet_status source_open_stream(source **out, stream *from, facet_error *err) {
    *out = NULL;
    FACET_TRY(new_of_memory(out, stream_data(from), stream_bytes(from), err));
    (*out)->stream = stream_ref(from);
    return FACET_OK;
}

facet_status source_open_read(source **out, const facet_source *from, bool header_only, facet_error *err) {
    *out = NULL;
    source *s = NULL;
    void *pages = NULL;
    size_t n = 0;
    facet_status status = read_source(from, header_only, &pages, &n, err);
    if (from->release) from->release(from->ctx);
    if (status == FACET_OK) status = new_of_memory(&s, pages, n, err);
    if (status != FACET_OK) {
        os_pages_free(pages, (size_t)from->n_bytes);
        return status;
    }
    s->pages = pages;
    s->n_pages_bytes = (size_t)from->n_bytes;
    *out = s;
    return FACET_OK;
}

const gguf_part *source_parts(const source *s, size_t *n) {
    *n = s->n_parts;
    return s->parts;
}

bool source_lock(const source *s) {
    if (!s->maps) return false;
    for (size_t i = 0; i < s->n_parts; i++) {
        if (!os_map_lock(&s->maps[i])) return false;
    }
    return true;
}

void source_sparse(const source *s, const uint8_t *data, size_t n_bytes) {
    for (size_t i = 0; s->maps && i < s->n_parts; i++) os_map_sparse(&s->maps[i], data, n_bytes);
}

facet_status source_check(const source *s, facet_error *err) {
    for (size_t i = 0; s->maps && i < s->n_parts; i++) FACET_TRY(os_map_check(&s->maps[i], err));
    return FACET_OK;
}

void source_free(source *s) {
    if (!s) return;
    for (size_t i = 0; s->maps && i < s->n_parts; i++) os_map_close(&s->maps[i]);
    stream_free(s->stream);
    os_pages_free(s->pages, s->n_pages_bytes);
    if (s->release) s->release(s->ctx, s->parts[0].data, s->parts[0].n_bytes);
    free(s->maps);
    free(s->parts);
    free(s);
}

void source_blame(const char *path, facet_error *err) {
    if (!err || err->status == FACET_ERROR_MEMORY) return;
    facet_error inner = *err;
    error_at(err, inner.status, inner.position, "%s: %s", path, inner.message);
}
