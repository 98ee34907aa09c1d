/* The shape of a model. See hparams.h. Keys: docs of the gemma4 architecture in GGUF. */
#include "model/hparams.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "gemma4."

/* Far above every published model; small enough that no product of two overflows anything. */
enum { MAX_WIDTH = 1 << 20, MAX_CONTEXT = 1 << 24, MAX_EXPERTS = 4096, MAX_HEADS = 1024, MAX_HEAD_DIM = 4096 };

static facet_status bad_number(facet_error *err, const char *key, uint64_t found, uint64_t low, uint64_t high) {
    return error_set(err, FACET_ERROR_FORMAT, "%s is %llu, expected %llu to %llu", key, (unsigned long long)found,
                     (unsigned long long)low, (unsigned long long)high);
}

static facet_status get_number(const gguf_file *f, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                               facet_error *err) {
    FACET_TRY(gguf_get_u32(f, key, out, err));
    return *out < low || *out > high ? bad_number(err, key, *out, low, high) : FACET_OK;
}

static facet_status get_optional(const gguf_file *f, const char *key, uint32_t high, uint32_t otherwise,
                                 uint32_t *out, facet_error *err) {
    *out = otherwise;
    return gguf_find(f, key) ? get_number(f, key, 0, high, out, err) : FACET_OK;
}

static facet_status get_real(const gguf_file *f, const char *key, float low, float high, float *out,
                             facet_error *err) {
    FACET_TRY(gguf_get_f32(f, key, out, err));
    if (!(*out >= low && *out <= high)) {
        return error_set(err, FACET_ERROR_FORMAT, "%s is %g, expected %g to %g", key, (double)*out, (double)low,
                         (double)high);
    }
    return FACET_OK;
}

/* One number a layer: an array with n_layer entries, or a scalar that stands for all. */
static facet_status get_per_layer(const gguf_file *f, const char *key, uint32_t i, uint32_t n_layer, uint32_t high,
                                  uint32_t *out, facet_error *err) {
    const gguf_kv *kv = gguf_find(f, key);
    if (!kv || kv->type != GGUF_ARRAY) return get_number(f, key, 1, high, out, err);
    if (kv->n != n_layer) {
        return error_set(err, FACET_ERROR_FORMAT, "%s has %llu entries, expected one for each of %u layers", key,
                         (unsigned long long)kv->n, n_layer);
    }
    if (!gguf_element_u32(kv, i, out)) {
        return error_set(err, FACET_ERROR_FORMAT, "%s[%u] is not a count", key, i);
    }
    return *out < 1 || *out > high ? bad_number(err, key, *out, 1, high) : FACET_OK;
}

/* The pattern is an array of bools, or one number n: every n-th layer is full. */
static facet_status get_sliding(const gguf_file *f, uint32_t i, uint32_t n_layer, bool *out, facet_error *err) {
    const char *key = PREFIX "attention.sliding_window_pattern";
    const gguf_kv *kv = gguf_find(f, key);
    uint32_t v;
    if (kv && kv->type == GGUF_ARRAY) {
        FACET_TRY(kv->n == n_layer ? FACET_OK
                                   : error_set(err, FACET_ERROR_FORMAT, "%s has %llu entries for %u layers", key,
                                               (unsigned long long)kv->n, n_layer));
        if (!gguf_element_u32(kv, i, &v)) return error_set(err, FACET_ERROR_FORMAT, "%s[%u] is not a bool", key, i);
        *out = v != 0;
        return FACET_OK;
    }
    FACET_TRY(get_number(f, key, 1, HPARAMS_MAX_LAYERS, &v, err));
    *out = (i + 1) % v != 0;
    return FACET_OK;
}

static facet_status read_layer(layer_hparams *l, const gguf_file *f, uint32_t i, const hparams *h, facet_error *err) {
    FACET_TRY(get_sliding(f, i, h->n_layer, &l->sliding, err));
    FACET_TRY(get_per_layer(f, PREFIX "attention.head_count", i, h->n_layer, MAX_HEADS, &l->n_head, err));
    FACET_TRY(get_per_layer(f, PREFIX "attention.head_count_kv", i, h->n_layer, MAX_HEADS, &l->n_head_kv, err));
    FACET_TRY(get_per_layer(f, PREFIX "feed_forward_length", i, h->n_layer, MAX_WIDTH, &l->n_ff, err));
    const char *key = l->sliding ? PREFIX "attention.key_length_swa" : PREFIX "attention.key_length";
    const char *value_key = l->sliding ? PREFIX "attention.value_length_swa" : PREFIX "attention.value_length";
    uint32_t value_dim;
    FACET_TRY(get_number(f, key, 2, MAX_HEAD_DIM, &l->head_dim, err));
    FACET_TRY(get_optional(f, value_key, MAX_HEAD_DIM, l->head_dim, &value_dim, err));
    if (value_dim != l->head_dim || l->head_dim % 2) {
        return error_set(err, FACET_ERROR_UNSUPPORTED,
                         "layer %u has keys of %u and values of %u numbers, expected one "
                         "even size",
                         i, l->head_dim, value_dim);
    }
    if (l->n_head % l->n_head_kv) {
        return error_set(err, FACET_ERROR_FORMAT, "layer %u has %u query heads for %u KV heads: not a multiple", i,
                         l->n_head, l->n_head_kv);
    }
    return FACET_OK;
}

/* A sharing layer reads the last owning layer of its own kind. */
static facet_status link_kv(hparams *h, uint32_t i, facet_error *err) {
    layer_hparams *l = &h->layers[i];
    l->owns_kv = i < h->n_own;
    l->kv_layer = i;
    if (l->owns_kv) return FACET_OK;
    for (uint32_t j = h->n_own; j-- > 0;) {
        const layer_hparams *owner = &h->layers[j];
        if (owner->sliding != l->sliding) continue;
        if (owner->n_head_kv != l->n_head_kv || owner->head_dim != l->head_dim) {
            return error_set(err, FACET_ERROR_FORMAT, "layer %u shares the KV of layer %u, whose heads differ", i, j);
        }
        l->kv_layer = j;
        return FACET_OK;
    }
    return error_set(err, FACET_ERROR_FORMAT, "layer %u shares KV, but no %s layer before it owns any", i,
                     l->sliding ? "sliding" : "full");
}

static facet_status read_experts(hparams *h, const gguf_file *f, facet_error *err) {
    FACET_TRY(get_optional(f, PREFIX "expert_count", MAX_EXPERTS, 0, &h->n_expert, err));
    if (h->n_expert == 0) return FACET_OK;
    FACET_TRY(get_number(f, PREFIX "expert_used_count", 1, h->n_expert, &h->n_expert_used, err));
    return get_number(f, PREFIX "expert_feed_forward_length", 1, MAX_WIDTH, &h->n_ff_expert, err);
}

static facet_status read_model(hparams *h, const gguf_file *f, facet_error *err) {
    uint32_t shared;
    FACET_TRY(get_number(f, PREFIX "block_count", 1, HPARAMS_MAX_LAYERS, &h->n_layer, err));
    FACET_TRY(get_number(f, PREFIX "embedding_length", 1, MAX_WIDTH, &h->n_embd, err));
    FACET_TRY(get_number(f, PREFIX "context_length", 1, MAX_CONTEXT, &h->n_context, err));
    FACET_TRY(get_number(f, PREFIX "attention.sliding_window", 1, MAX_CONTEXT, &h->window, err));
    FACET_TRY(get_optional(f, PREFIX "attention.shared_kv_layers", h->n_layer - 1, 0, &shared, err));
    FACET_TRY(get_optional(f, PREFIX "embedding_length_per_layer_input", MAX_WIDTH, 0, &h->n_ple, err));
    FACET_TRY(get_real(f, PREFIX "attention.layer_norm_rms_epsilon", 0, 1, &h->eps, err));
    FACET_TRY(get_real(f, PREFIX "rope.freq_base", 1, 1e12f, &h->rope_base, err));
    FACET_TRY(get_real(f, PREFIX "rope.freq_base_swa", 1, 1e12f, &h->rope_base_sliding, err));
    const char *cap = PREFIX "final_logit_softcapping";
    if (gguf_find(f, cap)) FACET_TRY(get_real(f, cap, 0, 1e6f, &h->soft_cap, err));
    h->n_own = h->n_layer - shared;
    return read_experts(h, f, err);
}

static facet_status check_architecture(const gguf_file *f, facet_error *err) {
    gguf_string name;
    FACET_TRY(gguf_get_string(f, "general.architecture", &name, err));
    if (name.n == 6 && memcmp(name.data, "gemma4", 6) == 0) return FACET_OK;
    return error_set(err, FACET_ERROR_UNSUPPORTED, "the model's architecture is '%.*s', expected 'gemma4'",
                     (int)(name.n < 64 ? name.n : 64), name.data);
}

facet_status hparams_read(hparams *out, const gguf_file *file, facet_error *err) {
    *out = (hparams){0};
    FACET_TRY(check_architecture(file, err));
    FACET_TRY(read_model(out, file, err));
    out->layers = calloc(out->n_layer, sizeof *out->layers);
    if (!out->layers) return error_memory(err, out->n_layer * sizeof *out->layers);
    facet_status status = FACET_OK;
    for (uint32_t i = 0; status == FACET_OK && i < out->n_layer; i++) {
        status = read_layer(&out->layers[i], file, i, out, err);
    }
    for (uint32_t i = 0; status == FACET_OK && i < out->n_layer; i++) status = link_kv(out, i, err);
    if (status != FACET_OK) hparams_free(out);
    return status;
}

void hparams_free(hparams *h) {
    free(h->layers);
    *h = (hparams){0};
}

static uint32_t layer_q(const layer_hparams *l) { return l->n_head * l->head_dim; }
static uint32_t layer_kv(const layer_hparams *l) { return l->n_head_kv * l->head_dim; }
static uint32_t layer_ff(const layer_hparams *l) { return l->n_ff; }
static uint32_t layer_head_dim(const layer_hparams *l) { return l->head_dim; }

static uint32_t max_over(const hparams *h, uint32_t (*of)(const layer_hparams *)) {
    uint32_t max = 0;
    for (uint32_t i = 0; i < h->n_layer; i++) {
        uint32_t v = of(&h->layers[i]);
        if (v > max) max = v;
    }
    return max;
}

uint32_t hparams_max_q(const hparams *h) { return max_over(h, layer_q); }
uint32_t hparams_max_kv(const hparams *h) { return max_over(h, layer_kv); }
uint32_t hparams_max_ff(const hparams *h) { return max_over(h, layer_ff); }
uint32_t hparams_max_head_dim(const hparams *h) { return max_over(h, layer_head_dim); }
