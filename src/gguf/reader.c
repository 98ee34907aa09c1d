/* Opening a GGUF image: the fixed header, the agreement of parts, and the directory's life. The key-values are read
 * by keys.c, the tensors by tensors.c. Knows nothing of files on disk. Format: gguf.h names the source. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "gguf/file.h"

gguf_quoted gguf_quote(gguf_string name) {
    gguf_quoted q;
    size_t n = 0, at = 0, limit = sizeof q.text - 4; /* room for the three dots */
    while (at < name.n) {
        size_t length = utf8_decode(name.data + at, name.n - at, NULL), step = length ? length : 1;
        if (n + step > limit) {
            n += (size_t)snprintf(q.text + n, 4, "...");
            break;
        }
        if (length && (unsigned char)name.data[at] >= 0x20 && name.data[at] != 0x7f) {
            memcpy(q.text + n, name.data + at, length);
        } else {
            memset(q.text + n, '?', step);
        }
        n += step;
        at += step;
    }
    q.text[n] = '\0';
    return q;
}

static facet_status fail(const gguf_reader *r, facet_status status, uint64_t position, const char *text) {
    if (r->file->n_parts == 1) return error_at(r->err, status, position, "%s", text);
    return error_at(r->err, status, position, "part %u of %zu: %s", r->part + 1, r->file->n_parts, text);
}

facet_status gguf_fail(const gguf_reader *r, facet_status status, uint64_t position, const char *fmt, ...) {
    char text[sizeof r->err->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return fail(r, status, position, text);
}

facet_status gguf_fail_truncated(const gguf_reader *r, uint64_t position, const char *fmt, ...) {
    char what[160], text[sizeof r->err->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    snprintf(text, sizeof text, "truncated: the file ends at byte %zu, inside %s, which begins at byte %llu", r->in.n,
             what, (unsigned long long)position);
    return fail(r, FACET_ERROR_TRUNCATED, position, text);
}

static facet_status check_magic(gguf_reader *r) {
    size_t n = r->in.n < 4 ? r->in.n : 4;
    if (n && memcmp(r->in.data, "GGUF", n) != 0) {
        return gguf_fail(r, FACET_ERROR_FORMAT, 0, "not a GGUF file: it does not begin with the letters GGUF");
    }
    return FACET_OK;
}

static facet_status check_version(gguf_reader *r, uint32_t version) {
    if (version == 2 || version == 3) return FACET_OK;
    if (version && (version & 0xffffu) == 0) {
        return gguf_fail(r, FACET_ERROR_UNSUPPORTED, 4,
                         "a big-endian GGUF file: facet reads little-endian ones only");
    }
    return gguf_fail(r, FACET_ERROR_UNSUPPORTED, 4, "GGUF version %u: facet reads versions 2 and 3", version);
}

static facet_status read_header(gguf_reader *r) {
    FACET_TRY(check_magic(r));
    bytes_take(&r->in, 4);
    uint32_t version = bytes_u32(&r->in);
    if (!r->in.failed) FACET_TRY(check_version(r, version));
    r->n_tensors = bytes_u64(&r->in);
    r->n_kv = bytes_u64(&r->in);
    if (r->in.failed) return gguf_fail_truncated(r, 0, "the header of 24 bytes");
    if (r->part == 0) r->file->version = version;
    return FACET_OK;
}

/* A part must say which one it is, and how many there are. */
static facet_status check_split(const gguf_reader *r) {
    uint64_t count = 1, number = 0;
    const gguf_kv *kv;
    bool known = gguf_keys_get_u64(r->keys, "split.count", &kv, &count);
    if (kv && !known) return gguf_fail(r, FACET_ERROR_FORMAT, 0, "key 'split.count' is not a count");
    if (count == 0) count = 1;
    if (r->file->n_parts == 1 && (count == 1 || r->header_only)) return FACET_OK;
    if (!known || count != r->file->n_parts) {
        return gguf_fail(r, FACET_ERROR_FORMAT, 0, "key 'split.count' says %llu parts, %zu are here",
                         (unsigned long long)count, r->file->n_parts);
    }
    if (!gguf_keys_get_u64(r->keys, "split.no", &kv, &number) || number != r->part) {
        return gguf_fail(r, FACET_ERROR_FORMAT, 0, "key 'split.no' is %s%llu, expected %u",
                         kv ? "" : "missing or not ", (unsigned long long)number, r->part);
    }
    return FACET_OK;
}

static facet_status read_part(gguf_reader *r) {
    FACET_TRY(read_header(r));
    FACET_TRY(gguf_read_keys(r));
    FACET_TRY(check_split(r));
    return gguf_read_tensors(r);
}

static void free_keys(gguf_keys *keys) {
    free(keys->kv);
    name_index_free(&keys->index);
}

static facet_status open_part(gguf_file *file, uint32_t part, bool header_only, facet_error *err) {
    gguf_keys other = {0};
    gguf_reader r = {.file = file,
                     .keys = part ? &other : &file->keys,
                     .in = bytes_of(file->parts[part].data, file->parts[part].n_bytes),
                     .part = part,
                     .header_only = header_only,
                     .first_tensor = file->n_tensors,
                     .err = err};
    facet_status status = read_part(&r);
    free_keys(&other);
    return status;
}

/* The first part tells how many tensors all parts hold. */
static facet_status check_total(const gguf_file *file, facet_error *err) {
    const gguf_kv *kv;
    uint64_t n;
    if (file->n_parts == 1 || !gguf_keys_get_u64(&file->keys, "split.tensors.count", &kv, &n) ||
        n == file->n_tensors) {
        return FACET_OK;
    }
    return error_set(err, FACET_ERROR_FORMAT, "key 'split.tensors.count' says %llu tensors, the %zu parts hold %zu",
                     (unsigned long long)n, file->n_parts, file->n_tensors);
}

static facet_status open_all(gguf_file *file, const gguf_part *parts, size_t n_parts, bool header_only,
                             facet_error *err) {
    file->parts = calloc(n_parts, sizeof *parts);
    if (!file->parts) return error_memory(err, n_parts * sizeof *parts);
    memcpy(file->parts, parts, n_parts * sizeof *parts);
    file->n_parts = n_parts;
    for (size_t i = 0; i < n_parts; i++) FACET_TRY(open_part(file, (uint32_t)i, header_only, err));
    return check_total(file, err);
}

facet_status gguf_open(gguf_file **out, const gguf_part *parts, size_t n_parts, const gguf_options *options,
                       facet_error *err) {
    *out = NULL;
    if (n_parts == 0 || n_parts > UINT16_MAX) {
        return error_set(err, FACET_ERROR_ARGUMENT, "a GGUF file of %zu parts: 1 to 65535 are possible", n_parts);
    }
    gguf_file *file = calloc(1, sizeof *file);
    if (!file) return error_memory(err, sizeof *file);
    facet_status status = open_all(file, parts, n_parts, options && options->header_only, err);
    if (status != FACET_OK) {
        gguf_free(file);
        return status;
    }
    *out = file;
    return FACET_OK;
}

void gguf_free(gguf_file *file) {
    if (!file) return;
    free_keys(&file->keys);
    free(file->tensors);
    name_index_free(&file->tensor_index);
    free(file->parts);
    free(file);
}

static gguf_string string_of(const char *text) { return (gguf_string){text, strlen(text)}; }

uint32_t gguf_version(const gguf_file *file) { return file->version; }
size_t gguf_n_kv(const gguf_file *file) { return file->keys.n; }
const gguf_kv *gguf_kv_at(const gguf_file *file, size_t i) { return &file->keys.kv[i]; }
size_t gguf_n_tensors(const gguf_file *file) { return file->n_tensors; }
const gguf_tensor *gguf_tensor_at(const gguf_file *file, size_t i) { return &file->tensors[i]; }

const gguf_kv *gguf_find(const gguf_file *file, const char *key) {
    size_t i = name_find(&file->keys.index, string_of(key));
    return i == NAME_ABSENT ? NULL : &file->keys.kv[i];
}

const gguf_tensor *gguf_tensor_find(const gguf_file *file, const char *name) {
    size_t i = name_find(&file->tensor_index, string_of(name));
    return i == NAME_ABSENT ? NULL : &file->tensors[i];
}
