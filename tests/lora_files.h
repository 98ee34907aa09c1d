/* Adapter files and changed model files made in memory, for the tests of adapters: random pairs for a model's
 * matrices, and the model with such pairs merged into its weights by the definition W + s B A, in double. */
#ifndef FACET_TESTS_LORA_FILES_H
#define FACET_TESTS_LORA_FILES_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "engine/model.h"
#include "gguf/writer.h"
#include "support.h"

enum { LORA_MAX_TENSORS = 600 };

typedef struct lora_tensor {
    char name[112];
    quant_type type;
    uint64_t ne[3];
    uint8_t *data;
    size_t n_bytes, n;
    float *values; /* what the data says */
} lora_tensor;

typedef struct lora_file {
    lora_tensor tensors[LORA_MAX_TENSORS];
    size_t n;
    float alpha;
} lora_file;

static inline uint64_t lora_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}
static inline float lora_uniform(uint64_t *state) { return (float)(lora_random(state) >> 40) * 0x1p-23f - 1.0f; }

/* A tensor of random numbers up to `size`, stored as `type`. */
static inline lora_tensor *lora_file_add(lora_file *f, const char *name, quant_type type, uint64_t n0, uint64_t n1,
                                         uint64_t n2, float size, uint64_t *state) {
    assert_true(f->n < LORA_MAX_TENSORS);
    const quant_format *q = quant_format_of(type);
    lora_tensor *t = &f->tensors[f->n++];
    *t = (lora_tensor){.type = type, .ne = {n0, n1, n2}, .n = (size_t)(n0 * n1 * n2)};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->n_bytes = t->n / q->block * q->block_bytes;
    t->values = malloc(t->n * sizeof *t->values);
    t->data = malloc(t->n_bytes);
    for (size_t i = 0; i < t->n; i++) t->values[i] = size * lora_uniform(state);
    q->quantise(t->values, t->data, t->n / q->block);
    q->dequantise(t->data, t->values, t->n / q->block);
    return t;
}

static inline void lora_file_free(lora_file *f) {
    for (size_t i = 0; i < f->n; i++) {
        free(f->tensors[i].data);
        free(f->tensors[i].values);
    }
    free(f);
}

static inline const lora_tensor *lora_file_find(const lora_file *f, const char *stem, size_t n, const char *end) {
    char name[160];
    snprintf(name, sizeof name, "%.*s%s", (int)n, stem, end);
    for (size_t i = 0; f && i < f->n; i++) {
        if (!strcmp(f->tensors[i].name, name)) return &f->tensors[i];
    }
    return NULL;
}

/* ---- images */

static inline facet_status lora_to_buffer(void *ctx, const void *data, size_t n, facet_error *error) {
    return buffer_append(ctx, data, n) ? FACET_OK : error_memory(error, n);
}

static inline void lora_add_tensor(gguf_writer *w, const char *name, size_t n, quant_type type, const uint64_t *ne,
                                   size_t n_bytes) {
    gguf_add_tensor(w, (gguf_string){name, n}, quant_format_of(type)->file_id, ne[2] > 1 ? 3 : 2, ne, n_bytes);
}

/* The bytes of the adapter. */
static inline buffer lora_file_image(const lora_file *f) {
    gguf_writer *w;
    facet_error error;
    buffer b = {0};
    assert_ok(gguf_writer_new(&w, 0, &error), &error);
    gguf_add_string(w, "general.type", "adapter", 7);
    gguf_add_string(w, "general.architecture", "gemma4", 6);
    gguf_add_string(w, "general.name", "random", 6);
    gguf_add_string(w, "adapter.type", "lora", 4);
    gguf_add_f32(w, "adapter.lora.alpha", f->alpha);
    for (size_t i = 0; i < f->n; i++) {
        const lora_tensor *t = &f->tensors[i];
        lora_add_tensor(w, t->name, strlen(t->name), t->type, t->ne, t->n_bytes);
    }
    assert_ok(gguf_writer_begin(w, lora_to_buffer, &b, &error), &error);
    for (size_t i = 0; i < f->n; i++)
        assert_ok(gguf_writer_data(w, f->tensors[i].data, f->tensors[i].n_bytes, &error), &error);
    assert_ok(gguf_writer_end(w, &error), &error);
    gguf_writer_free(w);
    return b;
}

static inline void lora_release(void *ctx, const void *data, size_t n) {
    (void)ctx, (void)n;
    free((void *)(uintptr_t)data);
}

static inline facet_adapter *lora_file_open(const lora_file *f, facet_model *model) {
    facet_adapter *a;
    facet_error error;
    buffer b = lora_file_image(f);
    assert_ok(facet_adapter_open_memory(&a, model, b.data, b.n, lora_release, NULL, &error), &error);
    return a;
}

/* ---- random adapters of a model */

/* Whether a file's tensor is a matrix that adapters may change and this model uses. */
static inline bool lora_is_target(const facet_model *m, const gguf_tensor *t) {
    weight_place place;
    return weights_find(&m->weights, &m->hparams, t->name.data, t->name.n, &place) && place.w;
}

static inline bool lora_is_flipped(gguf_string name) {
    return (name.n == 17 && !memcmp(name.data, "token_embd.weight", 17)) ||
           (name.n == 27 && !memcmp(name.data, "per_layer_token_embd.weight", 27));
}

static inline float lora_rms(const gguf_tensor *t) {
    const float *w = (const void *)t->data;
    size_t n = (size_t)(t->n_bytes / sizeof *w);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)w[i] * (double)w[i];
    return (float)sqrt(sum / (double)n);
}

/* Adds a pair for matrix t whose change is about a third of the matrix. */
static inline void lora_add_pair(lora_file *f, const gguf_tensor *t, uint64_t rank, bool any_type, uint64_t *state) {
    static const quant_type types[] = {QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_Q8_0};
    quant_type a_type = any_type ? types[lora_random(state) % 4] : QUANT_F32;
    quant_type b_type = any_type ? types[lora_random(state) % 3] : QUANT_F32;
    bool flipped = lora_is_flipped(t->name);
    char name[112];
    if ((flipped ? rank : t->ne[0]) % 32 && a_type == QUANT_Q8_0) a_type = QUANT_F16;
    float size = lora_rms(t) * sqrtf((float)rank) / f->alpha;
    snprintf(name, sizeof name, "%.*s.lora_a", (int)t->name.n, t->name.data);
    if (flipped)
        lora_file_add(f, name, a_type, rank, t->ne[1], 1, 1.0f, state);
    else
        lora_file_add(f, name, a_type, t->ne[0], rank, t->ne[2], 1.0f, state);
    snprintf(name, sizeof name, "%.*s.lora_b", (int)t->name.n, t->name.data);
    lora_file_add(f, name, b_type, rank, flipped ? t->ne[0] : t->ne[1], flipped ? 1 : t->ne[2], size, state);
}

/* Pairs for all matrices whose name holds `part`; rank 0: another one for each. */
static inline lora_file *lora_file_new(const facet_model *m, const char *part, uint64_t rank, bool any_type,
                                       uint64_t seed) {
    lora_file *f = calloc(1, sizeof *f);
    f->alpha = 6.0f;
    for (size_t i = 0; i < gguf_n_tensors(m->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->file, i);
        char name[112];
        snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.data);
        if (!strstr(name, part) || !lora_is_target(m, t)) continue;
        lora_add_pair(f, t, rank ? rank : 1 + lora_random(&seed) % 20, any_type, &seed);
    }
    return f;
}

/* ---- models */

/* w += s B A, one matrix of `n_rows` rows */
static inline void lora_merge(float *w, size_t n_rows, size_t n_cols, const float *a, const float *b, size_t rank,
                              double s) {
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t c = 0; c < n_cols; c++) {
            double sum = 0;
            for (size_t k = 0; k < rank; k++) sum += (double)b[r * rank + k] * (double)a[k * n_cols + c];
            w[r * n_cols + c] = (float)((double)w[r * n_cols + c] + s * sum);
        }
    }
}

static inline void lora_merge_flipped(float *w, size_t n_rows, size_t n_cols, const float *a, const float *b,
                                      size_t rank, double s) {
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t c = 0; c < n_cols; c++) {
            double sum = 0;
            for (size_t k = 0; k < rank; k++) sum += (double)a[r * rank + k] * (double)b[c * rank + k];
            w[r * n_cols + c] = (float)((double)w[r * n_cols + c] + s * sum);
        }
    }
}

/* Merges the adapter's pair for t, if it has one, into w, the tensor's numbers. */
static inline void lora_merge_tensor(const lora_file *f, const gguf_tensor *t, double scale, float *w) {
    const lora_tensor *a = lora_file_find(f, t->name.data, t->name.n, ".lora_a");
    const lora_tensor *b = lora_file_find(f, t->name.data, t->name.n, ".lora_b");
    if (!a || !b) return;
    size_t n_cols = (size_t)t->ne[0], n_rows = (size_t)t->ne[1], rank = (size_t)b->ne[0];
    double s = scale * (double)f->alpha / (double)rank;
    for (size_t e = 0; e < t->ne[2]; e++) {
        const float *ae = a->values + e * rank * n_cols, *be = b->values + e * rank * n_rows;
        if (lora_is_flipped(t->name))
            lora_merge_flipped(w, n_rows, n_cols, a->values, b->values, rank, s);
        else
            lora_merge(w + e * n_rows * n_cols, n_rows, n_cols, ae, be, rank, s);
    }
}

/* A model file under construction: all headers first, then all data. */
typedef struct lora_model {
    gguf_writer *w;
    buffer image;
    bool data; /* the second time */
} lora_model;

static inline void lora_put(lora_model *out, const char *name, size_t n, const uint64_t ne[3], const float *data) {
    facet_error error;
    size_t n_bytes = (size_t)(ne[0] * ne[1] * ne[2]) * sizeof *data;
    uint32_t n_dims = ne[2] > 1 ? 3 : ne[1] > 1 ? 2 : 1;
    if (out->data)
        assert_ok(gguf_writer_data(out->w, data, n_bytes, &error), &error);
    else
        gguf_add_tensor(out->w, (gguf_string){name, n}, 0, n_dims, ne, n_bytes);
}

/* One half of every expert's rows. */
static inline void lora_put_half(lora_model *out, const gguf_tensor *t, const char *end, size_t half,
                                 const float *values) {
    char name[112];
    size_t n = (size_t)(t->ne[1] / 2 * t->ne[0]), stem = t->name.n - strlen("gate_up_exps.weight");
    float *part = malloc(n * t->ne[2] * sizeof *part);
    for (size_t e = 0; e < t->ne[2]; e++) memcpy(part + e * n, values + (2 * e + half) * n, n * sizeof *part);
    snprintf(name, sizeof name, "%.*s%s", (int)stem, t->name.data, end);
    lora_put(out, name, strlen(name), (uint64_t[]){t->ne[0], t->ne[1] / 2, t->ne[2]}, part);
    free(part);
}

static inline void lora_put_tensor(lora_model *out, const gguf_tensor *t, bool apart, const float *values) {
    bool experts = t->name.n > 19 && !memcmp(t->name.data + t->name.n - 19, "gate_up_exps.weight", 19);
    if (apart && experts) {
        lora_put_half(out, t, "gate_exps.weight", 0, values);
        lora_put_half(out, t, "up_exps.weight", 1, values);
    } else
        lora_put(out, t->name.data, t->name.n, t->ne, values);
    if (apart && t->name.n == 17 && lora_is_flipped(t->name)) lora_put(out, "output.weight", 13, t->ne, values);
}

/* A copy of an F32 model with adapters merged into it, opened. `apart`: in the other of two forms, with tensors of
 * their own for the experts' gate and up, and for the head. */
static inline facet_model *lora_merged_model(const facet_model *m, bool apart, const lora_file *const *files,
                                             const double *scales, size_t n_files) {
    facet_error error;
    lora_model out = {0};
    assert_ok(gguf_writer_new(&out.w, 0, &error), &error);
    for (size_t i = 0; i < gguf_n_kv(m->file); i++) gguf_add_copy(out.w, gguf_kv_at(m->file, i));
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < gguf_n_tensors(m->file); i++) {
            const gguf_tensor *t = gguf_tensor_at(m->file, i);
            assert_int_equal(t->format->type, QUANT_F32);
            float *values = malloc(t->n_bytes);
            memcpy(values, t->data, t->n_bytes);
            for (size_t k = 0; out.data && k < n_files; k++) lora_merge_tensor(files[k], t, scales[k], values);
            lora_put_tensor(&out, t, apart, values);
            free(values);
        }
        if (turn == 0) assert_ok(gguf_writer_begin(out.w, lora_to_buffer, &out.image, &error), &error);
        out.data = true;
    }
    assert_ok(gguf_writer_end(out.w, &error), &error);
    gguf_writer_free(out.w);
    void *image = aligned_alloc(32, (out.image.n + 31) / 32 * 32);
    facet_model *merged;
    memcpy(image, out.image.data, out.image.n);
    assert_ok(facet_model_open_memory(&merged, image, out.image.n, lora_release, NULL, NULL, &error), &error);
    buffer_free(&out.image);
    return merged;
}

#endif
