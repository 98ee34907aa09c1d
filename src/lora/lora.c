/* Reading adapters. See lora.h. Names: the model's tensor with ".lora_a" or ".lora_b" behind; on embeddings the pair
 * is stored the other way round, lora_a [n_vocab, rank], lora_b [width, rank]. */
#include "lora/lora.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"

enum { MAX_NAME = 128 };
static const char A_END[] = ".lora_a", B_END[] = ".lora_b";
enum { END_BYTES = sizeof A_END - 1 };

typedef struct reader {
    lora_adapter *out;
    const gguf_file *file;
    const weights *w;
    const hparams *h;
    facet_error *err;
} reader;

/* ---- key-values */

static facet_status want_string(const reader *r, const char *key, const char *expected, const char *what) {
    gguf_string value;
    FACET_TRY(gguf_get_string(r->file, key, &value, r->err));
    if (value.n == strlen(expected) && memcmp(value.data, expected, value.n) == 0) return FACET_OK;
    int n = value.n < 60 ? (int)value.n : 60;
    return error_set(r->err, FACET_ERROR_UNSUPPORTED, "%s '%.*s', expected '%s'", what, n, value.data, expected);
}

static void read_name(reader *r) {
    gguf_string name;
    lora_adapter *a = r->out;
    if (gguf_get_string(r->file, "general.name", &name, NULL) != FACET_OK) return;
    size_t n = utf8_complete(name.data, name.n < sizeof a->name ? name.n : sizeof a->name - 1);
    if (utf8_invalid(name.data, n) == n) memcpy(a->name, name.data, n);
}

static facet_status read_keys(reader *r) {
    FACET_TRY(want_string(r, "general.type", "adapter", "the file is of the type"));
    FACET_TRY(want_string(r, "general.architecture", "gemma4", "the adapter is for the architecture"));
    FACET_TRY(want_string(r, "adapter.type", "lora", "the adapter is of the type"));
    if (gguf_find(r->file, "adapter.alora.invocation_tokens")) {
        return error_set(r->err, FACET_ERROR_UNSUPPORTED,
                         "the adapter is an aLoRA (it has adapter.alora.invocation_tokens), which facet cannot use");
    }
    FACET_TRY(gguf_get_f32(r->file, "adapter.lora.alpha", &r->out->alpha, r->err));
    if (!isfinite(r->out->alpha)) {
        return error_set(r->err, FACET_ERROR_FORMAT, "adapter.lora.alpha is not a finite number");
    }
    read_name(r);
    return FACET_OK;
}

/* ---- one tensor */

static facet_status wrong_shape(const reader *r, const gguf_tensor *t, const uint64_t want[3]) {
    char found[72], expected[72];
    weights_shape_text(t->ne, found);
    weights_shape_text(want, expected);
    return error_at(r->err, FACET_ERROR_FORMAT, t->offset, "tensor '%.*s' has the shape %s, expected %s",
                    (int)t->name.n, t->name.data, found, expected);
}

static facet_status check_shape(const reader *r, const gguf_tensor *t, uint64_t n0, uint64_t n1, uint32_t n_experts) {
    uint64_t want[3] = {n0, n1, n_experts ? n_experts : 1};
    if (!t->format) {
        const char *name = quant_foreign_name(t->type_id);
        return error_at(r->err, FACET_ERROR_UNSUPPORTED, t->offset,
                        "tensor '%.*s' has the type %s (%u), which facet cannot read", (int)t->name.n, t->name.data,
                        name ? name : "unknown", t->type_id);
    }
    bool same = t->ne[0] == want[0] && t->ne[1] == want[1] && t->ne[2] == want[2] && t->ne[3] == 1;
    return same ? FACET_OK : wrong_shape(r, t, want);
}

static facet_status check_rank(const reader *r, const gguf_tensor *t, uint64_t rank) {
    if (rank <= LORA_MAX_RANK) return FACET_OK;
    return error_at(r->err, FACET_ERROR_UNSUPPORTED, t->offset, "tensor '%.*s' has the rank %llu, the most is %d",
                    (int)t->name.n, t->name.data, (unsigned long long)rank, LORA_MAX_RANK);
}

/* Floats that the adapter owns. */
static facet_status own_floats(reader *r, size_t n, float **out) {
    lora_adapter *a = r->out;
    size_t bytes;
    if (!checked_mul(n, sizeof **out, &bytes)) return error_memory(r->err, SIZE_MAX);
    void **owned = realloc(a->owned, (a->n_owned + 1) * sizeof *owned);
    if (!owned) return error_memory(r->err, (a->n_owned + 1) * sizeof *owned);
    a->owned = owned;
    *out = malloc(bytes);
    if (!*out) return error_memory(r->err, bytes);
    owned[a->n_owned++] = *out;
    return FACET_OK;
}

static matrix float_matrix(const float *data, size_t n_rows, size_t n_cols) {
    return (matrix){.data = (const uint8_t *)data,
                    .format = quant_format_of(QUANT_F32),
                    .n_rows = n_rows,
                    .n_cols = n_cols,
                    .row_bytes = n_cols * sizeof *data};
}

/* A tensor as a matrix (one expert's n_rows, all experts' data): in place where it is of a float format. */
static facet_status bind(reader *r, const gguf_tensor *t, matrix *out) {
    size_t n_cols = (size_t)t->ne[0], n_rows = (size_t)t->ne[1];
    bool is_float = t->format->type == QUANT_F32 || t->format->type == QUANT_F16 || t->format->type == QUANT_BF16;
    if (is_float) {
        *out = (matrix){.data = t->data,
                        .format = t->format,
                        .n_rows = n_rows,
                        .n_cols = n_cols,
                        .row_bytes = n_cols * t->format->block_bytes};
        return FACET_OK;
    }
    float *data;
    size_t n = n_cols * n_rows * (size_t)t->ne[2]; /* bounded by the tensor's bytes */
    FACET_TRY(own_floats(r, n, &data));
    t->format->dequantise(t->data, data, n / t->format->block);
    *out = float_matrix(data, n_rows, n_cols);
    return FACET_OK;
}

/* ---- pairs */

static void note_rank(reader *r, size_t rank) {
    if (rank > r->out->rank) r->out->rank = (uint32_t)rank;
}

static facet_status read_pair(reader *r, const gguf_tensor *a, const gguf_tensor *b, const weight_place *place) {
    uint64_t rank = a->ne[1];
    FACET_TRY(check_shape(r, a, place->n_cols, rank, place->n_experts));
    FACET_TRY(check_shape(r, b, rank, place->n_rows, place->n_experts));
    FACET_TRY(check_rank(r, a, rank));
    if (!place->w) return FACET_OK; /* the model does not use this matrix either */
    lora_pair *pair = &r->out->pairs[place->w->index];
    note_rank(r, (size_t)rank);
    FACET_TRY(bind(r, a, &pair->a));
    return bind(r, b, &pair->b);
}

/* The change of a tied head: its A is the embedding's B turned, its B the embedding's A. */
static facet_status tie_head(reader *r, const lora_rows *embd, lora_pair *head) {
    size_t width = embd->columns.n_rows, rank = embd->columns.n_cols;
    float row[LORA_MAX_RANK], *turned;
    FACET_TRY(own_floats(r, width * rank, &turned));
    for (size_t i = 0; i < width; i++) {
        cpu_row(&embd->columns, i, row);
        for (size_t k = 0; k < rank; k++) turned[k * width + i] = row[k];
    }
    head->a = float_matrix(turned, rank, width);
    head->b = embd->rows;
    return FACET_OK;
}

static facet_status read_rows(reader *r, const gguf_tensor *a, const gguf_tensor *b, const weight_place *place,
                              lora_rows *out) {
    uint64_t rank = a->ne[0];
    FACET_TRY(check_shape(r, a, rank, place->n_rows, 0));
    FACET_TRY(check_shape(r, b, rank, place->n_cols, 0));
    FACET_TRY(check_rank(r, a, rank));
    note_rank(r, (size_t)rank);
    FACET_TRY(bind(r, a, &out->rows));
    FACET_TRY(bind(r, b, &out->columns));
    bool tied = place->w == &r->w->token_embd && r->w->output.index == place->w->index;
    return tied ? tie_head(r, out, &r->out->pairs[place->w->index]) : FACET_OK;
}

static bool ends_with(gguf_string s, const char *end) {
    return s.n > END_BYTES && memcmp(s.data + s.n - END_BYTES, end, END_BYTES) == 0;
}

/* The other half of a pair. */
static const gguf_tensor *other_half(const reader *r, const gguf_tensor *t, const char *end) {
    char name[MAX_NAME + END_BYTES];
    size_t stem = t->name.n - END_BYTES;
    memcpy(name, t->name.data, stem);
    memcpy(name + stem, end, END_BYTES + 1);
    return gguf_tensor_find(r->file, name);
}

static facet_status read_tensor(reader *r, const gguf_tensor *t) {
    bool is_a = ends_with(t->name, A_END), is_b = ends_with(t->name, B_END);
    size_t stem = t->name.n - END_BYTES;
    weight_place place;
    if (!is_a && !is_b) {
        return error_at(r->err, FACET_ERROR_UNSUPPORTED, t->offset,
                        "tensor '%.*s' is none of an adapter: it ends in neither .lora_a nor .lora_b", (int)t->name.n,
                        t->name.data);
    }
    if (stem >= MAX_NAME || !weights_find(r->w, r->h, t->name.data, stem, &place)) {
        return error_at(r->err, FACET_ERROR_FORMAT, t->offset, "tensor '%.*s' is for a matrix that the model lacks",
                        (int)t->name.n, t->name.data);
    }
    const gguf_tensor *other = other_half(r, t, is_a ? B_END : A_END);
    if (!other) {
        return error_at(r->err, FACET_ERROR_FORMAT, t->offset, "tensor '%.*s%s' is missing beside '%.*s'", (int)stem,
                        t->name.data, is_a ? B_END : A_END, (int)t->name.n, t->name.data);
    }
    r->out->n_bytes += t->n_bytes;
    if (is_b) return FACET_OK;
    if (place.w == &r->w->token_embd) return read_rows(r, t, other, &place, &r->out->token_embd);
    if (place.w == &r->w->per_layer_token_embd) return read_rows(r, t, other, &place, &r->out->per_layer_token_embd);
    return read_pair(r, t, other, &place);
}

static facet_status read_all(reader *r) {
    FACET_TRY(read_keys(r));
    lora_adapter *a = r->out;
    a->n_matrices = r->w->n_matrices;
    a->n_tensors = gguf_n_tensors(r->file);
    if (a->n_tensors == 0) return error_set(r->err, FACET_ERROR_FORMAT, "the adapter has no tensors");
    a->pairs = calloc(a->n_matrices, sizeof *a->pairs);
    if (!a->pairs) return error_memory(r->err, a->n_matrices * sizeof *a->pairs);
    for (size_t i = 0; i < a->n_tensors; i++) FACET_TRY(read_tensor(r, gguf_tensor_at(r->file, i)));
    return FACET_OK;
}

facet_status lora_read(lora_adapter *out, const gguf_file *file, const weights *w, const hparams *h,
                       facet_error *err) {
    *out = (lora_adapter){0};
    reader r = {.out = out, .file = file, .w = w, .h = h, .err = err};
    facet_status status = read_all(&r);
    if (status != FACET_OK) lora_free(out);
    return status;
}

void lora_free(lora_adapter *a) {
    for (size_t i = 0; i < a->n_owned; i++) free(a->owned[i]);
    free(a->owned);
    free(a->pairs);
    *a = (lora_adapter){0};
}

/* ---- sets */

size_t lora_set_rank(const lora_use *uses, size_t n) {
    size_t most = 0;
    for (uint32_t m = 0; n && m < uses[0].adapter->n_matrices; m++) {
        size_t rank = 0;
        for (size_t i = 0; i < n; i++) rank += uses[i].adapter->pairs[m].a.n_rows;
        if (rank > most) most = rank;
    }
    return most;
}
