/* The names of a checkpoint's tensors and those of GGUF. Owns: the table of both, and translating by it. Sources:
 * transformers' modules of Gemma 4; the gguf Python package. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert_parts.h"

const convert_name convert_model_names[] = {
    {CONVERT_ALWAYS, "token_embd.weight", "embed_tokens.weight"},
    {CONVERT_PER_LAYER, "per_layer_token_embd.weight", "embed_tokens_per_layer.weight"},
    {CONVERT_PER_LAYER, "per_layer_model_proj.weight", "per_layer_model_projection.weight"},
    {CONVERT_PER_LAYER, "per_layer_proj_norm.weight", "per_layer_projection_norm.weight"},
    {CONVERT_ALWAYS, "output_norm.weight", "norm.weight"},
};
const convert_name convert_layer_names[] = {
    {CONVERT_ALWAYS, "attn_norm.weight", "input_layernorm.weight"},
    {CONVERT_ALWAYS, "attn_q.weight", "self_attn.q_proj.weight"},
    {CONVERT_ALWAYS, "attn_q_norm.weight", "self_attn.q_norm.weight"},
    {CONVERT_ALWAYS, "attn_output.weight", "self_attn.o_proj.weight"},
    {CONVERT_ALWAYS, "post_attention_norm.weight", "post_attention_layernorm.weight"},
    {CONVERT_ALWAYS, "ffn_norm.weight", "pre_feedforward_layernorm.weight"},
    {CONVERT_ALWAYS, "ffn_gate.weight", "mlp.gate_proj.weight"},
    {CONVERT_ALWAYS, "ffn_up.weight", "mlp.up_proj.weight"},
    {CONVERT_ALWAYS, "ffn_down.weight", "mlp.down_proj.weight"},
    {CONVERT_ALWAYS, "post_ffw_norm.weight", "post_feedforward_layernorm.weight"},
    {CONVERT_OWNS_KV, "attn_k.weight", "self_attn.k_proj.weight"},
    {CONVERT_OWNS_KV, "attn_k_norm.weight", "self_attn.k_norm.weight"},
    {CONVERT_OWNS_VALUES, "attn_v.weight", "self_attn.v_proj.weight"},
    {CONVERT_PER_LAYER, "inp_gate.weight", "per_layer_input_gate.weight"},
    {CONVERT_PER_LAYER, "proj.weight", "per_layer_projection.weight"},
    {CONVERT_PER_LAYER, "post_norm.weight", "post_per_layer_input_norm.weight"},
    {CONVERT_EXPERTS, "post_ffw_norm_1.weight", "post_feedforward_layernorm_1.weight"},
    {CONVERT_EXPERTS, "post_ffw_norm_2.weight", "post_feedforward_layernorm_2.weight"},
    {CONVERT_EXPERTS, "pre_ffw_norm_2.weight", "pre_feedforward_layernorm_2.weight"},
    {CONVERT_EXPERTS, "ffn_gate_inp.weight", "router.proj.weight"},
    {CONVERT_EXPERTS, "ffn_gate_inp.scale", "router.scale"},
    {CONVERT_EXPERTS, "ffn_gate_up_exps.weight", "experts.gate_up_proj"},
    {CONVERT_EXPERTS, "ffn_down_exps.weight", "experts.down_proj"},
    {CONVERT_EXPERTS, "ffn_down_exps.scale", "router.per_expert_scale"},
    {CONVERT_IF_THERE, "layer_output_scale.weight", "layer_scalar"},
};
const size_t convert_n_model_names = sizeof convert_model_names / sizeof convert_model_names[0];
const size_t convert_n_layer_names = sizeof convert_layer_names / sizeof convert_layer_names[0];

static const char *const prefixes[] = {"model.language_model.", "language_model.model.", "model.", ""};
enum { N_PREFIXES = sizeof prefixes / sizeof prefixes[0] };

facet_status convert_find_prefix(convert_names *names, const safetensors *s, facet_error *error) {
    char name[64];
    for (size_t i = 0; i < N_PREFIXES; i++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        names->prefix = prefixes[i];
        if (safetensors_find(s, name)) return FACET_OK;
    }
    return error_set(error, FACET_ERROR_FORMAT, "the checkpoint has no embed_tokens.weight");
}

/* What follows "FIRST7." in a name, and the 7; NULL: it begins otherwise. */
static const char *after_layer(const char *name, const char *first, unsigned long *layer) {
    size_t n = strlen(first);
    char *end;
    if (strncmp(name, first, n) != 0 || name[n] < '0' || name[n] > '9') return NULL;
    *layer = strtoul(name + n, &end, 10);
    return *end == '.' && *layer < CONVERT_MAX_LAYERS ? end + 1 : NULL;
}

static bool our_name(const char *theirs, char *out, size_t out_bytes) {
    unsigned long layer;
    const char *rest = after_layer(theirs, "layers.", &layer);
    for (size_t i = 0; rest && i < convert_n_layer_names; i++) {
        if (strcmp(convert_layer_names[i].theirs, rest) != 0) continue;
        snprintf(out, out_bytes, "blk.%lu.%s", layer, convert_layer_names[i].ours);
        return true;
    }
    for (size_t i = 0; !rest && i < convert_n_model_names; i++) {
        if (strcmp(convert_model_names[i].theirs, theirs) != 0) continue;
        snprintf(out, out_bytes, "%s", convert_model_names[i].ours);
        return true;
    }
    return false;
}

bool convert_our_name(const char *theirs, char *out, size_t out_bytes) {
    if (!strcmp(theirs, "lm_head.weight") || !strcmp(theirs, "language_model.lm_head.weight")) {
        snprintf(out, out_bytes, "output.weight");
        return true;
    }
    for (size_t i = 0; i < N_PREFIXES; i++) {
        size_t n = strlen(prefixes[i]);
        if (!strncmp(theirs, prefixes[i], n) && our_name(theirs + n, out, out_bytes)) return true;
    }
    return false;
}

bool convert_their_name(const char *ours, char *out, size_t out_bytes) {
    unsigned long layer;
    const char *rest = after_layer(ours, "blk.", &layer);
    if (!strcmp(ours, "output.weight")) {
        snprintf(out, out_bytes, "lm_head.weight");
        return true;
    }
    for (size_t i = 0; rest && i < convert_n_layer_names; i++) {
        if (strcmp(convert_layer_names[i].ours, rest) != 0) continue;
        snprintf(out, out_bytes, "%slayers.%lu.%s", prefixes[0], layer, convert_layer_names[i].theirs);
        return true;
    }
    for (size_t i = 0; !rest && i < convert_n_model_names; i++) {
        if (strcmp(convert_model_names[i].ours, ours) != 0) continue;
        snprintf(out, out_bytes, "%s%s", prefixes[0], convert_model_names[i].theirs);
        return true;
    }
    return false;
}
