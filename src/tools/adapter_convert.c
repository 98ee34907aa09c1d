/* A PEFT directory to a GGUF adapter. See facet_tools.h. Owns: how the halves of a pair are turned, and the one alpha
 * of the new file: a pair whose strength differs has the difference in its B. The layout is that of llama.cpp's
 * convert_lora_to_gguf: NAME.lora_a [rank, in], NAME.lora_b [out, rank], of embeddings lora_a [n_vocab, rank]; with
 * experts all of them stacked. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert_parts.h"
#include "gguf_view.h"
#include "model/weights.h"
#include "peft.h"

enum { MAX_RANK = 1024 }; /* that facet opens */

/* Where the element (expert, row, column) of a new tensor lies in the old one. */
typedef struct turned {
    const safetensor *from;
    uint64_t per_expert, per_row, per_column; /* elements */
    float factor;
    char name[PEFT_MAX_NAME + 8];
} turned;

typedef struct adapter_work {
    peft_adapter peft;
    facet_gguf *base; /* NULL: none was named */
    hparams h;
    weights w;
    const quant_format *type; /* NULL: those of the file */
    double alpha;             /* of the new file */
    gguf_writer *writer;
    flow_tensor *tensors; /* two for each pair */
    turned *sources;
    size_t n;
} adapter_work;

/* ---- elements */

static void read_turned(const flow_tensor *t, uint64_t first, size_t n, float *out) {
    const turned *s = t->source;
    uint64_t columns = t->ne[0], rows = t->ne[1];
    size_t size = t->from->block_bytes;
    for (size_t i = 0; i < n;) {
        uint64_t at = first + i, column = at % columns, row = at / columns % rows, expert = at / columns / rows;
        const uint8_t *from =
            s->from->data + size * (expert * s->per_expert + row * s->per_row + column * s->per_column);
        size_t run = s->per_column != 1 ? 1 : n - i < columns - column ? n - i : (size_t)(columns - column);
        t->from->dequantise(from, out + i, run);
        for (size_t k = 0; k < run; k++) out[i + k] *= s->factor;
        i += run;
    }
}

/* ---- tensors */

static const quant_format *type_of(const adapter_work *v, const turned *s, uint64_t columns) {
    const quant_format *keep = quant_format_of(s->factor == 1.0f ? s->from->format->type : QUANT_F32);
    if (!v->type) return keep;
    return columns % v->type->block ? quant_format_of(QUANT_F16) : v->type;
}

/* `s` says where the elements lie; the shape is [experts][rows][columns], experts 0 for a plain matrix. */
static void add_half(adapter_work *v, const char *name, const char *end, turned s, uint64_t experts, uint64_t rows,
                     uint64_t columns) {
    turned *kept = &v->sources[v->n];
    flow_tensor *t = &v->tensors[v->n++];
    *kept = s;
    snprintf(kept->name, sizeof kept->name, "%s%s", name, end);
    *t = (flow_tensor){.name = {kept->name, strlen(kept->name)},
                       .n_dims = experts ? 3 : 2,
                       .ne = {columns, rows, experts ? experts : 1, 1},
                       .from = s.from->format,
                       .to = type_of(v, &s, columns),
                       .n_bytes = s.from->n_bytes,
                       .read = read_turned,
                       .source = kept};
}

/* The factor that is left for B, when the file's strength is v->alpha / rank. */
static float factor_of(const adapter_work *v, const peft_pair *pair, uint64_t rank) {
    double strength = v->peft.rank_stabilised ? pair->alpha * sqrt((double)rank) : pair->alpha;
    double factor = strength / v->alpha;
    return fabs(factor - 1) < 1e-9 ? 1.0f : (float)factor;
}

static void add_linear(adapter_work *v, const peft_pair *p) {
    const uint64_t *a = p->a->shape, *b = p->b->shape;
    turned ta = {.from = p->a, .per_row = a[1], .per_column = 1, .factor = 1};
    turned tb = {.from = p->b, .per_row = b[1], .per_column = 1, .factor = factor_of(v, p, p->rank)};
    add_half(v, p->name, ".lora_a", ta, 0, a[0], a[1]);
    add_half(v, p->name, ".lora_b", tb, 0, b[0], b[1]);
}

static void add_embedding(adapter_work *v, const peft_pair *p) {
    const uint64_t *a = p->a->shape, *b = p->b->shape;
    turned ta = {.from = p->a, .per_row = 1, .per_column = a[1], .factor = 1};
    turned tb = {.from = p->b, .per_row = b[1], .per_column = 1, .factor = factor_of(v, p, p->rank)};
    add_half(v, p->name, ".lora_a", ta, 0, a[1], a[0]);
    add_half(v, p->name, ".lora_b", tb, 0, b[0], b[1]);
}

static void add_stacked(adapter_work *v, const peft_pair *p) {
    const uint64_t *a = p->a->shape, *b = p->b->shape;
    turned ta = {.from = p->a, .per_expert = a[1] * a[2], .per_row = a[2], .per_column = 1, .factor = 1};
    turned tb = {.from = p->b, .per_expert = b[1] * b[2], .per_row = b[2], .per_column = 1};
    tb.factor = factor_of(v, p, p->rank);
    add_half(v, p->name, ".lora_a", ta, a[0], a[1], a[2]);
    add_half(v, p->name, ".lora_b", tb, b[0], b[1], b[2]);
}

/* PEFT's parameter of all experts: X [experts * rank, n], Y [m, rank * experts] with the expert running fastest.
 * Newer versions make X the A of matrices [m, n]; older ones take the parameter for matrices [n, m] that are
 * multiplied from the other side, so that X^T is B and Y^T is A. `swapped`: the older ones. */
static void add_experts(adapter_work *v, const peft_pair *p, uint64_t experts, bool swapped) {
    uint64_t n = p->a->shape[1], m = p->b->shape[0], rank = p->rank / experts;
    float factor = factor_of(v, p, rank);
    turned x = {.from = p->a, .per_expert = rank * n, .per_row = n, .per_column = 1, .factor = 1};
    turned y = {.from = p->b, .per_expert = 1, .per_row = rank * experts, .per_column = experts, .factor = factor};
    if (!swapped) {
        add_half(v, p->name, ".lora_a", x, experts, rank, n);
        add_half(v, p->name, ".lora_b", y, experts, m, rank);
        return;
    }
    turned a = {.from = p->b, .per_expert = 1, .per_row = experts, .per_column = rank * experts, .factor = 1};
    turned b = {.from = p->a, .per_expert = rank * n, .per_row = 1, .per_column = n, .factor = factor};
    add_half(v, p->name, ".lora_a", a, experts, rank, m);
    add_half(v, p->name, ".lora_b", b, experts, n, rank);
}

/* ---- against the model */

static facet_status wrong_shape(const peft_pair *p, facet_error *error) {
    return error_set(error, FACET_ERROR_FORMAT, "tensor '%.150s' has a shape that does not fit the model's '%s'",
                     p->a->name, p->name);
}

/* Which of the experts' two parameters has these sizes: [2 ff, n] or [n, ff]. */
static facet_status settle_experts(adapter_work *v, peft_pair *p, facet_error *error) {
    uint64_t x = p->a->shape[1], y = p->b->shape[0], n = v->h.n_embd, ff = v->h.n_ff_expert, experts = v->h.n_expert;
    if (!v->base) {
        return error_set(error, FACET_ERROR_ARGUMENT, "tensor '%.150s' is for experts: name the model with -m",
                         p->a->name);
    }
    if (!experts || p->rank % experts) {
        return error_set(error, FACET_ERROR_FORMAT, "tensor '%.150s' does not fit a model of %u experts", p->a->name,
                         v->h.n_expert);
    }
    bool up = (x == n && y == 2 * ff) || (x == 2 * ff && y == n), down = (x == ff && y == n) || (x == n && y == ff);
    if (!up && !down) return wrong_shape(p, error);
    uint64_t rows = up ? 2 * ff : n, columns = up ? n : ff;
    if (rows == columns) {
        return error_set(error, FACET_ERROR_UNSUPPORTED,
                         "tensor '%.150s': of square matrices PEFT does not say which side is which", p->a->name);
    }
    peft_settle(&v->peft, p, !up);
    add_experts(v, p, experts, x == rows);
    return FACET_OK;
}

static facet_status check_half(const adapter_work *v, const peft_pair *p, facet_error *error) {
    weight_place place;
    const flow_tensor *a = &v->tensors[v->n - 2], *b = &v->tensors[v->n - 1];
    bool rows = p->kind == PEFT_EMBEDDING;
    uint64_t rank = b->ne[0];
    if (rank > MAX_RANK) {
        return error_set(error, FACET_ERROR_UNSUPPORTED, "tensor '%.150s' has the rank %llu, the most is %d",
                         p->a->name, (unsigned long long)rank, MAX_RANK);
    }
    if (!v->base) return FACET_OK;
    if (!weights_find(&v->w, &v->h, p->name, strlen(p->name), &place)) {
        return error_set(error, FACET_ERROR_FORMAT, "tensor '%.150s' is for '%s', which the model lacks", p->a->name,
                         p->name);
    }
    uint64_t n_rows = rows ? a->ne[1] : b->ne[1], n_cols = rows ? b->ne[1] : a->ne[0];
    bool fits = n_rows == place.n_rows && n_cols == place.n_cols &&
                a->ne[2] == (place.n_experts ? place.n_experts : 1) && b->ne[2] == a->ne[2];
    return fits ? FACET_OK : wrong_shape(p, error);
}

static facet_status add_pair(adapter_work *v, peft_pair *p, facet_error *error) {
    switch (p->kind) {
    case PEFT_LINEAR: add_linear(v, p); break;
    case PEFT_EMBEDDING: add_embedding(v, p); break;
    case PEFT_STACKED: add_stacked(v, p); break;
    case PEFT_EXPERTS: FACET_TRY(settle_experts(v, p, error)); break;
    }
    return check_half(v, p, error);
}

/* ---- the file */

/* The alpha of most: that of the config, for rank stabilised ones times the root of the first pair's rank. */
static double choose_alpha(const adapter_work *v) {
    const peft_pair *p = &v->peft.pairs[0];
    uint64_t rank = p->rank;
    if (p->kind == PEFT_EXPERTS && v->h.n_expert) rank /= v->h.n_expert;
    return v->peft.rank_stabilised ? v->peft.alpha * sqrt((double)rank) : v->peft.alpha;
}

static facet_status add_keys(adapter_work *v, const char *name, facet_error *error) {
    const json_t *base = json_object_get(v->peft.config, "base_model_name_or_path");
    FACET_TRY(gguf_writer_new(&v->writer, 0, error));
    gguf_add_string(v->writer, "general.architecture", "gemma4", 6);
    gguf_add_string(v->writer, "general.type", "adapter", 7);
    gguf_add_string(v->writer, "general.name", name, strlen(name));
    if (json_is_string(base)) {
        gguf_add_u32(v->writer, "general.base_model.count", 1);
        gguf_add_string(v->writer, "general.base_model.0.name", json_string_value(base), json_string_length(base));
    }
    gguf_add_string(v->writer, "adapter.type", "lora", 4);
    gguf_add_f32(v->writer, "adapter.lora.alpha", (float)v->alpha);
    return FACET_OK;
}

static facet_status choose_type(adapter_work *v, const char *type, facet_error *error) {
    if (!type) return FACET_OK;
    v->type = quant_format_by_name(type);
    bool fine = v->type && (v->type->block == 1 || v->type->type == QUANT_Q8_0);
    if (fine) return FACET_OK;
    return error_set(error, FACET_ERROR_ARGUMENT, "an adapter has the types f32, f16, bf16 or q8_0, not '%.40s'",
                     type);
}

static facet_status open_base(adapter_work *v, const char *path, facet_error *error) {
    if (!path) return FACET_OK;
    FACET_TRY(facet_gguf_open(&v->base, path, false, error));
    facet_status status = hparams_read(&v->h, v->base->file, error);
    if (status == FACET_OK) status = weights_bind(&v->w, &v->h, v->base->file, error);
    if (status != FACET_OK) source_blame(path, error);
    return status;
}

static facet_status plan(adapter_work *v, const char *dir, const facet_adapter_convert_options *o,
                         facet_error *error) {
    char name[128];
    FACET_TRY(choose_type(v, o->type, error));
    FACET_TRY(open_base(v, o->base, error));
    FACET_TRY(peft_open(&v->peft, dir, error));
    v->tensors = calloc(2 * v->peft.n, sizeof *v->tensors);
    v->sources = calloc(2 * v->peft.n, sizeof *v->sources);
    if (!v->tensors || !v->sources) return error_memory(error, 2 * v->peft.n * sizeof *v->tensors);
    v->alpha = choose_alpha(v);
    for (size_t i = 0; i < v->peft.n; i++) FACET_TRY(add_pair(v, &v->peft.pairs[i], error));
    return add_keys(v, o->name ? o->name : convert_folder_name(dir, name), error);
}

void facet_adapter_convert_options_defaults(facet_adapter_convert_options *options) {
    *options = (facet_adapter_convert_options){.size = sizeof *options};
}

facet_status facet_adapter_convert(const char *dir, const char *out, const facet_adapter_convert_options *o,
                                   size_t *n_pairs, facet_error *error) {
    adapter_work v = {0};
    facet_status status = plan(&v, dir, o, error);
    if (status == FACET_OK) {
        flow_job job = {.tensors = v.tensors,
                        .n = v.n,
                        .sink = flow_gguf(v.writer),
                        .path = out,
                        .threads = o->threads,
                        .on_progress = o->on_progress,
                        .ctx = o->ctx};
        status = flow_run(&job, error);
    }
    if (n_pairs) *n_pairs = v.peft.n;
    gguf_writer_free(v.writer);
    free(v.tensors);
    free(v.sources);
    peft_close(&v.peft);
    weights_free(&v.w);
    hparams_free(&v.h);
    facet_gguf_free(v.base);
    return status;
}
