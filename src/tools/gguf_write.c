/* Writing files for the programs: thin doors to os/output and gguf/writer. See facet_tools.h. */
#include <stdlib.h>

#include "gguf/writer.h"
#include "gguf_view.h"
#include "os/output.h"

struct facet_output {
    os_output *file;
};

struct facet_gguf_writer {
    gguf_writer *writer;
};

facet_status facet_output_open(facet_output **out, const char *path, facet_error *error) {
    *out = NULL;
    facet_output *o = malloc(sizeof *o);
    if (!o) return error_memory(error, sizeof *o);
    facet_status status = os_output_open(&o->file, path, error);
    if (status != FACET_OK) {
        free(o);
        return status;
    }
    *out = o;
    return FACET_OK;
}

facet_status facet_output_write(facet_output *o, const void *data, size_t n_bytes, facet_error *error) {
    return os_output_write(o->file, data, n_bytes, error);
}

facet_status facet_output_commit(facet_output *o, facet_error *error) {
    facet_status status = os_output_commit(o->file, error);
    free(o);
    return status;
}

void facet_output_discard(facet_output *o) {
    if (!o) return;
    os_output_discard(o->file);
    free(o);
}

facet_status facet_gguf_writer_new(facet_gguf_writer **out, facet_error *error) {
    *out = NULL;
    facet_gguf_writer *w = malloc(sizeof *w);
    if (!w) return error_memory(error, sizeof *w);
    facet_status status = gguf_writer_new(&w->writer, 0, error);
    if (status != FACET_OK) {
        free(w);
        return status;
    }
    *out = w;
    return FACET_OK;
}

void facet_gguf_add_u32(facet_gguf_writer *w, const char *key, uint32_t value) {
    gguf_add_u32(w->writer, key, value);
}
void facet_gguf_add_f32(facet_gguf_writer *w, const char *key, float value) { gguf_add_f32(w->writer, key, value); }
void facet_gguf_add_bool(facet_gguf_writer *w, const char *key, bool value) { gguf_add_bool(w->writer, key, value); }
void facet_gguf_add_string(facet_gguf_writer *w, const char *key, const char *text, size_t n_bytes) {
    gguf_add_string(w->writer, key, text, n_bytes);
}
void facet_gguf_add_i32_array(facet_gguf_writer *w, const char *key, const int32_t *values, size_t n) {
    gguf_add_array(w->writer, key, GGUF_I32, values, n);
}
void facet_gguf_add_f32_array(facet_gguf_writer *w, const char *key, const float *values, size_t n) {
    gguf_add_array(w->writer, key, GGUF_F32, values, n);
}
void facet_gguf_add_strings(facet_gguf_writer *w, const char *key, size_t n) { gguf_add_strings(w->writer, key, n); }
void facet_gguf_add_item(facet_gguf_writer *w, const char *text, size_t n_bytes) {
    gguf_add_item(w->writer, text, n_bytes);
}
void facet_gguf_add_copy(facet_gguf_writer *w, const facet_gguf *from, size_t i) {
    gguf_add_copy(w->writer, gguf_kv_at(from->file, i));
}

static facet_status write_piece(void *ctx, const void *data, size_t n_bytes, facet_error *error) {
    return os_output_write(ctx, data, n_bytes, error);
}

facet_status facet_gguf_writer_finish(facet_gguf_writer *w, const char *path, facet_error *error) {
    os_output *file = NULL;
    facet_status status = os_output_open(&file, path, error);
    if (status == FACET_OK) status = gguf_writer_begin(w->writer, write_piece, file, error);
    if (status == FACET_OK) {
        status = os_output_commit(file, error);
    } else {
        os_output_discard(file);
    }
    facet_gguf_writer_free(w);
    return status;
}

void facet_gguf_writer_free(facet_gguf_writer *w) {
    if (!w) return;
    gguf_writer_free(w->writer);
    free(w);
}
