/* A model's tensors. See weights.h. One table says which tensors a layer has, of what shape, and when; binding and
 * the search for unknown tensors both read it. */
#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An axis by meaning; axis_size turns it into a number. */
typedef enum axis { ONE, EMBD, VOCAB, Q, KV, HEAD, FF, PLE, PLE_ALL, EXPERT, FFE, FFE2, ROPE_FULL } axis;
typedef enum kind { VECTOR, MATRIX, EXPERTS } kind;
/* When a tensor must be there. */
typedef enum need { ALWAYS, OPTIONAL, IF_OWNS, MAY_OWN, IF_PLE, IF_MOE, MAY_MOE } need;

typedef struct binding {
    const char *name; /* without "blk.N." */
    size_t offset;    /* of the field in its struct */
    kind kind;
    need need;
    axis rows, cols; /* VECTOR: rows only */
} binding;

#define AT(field) offsetof(layer_weights, field)
static const binding layer_bindings[] = {
    {"attn_norm.weight", AT(attn_norm), VECTOR, ALWAYS, EMBD, ONE},
    {"attn_q.weight", AT(attn_q), MATRIX, ALWAYS, Q, EMBD},
    {"attn_k.weight", AT(attn_k), MATRIX, IF_OWNS, KV, EMBD},
    {"attn_v.weight", AT(attn_v), MATRIX, MAY_OWN, KV, EMBD},
    {"attn_output.weight", AT(attn_output), MATRIX, ALWAYS, EMBD, Q},
    {"attn_q_norm.weight", AT(attn_q_norm), VECTOR, ALWAYS, HEAD, ONE},
    {"attn_k_norm.weight", AT(attn_k_norm), VECTOR, IF_OWNS, HEAD, ONE},
    {"post_attention_norm.weight", AT(post_attention_norm), VECTOR, ALWAYS, EMBD, ONE},
    {"ffn_norm.weight", AT(ffn_norm), VECTOR, ALWAYS, EMBD, ONE},
    {"ffn_gate.weight", AT(ffn_gate), MATRIX, ALWAYS, FF, EMBD},
    {"ffn_up.weight", AT(ffn_up), MATRIX, ALWAYS, FF, EMBD},
    {"ffn_down.weight", AT(ffn_down), MATRIX, ALWAYS, EMBD, FF},
    {"post_ffw_norm.weight", AT(post_ffw_norm), VECTOR, ALWAYS, EMBD, ONE},
    {"layer_output_scale.weight", AT(layer_output_scale), VECTOR, OPTIONAL, ONE, ONE},
    {"inp_gate.weight", AT(inp_gate), MATRIX, IF_PLE, PLE, EMBD},
    {"proj.weight", AT(proj), MATRIX, IF_PLE, EMBD, PLE},
    {"post_norm.weight", AT(post_norm), VECTOR, IF_PLE, EMBD, ONE},
    {"ffn_gate_inp.weight", AT(ffn_gate_inp), MATRIX, IF_MOE, EXPERT, EMBD},
    {"ffn_gate_inp.scale", AT(ffn_gate_inp_scale), VECTOR, IF_MOE, EMBD, ONE},
    {"ffn_gate_up_exps.weight", AT(ffn_gate_up_exps), EXPERTS, MAY_MOE, FFE2, EMBD},
    {"ffn_gate_exps.weight", AT(ffn_gate_exps), EXPERTS, MAY_MOE, FFE, EMBD},
    {"ffn_up_exps.weight", AT(ffn_up_exps), EXPERTS, MAY_MOE, FFE, EMBD},
    {"ffn_down_exps.weight", AT(ffn_down_exps), EXPERTS, IF_MOE, EMBD, FFE},
    {"ffn_down_exps.scale", AT(ffn_down_exps_scale), VECTOR, MAY_MOE, EXPERT, ONE},
    {"pre_ffw_norm_2.weight", AT(pre_ffw_norm_2), VECTOR, IF_MOE, EMBD, ONE},
    {"post_ffw_norm_1.weight", AT(post_ffw_norm_1), VECTOR, IF_MOE, EMBD, ONE},
    {"post_ffw_norm_2.weight", AT(post_ffw_norm_2), VECTOR, IF_MOE, EMBD, ONE},
};
#undef AT
#define AT(field) offsetof(weights, field)
static const binding model_bindings[] = {
    {"output.weight", AT(output), MATRIX, OPTIONAL, VOCAB, EMBD},
    {"output_norm.weight", AT(output_norm), VECTOR, ALWAYS, EMBD, ONE},
    {"rope_freqs.weight", AT(rope_freqs), VECTOR, OPTIONAL, ROPE_FULL, ONE},
    {"per_layer_token_embd.weight", AT(per_layer_token_embd), MATRIX, IF_PLE, VOCAB, PLE_ALL},
    {"per_layer_model_proj.weight", AT(per_layer_model_proj), MATRIX, IF_PLE, PLE_ALL, EMBD},
    {"per_layer_proj_norm.weight", AT(per_layer_proj_norm), VECTOR, IF_PLE, PLE, ONE},
};
#undef AT
enum {
    N_LAYER_BINDINGS = sizeof layer_bindings / sizeof layer_bindings[0],
    N_MODEL_BINDINGS = sizeof model_bindings / sizeof model_bindings[0]
};

typedef struct binder {
    weights *w;
    const hparams *h;
    const gguf_file *file;
    bool late; /* the data may still be to come */
    facet_error *err;
} binder;

static uint64_t rope_full_pairs(const hparams *h) {
    for (uint32_t i = 0; i < h->n_layer; i++) {
        if (!h->layers[i].sliding) return h->layers[i].head_dim / 2;
    }
    return 0;
}

static uint64_t axis_size(const hparams *h, const layer_hparams *l, axis a) {
    switch (a) {
    case ONE: return 1;
    case EMBD: return h->n_embd;
    case VOCAB: return h->n_vocab;
    case Q: return (uint64_t)l->n_head * l->head_dim;
    case KV: return (uint64_t)l->n_head_kv * l->head_dim;
    case HEAD: return l->head_dim;
    case FF: return l->n_ff;
    case PLE: return h->n_ple;
    case PLE_ALL: return (uint64_t)h->n_ple * h->n_layer;
    case EXPERT: return h->n_expert;
    case FFE: return h->n_ff_expert;
    case FFE2: return 2 * (uint64_t)h->n_ff_expert;
    case ROPE_FULL: return rope_full_pairs(h);
    }
    return 0;
}

static bool is_wanted(const hparams *h, const layer_hparams *l, need n) {
    switch (n) {
    case ALWAYS:
    case OPTIONAL: return true;
    case IF_OWNS:
    case MAY_OWN: return l->owns_kv;
    case IF_PLE: return h->n_ple > 0;
    case IF_MOE:
    case MAY_MOE: return h->n_expert > 0;
    }
    return false;
}

static bool is_required(need n) { return n == ALWAYS || n == IF_OWNS || n == IF_PLE || n == IF_MOE; }

void weights_shape_text(const uint64_t ne[3], char out[72]) {
    size_t at = 0;
    for (int i = 2; i >= 0; i--) {
        if (ne[i] == 1 && i > 0 && at == 0) continue;
        at += (size_t)snprintf(out + at, 72 - at, "%s%llu", at ? ", " : "[", (unsigned long long)ne[i]);
    }
    snprintf(out + at, 72 - at, "]");
}

static facet_status wrong_shape(const binder *b, const gguf_tensor *t, const uint64_t want[3]) {
    char found[72], expected[72];
    weights_shape_text(t->ne, found);
    weights_shape_text(want, expected);
    return error_at(b->err, FACET_ERROR_FORMAT, t->offset, "tensor '%.*s' has the shape %s, expected %s",
                    (int)t->name.n, t->name.data, found, expected);
}

static facet_status check_tensor(const binder *b, const gguf_tensor *t, uint64_t n0, uint64_t n1, uint64_t n2) {
    if (!t->format) {
        const char *name = quant_foreign_name(t->type_id);
        return error_at(b->err, FACET_ERROR_UNSUPPORTED, t->offset,
                        "tensor '%.*s' has the type %s (%u), which facet cannot read", (int)t->name.n, t->name.data,
                        name ? name : "unknown", t->type_id);
    }
    uint64_t want[3] = {n0, n1, n2};
    bool same = t->ne[0] == n0 && t->ne[1] == n1 && t->ne[2] == n2 && t->ne[3] == 1;
    return same ? FACET_OK : wrong_shape(b, t, want);
}

static void convert_vector(const gguf_tensor *t, float *values) {
    t->format->dequantise(t->data, values, (size_t)t->ne[0] / t->format->block);
}

static facet_status defer_vector(binder *b, const gguf_tensor *t, float *values) {
    size_t bytes = (b->w->n_late + 1) * sizeof *b->w->late;
    late_vector *late = realloc(b->w->late, bytes);
    if (!late) return error_memory(b->err, bytes);
    b->w->late = late;
    late[b->w->n_late++] = (late_vector){t, values};
    return FACET_OK;
}

/* A vector as floats: in place where the file has aligned floats, else converted. */
static facet_status bind_vector(binder *b, const gguf_tensor *t, const float **out) {
    *out = NULL;
    if (!t->data) return FACET_OK;
    if (t->format->type == QUANT_F32 && (uintptr_t)t->data % _Alignof(float) == 0) {
        *out = (const float *)(const void *)t->data;
        return FACET_OK;
    }
    size_t n = (size_t)t->ne[0];
    void **owned = realloc(b->w->owned, (b->w->n_owned + 1) * sizeof *owned);
    if (!owned) return error_memory(b->err, (b->w->n_owned + 1) * sizeof *owned);
    b->w->owned = owned;
    float *values = malloc(n * sizeof *values);
    if (!values) return error_memory(b->err, n * sizeof *values);
    owned[b->w->n_owned++] = values;
    *out = values;
    if (b->late) return defer_vector(b, t, values);
    convert_vector(t, values);
    return FACET_OK;
}

/* The factor that some formats store beside a matrix "X.weight": "X.scale", one number or one per expert. */
static facet_status bind_scale(binder *b, const char *name, uint32_t n_experts, weight *w) {
    char scale_name[128];
    size_t stem = strlen(name) - strlen("weight");
    snprintf(scale_name, sizeof scale_name, "%.*sscale", (int)stem, name);
    const gguf_tensor *t = gguf_tensor_find(b->file, scale_name);
    if (!t || strstr(name, "ffn_gate_inp") || strstr(name, "ffn_down_exps"))
        return FACET_OK; /* these mean otherwise */
    FACET_TRY(check_tensor(b, t, n_experts ? n_experts : 1, 1, 1));
    return bind_vector(b, t, &w->scale);
}

static facet_status bind_matrix(binder *b, const char *name, const gguf_tensor *t, uint32_t n_experts, weight *w) {
    w->m = (matrix){.data = t->data,
                    .format = t->format,
                    .n_rows = (size_t)t->ne[1],
                    .n_cols = (size_t)t->ne[0],
                    .row_bytes = (size_t)quant_row_bytes(t->format, t->ne[0])};
    w->n_experts = n_experts;
    w->index = b->w->n_matrices++;
    return bind_scale(b, name, n_experts, w);
}

static facet_status bind_one(binder *b, const binding *e, const char *name, const layer_hparams *l, void *base) {
    if (!is_wanted(b->h, l, e->need)) return FACET_OK;
    const gguf_tensor *t = gguf_tensor_find(b->file, name);
    if (!t) {
        return is_required(e->need) ? error_set(b->err, FACET_ERROR_FORMAT, "tensor '%s' is missing", name)
                                    : FACET_OK;
    }
    uint64_t rows = axis_size(b->h, l, e->rows), cols = axis_size(b->h, l, e->cols);
    void *field = (char *)base + e->offset;
    if (e->kind == VECTOR) {
        FACET_TRY(check_tensor(b, t, rows, 1, 1));
        return bind_vector(b, t, field);
    }
    uint32_t n_experts = e->kind == EXPERTS ? b->h->n_expert : 0;
    FACET_TRY(check_tensor(b, t, cols, rows, n_experts ? n_experts : 1));
    return bind_matrix(b, name, t, n_experts, field);
}

static facet_status check_experts(const binder *b, uint32_t i, const layer_weights *l) {
    bool merged = l->ffn_gate_up_exps.m.format, separate = l->ffn_gate_exps.m.format && l->ffn_up_exps.m.format;
    if (b->h->n_expert == 0 || merged || separate) return FACET_OK;
    return error_set(b->err, FACET_ERROR_FORMAT, "tensor 'blk.%u.ffn_gate_up_exps.weight' is missing", i);
}

static facet_status bind_layer(binder *b, uint32_t i) {
    char name[96];
    for (int k = 0; k < N_LAYER_BINDINGS; k++) {
        snprintf(name, sizeof name, "blk.%u.%s", i, layer_bindings[k].name);
        FACET_TRY(bind_one(b, &layer_bindings[k], name, &b->h->layers[i], &b->w->layers[i]));
    }
    return check_experts(b, i, &b->w->layers[i]);
}

/* The embedding comes first: it tells the size of the vocabulary. */
static facet_status bind_embedding(binder *b, hparams *h) {
    const gguf_tensor *t = gguf_tensor_find(b->file, "token_embd.weight");
    if (!t) return error_set(b->err, FACET_ERROR_FORMAT, "tensor 'token_embd.weight' is missing");
    if (t->ne[1] < 1 || t->ne[1] > INT32_MAX) {
        return error_set(b->err, FACET_ERROR_FORMAT, "tensor 'token_embd.weight' has %llu rows",
                         (unsigned long long)t->ne[1]);
    }
    FACET_TRY(check_tensor(b, t, h->n_embd, t->ne[1], 1));
    h->n_vocab = (uint32_t)t->ne[1];
    return bind_matrix(b, "token_embd.weight", t, 0, &b->w->token_embd);
}

static bool name_is(const char *name, size_t n, const char *expected) {
    return strlen(expected) == n && memcmp(name, expected, n) == 0;
}

/* Whether a layer's tensor of that name is known: one of the table, or the scale of one of its matrices. */
static bool is_known(const char *name, size_t n) {
    for (int k = 0; k < N_LAYER_BINDINGS; k++) {
        const binding *e = &layer_bindings[k];
        if (name_is(name, n, e->name)) return true;
        size_t stem = strlen(e->name) - strlen("weight");
        if (e->kind == VECTOR || n <= stem || memcmp(name, e->name, stem) != 0) continue;
        if (name_is(name + stem, n - stem, "scale") || name_is(name + stem, n - stem, "input_scale")) return true;
    }
    return false;
}

/* "blk.7.attn_q.weight": the layer, and where the name within it begins; 0: no layer of this model. */
static size_t layer_of(const hparams *h, const char *name, size_t n, uint32_t *layer) {
    size_t i = 4;
    if (n < 4 || memcmp(name, "blk.", 4) != 0) return 0;
    *layer = 0;
    for (; i < n && i < 12 && name[i] >= '0' && name[i] <= '9'; i++) *layer = *layer * 10 + (uint32_t)(name[i] - '0');
    return i > 4 && i < n && name[i] == '.' && *layer < h->n_layer ? i + 1 : 0;
}

static facet_status refuse_unknown(const binder *b, const gguf_tensor *t) {
    const char *name = t->name.data;
    size_t n = t->name.n;
    if (n < 4 || memcmp(name, "blk.", 4) != 0) return FACET_OK;
    uint32_t layer;
    size_t stem = layer_of(b->h, name, n, &layer);
    if (stem && is_known(name + stem, n - stem)) return FACET_OK;
    return error_at(b->err, FACET_ERROR_UNSUPPORTED, t->offset, "tensor '%.*s' is none that a model of %u layers has",
                    (int)n, name, b->h->n_layer);
}

static facet_status bind_all(binder *b, hparams *h) {
    FACET_TRY(bind_embedding(b, h));
    for (int k = 0; k < N_MODEL_BINDINGS; k++) {
        FACET_TRY(bind_one(b, &model_bindings[k], model_bindings[k].name, NULL, b->w));
    }
    if (!b->w->output.m.format) b->w->output = b->w->token_embd;
    for (uint32_t i = 0; i < h->n_layer; i++) FACET_TRY(bind_layer(b, i));
    for (size_t i = 0; i < gguf_n_tensors(b->file); i++) FACET_TRY(refuse_unknown(b, gguf_tensor_at(b->file, i)));
    return FACET_OK;
}

static facet_status bind(weights *out, hparams *h, const gguf_file *file, bool late, facet_error *err) {
    *out = (weights){.layers = calloc(h->n_layer, sizeof *out->layers)};
    if (!out->layers) return error_memory(err, h->n_layer * sizeof *out->layers);
    binder b = {.w = out, .h = h, .file = file, .late = late, .err = err};
    facet_status status = bind_all(&b, h);
    if (status != FACET_OK) weights_free(out);
    return status;
}

facet_status weights_bind(weights *out, hparams *h, const gguf_file *file, facet_error *err) {
    return bind(out, h, file, false, err);
}

facet_status weights_bind_late(weights *out, hparams *h, const gguf_file *file, facet_error *err) {
    return bind(out, h, file, true, err);
}

void weights_free(weights *w) {
    for (size_t i = 0; i < w->n_owned; i++) free(w->owned[i]);
    free(w->owned);
    free(w->late);
    free(w->layers);
    *w = (weights){0};
}

/* ---- arriving */

/* A layer's first norm belongs to the stage before: the end of one layer makes the input of the next. */
uint32_t weights_stage(const hparams *h, gguf_string name) {
    uint32_t layer;
    size_t stem = layer_of(h, name.data, name.n, &layer);
    if (stem) {
        bool early = name_is(name.data + stem, name.n - stem, "attn_norm.weight");
        return WEIGHTS_STAGE_LAYER + layer - (early ? 1 : 0);
    }
    if (name_is(name.data, name.n, "rope_freqs.weight")) return WEIGHTS_STAGE_ENGINE;
    if (name_is(name.data, name.n, "output_norm.weight")) return WEIGHTS_STAGE_LAYER + h->n_layer - 1;
    bool first = name.n >= 9 && (!memcmp(name.data, "token_emb", 9) || !memcmp(name.data, "per_layer", 9));
    return first ? WEIGHTS_STAGE_STEP : weights_stage_head(h);
}

void weights_arrived(weights *w, const hparams *h, uint32_t stage) {
    for (size_t i = 0; i < w->n_late; i++) {
        if (weights_stage(h, w->late[i].tensor->name) == stage) convert_vector(w->late[i].tensor, w->late[i].values);
    }
}

/* ---- looking for one */

static bool place_of(const hparams *h, const layer_hparams *l, const binding *e, const void *base,
                     weight_place *out) {
    const weight *w = (const void *)((const char *)base + e->offset);
    bool unused = l && !l->owns_kv && (e->need == IF_OWNS || e->need == MAY_OWN);
    if (e->kind == VECTOR || (!w->m.format && !unused)) return false;
    *out = (weight_place){.w = unused ? NULL : w,
                          .n_rows = axis_size(h, l, e->rows),
                          .n_cols = axis_size(h, l, e->cols),
                          .n_experts = e->kind == EXPERTS ? h->n_expert : 0};
    return true;
}

bool weights_find(const weights *w, const hparams *h, const char *name, size_t n, weight_place *out) {
    if (name_is(name, n, "token_embd.weight")) {
        *out = (weight_place){.w = &w->token_embd, .n_rows = h->n_vocab, .n_cols = h->n_embd};
        return true;
    }
    for (int k = 0; k < N_MODEL_BINDINGS; k++) {
        if (!name_is(name, n, model_bindings[k].name)) continue;
        bool tied = model_bindings[k].offset == offsetof(weights, output) && w->output.index == w->token_embd.index;
        return !tied && place_of(h, NULL, &model_bindings[k], w, out);
    }
    uint32_t layer;
    size_t stem = layer_of(h, name, n, &layer);
    for (int k = 0; stem && k < N_LAYER_BINDINGS; k++) {
        if (!name_is(name + stem, n - stem, layer_bindings[k].name)) continue;
        return place_of(h, &h->layers[layer], &layer_bindings[k], &w->layers[layer], out);
    }
    return false;
}
