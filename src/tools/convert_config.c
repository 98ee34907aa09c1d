/* config.json of Gemma 4 to the keys of GGUF. Owns: both spellings. Sources: transformers' Gemma4TextConfig, whose
 * defaults are used where a key is missing; the gguf Python package for the types of the keys. */
#include <string.h>

#include "convert_parts.h"

static facet_status fail_key(facet_error *error, const char *key, const char *what) {
    return error_set(error, FACET_ERROR_FORMAT, "config.json: '%s' %s", key, what);
}

/* A missing key or null leaves *out as it is, unless that is UINT32_MAX: then the key must be there. */
static facet_status get_u32(const json_t *o, const char *key, uint32_t *out, facet_error *error) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return *out == UINT32_MAX ? fail_key(error, key, "is missing") : FACET_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX) {
        return fail_key(error, key, "is no whole number from 0 to 2^31");
    }
    *out = (uint32_t)json_integer_value(v);
    return FACET_OK;
}

static facet_status get_number(const json_t *o, const char *key, double *out, facet_error *error) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return FACET_OK;
    if (!json_is_number(v)) return fail_key(error, key, "is no number");
    *out = json_number_value(v);
    return FACET_OK;
}

static facet_status read_layers(convert_config *c, const json_t *o, facet_error *error) {
    const json_t *types = json_object_get(o, "layer_types");
    bool any_full = false, any_sliding = false;
    if (c->n_layers == 0 || c->n_layers > CONVERT_MAX_LAYERS) {
        return fail_key(error, "num_hidden_layers", "is out of range");
    }
    if (!json_is_array(types) || json_array_size(types) != c->n_layers) {
        return fail_key(error, "layer_types", "does not name every layer's kind");
    }
    for (uint32_t i = 0; i < c->n_layers; i++) {
        const char *kind = json_string_value(json_array_get(types, i));
        c->full[i] = kind && !strcmp(kind, "full_attention");
        if (!c->full[i] && (!kind || strcmp(kind, "sliding_attention") != 0)) {
            return fail_key(error, "layer_types", "holds an unknown kind of layer");
        }
        any_full |= c->full[i];
        any_sliding |= !c->full[i];
    }
    if (!any_full || !any_sliding) return fail_key(error, "layer_types", "lacks one of the two kinds of layers");
    if (c->shared_kv >= c->n_layers) return fail_key(error, "num_kv_shared_layers", "is out of range");
    return FACET_OK;
}

static facet_status read_rope(convert_config *c, const json_t *o, facet_error *error) {
    const json_t *rope = json_object_get(o, "rope_parameters");
    const json_t *full = json_object_get(rope, "full_attention"),
                 *sliding = json_object_get(rope, "sliding_attention");
    c->rope_base_full = 1e6;
    c->rope_base_sliding = 1e4;
    c->rotated_part = 0.25;
    FACET_TRY(get_number(full, "rope_theta", &c->rope_base_full, error));
    FACET_TRY(get_number(full, "partial_rotary_factor", &c->rotated_part, error));
    FACET_TRY(get_number(sliding, "rope_theta", &c->rope_base_sliding, error));
    if (!(c->rotated_part >= 0 && c->rotated_part <= 1)) {
        return fail_key(error, "partial_rotary_factor", "is not between 0 and 1");
    }
    return FACET_OK;
}

static facet_status read_sizes(convert_config *c, const json_t *o, facet_error *error) {
    FACET_TRY(get_u32(o, "num_hidden_layers", &c->n_layers, error));
    FACET_TRY(get_u32(o, "max_position_embeddings", &c->context, error));
    FACET_TRY(get_u32(o, "hidden_size", &c->width, error));
    FACET_TRY(get_u32(o, "num_attention_heads", &c->heads, error));
    FACET_TRY(get_u32(o, "num_key_value_heads", &c->kv_heads, error));
    c->kv_heads_full = c->kv_heads;
    if (c->keys_are_values) FACET_TRY(get_u32(o, "num_global_key_value_heads", &c->kv_heads_full, error));
    FACET_TRY(get_u32(o, "intermediate_size", &c->feed_forward, error));
    FACET_TRY(get_u32(o, "sliding_window", &c->window, error));
    FACET_TRY(get_u32(o, "num_kv_shared_layers", &c->shared_kv, error));
    FACET_TRY(get_u32(o, "hidden_size_per_layer_input", &c->per_layer, error));
    FACET_TRY(get_u32(o, "head_dim", &c->head_dim, error));
    c->head_dim_full = c->head_dim;
    FACET_TRY(get_u32(o, "global_head_dim", &c->head_dim_full, error));
    FACET_TRY(get_u32(o, "vocab_size", &c->n_vocab, error));
    if (!c->head_dim || !c->head_dim_full || c->head_dim_full > 1 << 16)
        return fail_key(error, "head_dim", "is out of range");
    if (c->n_vocab > 1 << 24) return fail_key(error, "vocab_size", "is out of range");
    return FACET_OK;
}

static facet_status read_experts(convert_config *c, const json_t *o, facet_error *error) {
    if (!json_is_true(json_object_get(o, "enable_moe_block"))) return FACET_OK;
    c->experts = c->experts_used = c->expert_width = UINT32_MAX;
    FACET_TRY(get_u32(o, "num_experts", &c->experts, error));
    FACET_TRY(get_u32(o, "top_k_experts", &c->experts_used, error));
    return get_u32(o, "moe_intermediate_size", &c->expert_width, error);
}

facet_status convert_read_config(convert_config *c, const json_t *json, facet_error *error) {
    const json_t *text = json_object_get(json, "text_config"), *o = text ? text : json;
    const char *kind = json_string_value(json_object_get(o, "model_type"));
    const char *outer = json_string_value(json_object_get(json, "model_type"));
    const uint32_t needed = UINT32_MAX;
    *c = (convert_config){.n_layers = needed,
                          .context = 131072,
                          .width = needed,
                          .heads = needed,
                          .kv_heads = needed,
                          .feed_forward = needed,
                          .window = 512,
                          .head_dim = 256,
                          .n_vocab = needed,
                          .norm_eps = 1e-6};
    if (!kind) kind = outer;
    if (!kind || (strcmp(kind, "gemma4_text") != 0 && strcmp(kind, "gemma4") != 0)) {
        return error_set(error, FACET_ERROR_UNSUPPORTED, "config.json: model_type '%.40s' is not Gemma 4's",
                         kind ? kind : "");
    }
    c->keys_are_values = json_is_true(json_object_get(o, "attention_k_eq_v"));
    c->double_wide = json_is_true(json_object_get(o, "use_double_wide_mlp"));
    FACET_TRY(read_sizes(c, o, error));
    FACET_TRY(read_layers(c, o, error));
    FACET_TRY(read_rope(c, o, error));
    FACET_TRY(get_number(o, "rms_norm_eps", &c->norm_eps, error));
    FACET_TRY(get_number(o, "final_logit_softcapping", &c->softcap, error));
    return read_experts(c, o, error);
}

bool convert_owns_kv(const convert_config *c, uint32_t layer) { return layer < c->n_layers - c->shared_kv; }

static void add_feed_forward(gguf_writer *w, const convert_config *c) {
    static const char key[] = "gemma4.feed_forward_length";
    int32_t widths[CONVERT_MAX_LAYERS];
    if (!c->double_wide) {
        gguf_add_u32(w, key, c->feed_forward);
        return;
    }
    for (uint32_t i = 0; i < c->n_layers; i++) {
        widths[i] = (int32_t)c->feed_forward * (convert_owns_kv(c, i) ? 1 : 2);
    }
    gguf_add_array(w, key, GGUF_I32, widths, c->n_layers);
}

static void add_attention(gguf_writer *w, const convert_config *c, const uint32_t *kv_heads) {
    int32_t heads[CONVERT_MAX_LAYERS];
    uint8_t sliding[CONVERT_MAX_LAYERS];
    for (uint32_t i = 0; i < c->n_layers; i++) {
        heads[i] = (int32_t)kv_heads[i];
        sliding[i] = !c->full[i];
    }
    gguf_add_u32(w, "gemma4.attention.head_count", c->heads);
    gguf_add_array(w, "gemma4.attention.head_count_kv", GGUF_I32, heads, c->n_layers);
    gguf_add_f32(w, "gemma4.attention.layer_norm_rms_epsilon", (float)c->norm_eps);
    gguf_add_u32(w, "gemma4.attention.sliding_window", c->window);
    gguf_add_array(w, "gemma4.attention.sliding_window_pattern", GGUF_BOOL, sliding, c->n_layers);
    gguf_add_u32(w, "gemma4.attention.shared_kv_layers", c->shared_kv);
    gguf_add_u32(w, "gemma4.attention.key_length", c->head_dim_full);
    gguf_add_u32(w, "gemma4.attention.value_length", c->head_dim_full);
    gguf_add_u32(w, "gemma4.attention.key_length_swa", c->head_dim);
    gguf_add_u32(w, "gemma4.attention.value_length_swa", c->head_dim);
}

void convert_add_config(gguf_writer *w, const convert_config *c, const char *name, const uint32_t *kv_heads) {
    gguf_add_string(w, "general.architecture", "gemma4", 6);
    gguf_add_string(w, "general.name", name, strlen(name));
    gguf_add_u32(w, "gemma4.block_count", c->n_layers);
    gguf_add_u32(w, "gemma4.context_length", c->context);
    gguf_add_u32(w, "gemma4.embedding_length", c->width);
    add_feed_forward(w, c);
    add_attention(w, c, kv_heads);
    gguf_add_u32(w, "gemma4.embedding_length_per_layer_input", c->per_layer);
    gguf_add_u32(w, "gemma4.rope.dimension_count", c->head_dim_full);
    gguf_add_u32(w, "gemma4.rope.dimension_count_swa", c->head_dim);
    gguf_add_f32(w, "gemma4.rope.freq_base", (float)c->rope_base_full);
    gguf_add_f32(w, "gemma4.rope.freq_base_swa", (float)c->rope_base_sliding);
    if (c->softcap > 0) gguf_add_f32(w, "gemma4.final_logit_softcapping", (float)c->softcap);
    if (!c->experts) return;
    gguf_add_u32(w, "gemma4.expert_count", c->experts);
    gguf_add_u32(w, "gemma4.expert_used_count", c->experts_used);
    gguf_add_u32(w, "gemma4.expert_feed_forward_length", c->expert_width);
}
