/* Opening a GGUF file for looking, and its tensors. See facet_tools.h; values are printed by gguf_text.c. */
#include "gguf_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Takes over `s`. */
static facet_status open_view(facet_gguf **out, source *s, bool header_only, facet_error *error) {
    size_t n_parts;
    const gguf_part *parts = source_parts(s, &n_parts);
    facet_gguf *g = calloc(1, sizeof *g);
    facet_status status = g ? FACET_OK : FACET_ERROR_MEMORY;
    if (g) {
        g->source = s;
        status = gguf_open(&g->file, parts, n_parts, &(gguf_options){.header_only = header_only}, error);
    } else {
        source_free(s);
        error_set(error, status, "out of memory");
    }
    if (status != FACET_OK) {
        facet_gguf_free(g);
        return status;
    }
    *out = g;
    return FACET_OK;
}

facet_status facet_gguf_open(facet_gguf **out, const char *path, bool header_only, facet_error *error) {
    source *s;
    *out = NULL;
    FACET_TRY((header_only ? source_open_one : source_open_path)(&s, path, true, error));
    facet_status status = open_view(out, s, header_only, error);
    if (status != FACET_OK) source_blame(path, error);
    return status;
}

facet_status facet_gguf_open_memory(facet_gguf **out, const void *data, size_t n_bytes, bool header_only,
                                    facet_error *error) {
    source *s;
    *out = NULL;
    FACET_TRY(source_open_memory(&s, data, n_bytes, NULL, NULL, error));
    return open_view(out, s, header_only, error);
}

facet_status facet_gguf_open_source(facet_gguf **out, const facet_source *from, bool header_only,
                                    facet_error *error) {
    source *s;
    *out = NULL;
    FACET_TRY(source_open_read(&s, from, header_only, error));
    return open_view(out, s, header_only, error);
}

void facet_gguf_free(facet_gguf *g) {
    if (!g) return;
    gguf_free(g->file);
    source_free(g->source);
    free(g);
}

uint32_t facet_gguf_version(const facet_gguf *g) { return gguf_version(g->file); }

size_t facet_gguf_n_parts(const facet_gguf *g) {
    size_t n;
    source_parts(g->source, &n);
    return n;
}

uint64_t facet_gguf_n_bytes(const facet_gguf *g) {
    size_t n;
    uint64_t total = 0;
    const gguf_part *parts = source_parts(g->source, &n);
    for (size_t i = 0; i < n; i++) total += parts[i].n_bytes;
    return total;
}

size_t facet_gguf_n_tensors(const facet_gguf *g) { return gguf_n_tensors(g->file); }

bool facet_gguf_find_tensor(const facet_gguf *g, const char *name, size_t *i) {
    const gguf_tensor *t = gguf_tensor_find(g->file, name);
    if (t) *i = (size_t)(t - gguf_tensor_at(g->file, 0));
    return t;
}

static const char *number_name(uint32_t type_id) {
    switch (type_id) {
    case GGUF_TENSOR_I8: return "I8";
    case GGUF_TENSOR_I16: return "I16";
    case GGUF_TENSOR_I32: return "I32";
    case GGUF_TENSOR_I64: return "I64";
    case GGUF_TENSOR_F64: return "F64";
    default: return NULL;
    }
}

static void name_type(const gguf_tensor *t, char out[24]) {
    const char *name = t->format ? t->format->name : number_name(t->type_id);
    if (!name) name = quant_foreign_name(t->type_id);
    if (name) {
        snprintf(out, 24, "%s", name);
    } else {
        snprintf(out, 24, "type %u", t->type_id);
    }
}

facet_status facet_gguf_get_tensor(const facet_gguf *g, size_t i, facet_gguf_tensor *out) {
    if (i >= gguf_n_tensors(g->file) || out->size != sizeof *out) return FACET_ERROR_ARGUMENT;
    const gguf_tensor *t = gguf_tensor_at(g->file, i);
    *out = (facet_gguf_tensor){.size = sizeof *out,
                               .name = t->name.data,
                               .name_bytes = t->name.n,
                               .n_dims = t->n_dims,
                               .n_weights = 1,
                               .n_bytes = t->n_bytes,
                               .offset = t->offset,
                               .part = t->part,
                               .readable = t->data && t->n_bytes};
    for (int k = 0; k < 4; k++) {
        out->ne[k] = t->ne[k];
        out->n_weights *= t->ne[k];
    }
    name_type(t, out->type);
    return FACET_OK;
}

/* ---- as floats */

static float number_at(const uint8_t *data, uint32_t type_id) {
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    double f64;
    switch (type_id) {
    case GGUF_TENSOR_I8: memcpy(&i8, data, sizeof i8); return i8;
    case GGUF_TENSOR_I16: memcpy(&i16, data, sizeof i16); return i16;
    case GGUF_TENSOR_I32: memcpy(&i32, data, sizeof i32); return (float)i32;
    case GGUF_TENSOR_I64: memcpy(&i64, data, sizeof i64); return (float)i64;
    default: memcpy(&f64, data, sizeof f64); return (float)f64;
    }
}

enum { PIECE = 4096 }; /* a multiple of every format's block */

static void read_piece(const gguf_tensor *t, uint64_t at, size_t n, uint64_t n_weights, float *out) {
    if (t->format) {
        t->format->dequantise(t->data + at / t->format->block * t->format->block_bytes, out, n / t->format->block);
        return;
    }
    uint64_t size = t->n_bytes / n_weights;
    for (size_t i = 0; i < n; i++) out[i] = number_at(t->data + (at + i) * size, t->type_id);
}

facet_status facet_gguf_read_floats(const facet_gguf *g, size_t i, facet_floats_fn on_floats, void *ctx,
                                    facet_error *error) {
    facet_gguf_tensor info = {.size = sizeof info};
    float piece[PIECE];
    if (facet_gguf_get_tensor(g, i, &info) != FACET_OK) {
        return error_set(error, FACET_ERROR_ARGUMENT, "there is no tensor %zu", i);
    }
    const gguf_tensor *t = gguf_tensor_at(g->file, i);
    int n_name = (int)info.name_bytes;
    if (!info.n_bytes) {
        return error_set(error, FACET_ERROR_UNSUPPORTED, "tensor '%.*s' is %s, which facet cannot read", n_name,
                         info.name, info.type);
    }
    if (!t->data) {
        return error_at(error, FACET_ERROR_TRUNCATED, t->offset, "the file ends before the data of tensor '%.*s'",
                        n_name, info.name);
    }
    for (uint64_t at = 0; at < info.n_weights; at += PIECE) {
        size_t n = info.n_weights - at < PIECE ? (size_t)(info.n_weights - at) : PIECE;
        read_piece(t, at, n, info.n_weights, piece);
        if (!on_floats(ctx, piece, n)) return error_set(error, FACET_ERROR_CANCELLED, "stopped");
    }
    return FACET_OK;
}
