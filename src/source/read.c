/* See read.h. The directory is read first: what is no GGUF file, or one that announces more than there is, is refused
 * before its weights are fetched. */
#include "source/read.h"

#include "gguf/gguf.h"
#include "os/system.h"

/* The first bytes that are looked at, and how much is read at once. */
enum { FIRST = 1 << 16, PIECE = 4 << 20 };

typedef struct reading {
    const facet_source *from;
    uint8_t *data;
    size_t n, n_bytes; /* read, and there are */
    facet_error *err;
} reading;

static facet_status read_to(reading *r, size_t end) {
    while (r->n < end) {
        size_t want = end - r->n < PIECE ? end - r->n : PIECE;
        facet_error *err = r->err, unused;
        if (!err) err = &unused;
        error_clear(err);
        facet_status status = r->from->read(r->from->ctx, r->n, r->data + r->n, want, err);
        if (status != FACET_OK) {
            if (err->message[0]) return err->status = status;
            return error_at(err, status, r->n, "the source could not give bytes %zu to %zu", r->n, r->n + want);
        }
        r->n += want;
    }
    return FACET_OK;
}

static facet_status try_directory(const reading *r) {
    gguf_file *file;
    const gguf_part part = {r->data, r->n};
    facet_status status = gguf_open(&file, &part, 1, &(gguf_options){.header_only = true}, r->err);
    gguf_free(file);
    return status;
}

static facet_status read_directory(reading *r) {
    facet_status status;
    size_t end = FIRST;
    do {
        if (end > r->n_bytes) end = r->n_bytes;
        FACET_TRY(read_to(r, end));
        status = try_directory(r);
        end += end;
    } while (status == FACET_ERROR_TRUNCATED && r->n < r->n_bytes);
    return status;
}

/* All tensors are inside. */
static facet_status check_extent(const reading *r) {
    gguf_file *file;
    const gguf_part part = {r->data, r->n_bytes};
    facet_status status = gguf_open(&file, &part, 1, NULL, r->err);
    gguf_free(file);
    return status;
}

static facet_status check_source(const facet_source *from, facet_error *err) {
    if (!from->read) return error_set(err, FACET_ERROR_ARGUMENT, "facet_source.read is NULL");
    if (from->n_bytes == 0 || from->n_bytes > SIZE_MAX / 2) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_source.n_bytes is %llu, which is no size of a file",
                         (unsigned long long)from->n_bytes);
    }
    return FACET_OK;
}

facet_status read_source(const facet_source *from, bool header_only, void **pages, size_t *n, facet_error *err) {
    *pages = NULL;
    FACET_TRY(check_source(from, err));
    reading r = {.from = from, .n_bytes = (size_t)from->n_bytes, .err = err};
    r.data = *pages = os_pages_new(r.n_bytes);
    if (!r.data) return error_memory(err, r.n_bytes);
    FACET_TRY(read_directory(&r));
    if (!header_only) {
        FACET_TRY(check_extent(&r));
        FACET_TRY(read_to(&r, r.n_bytes));
    }
    *n = r.n;
    error_clear(err);
    return FACET_OK;
}
