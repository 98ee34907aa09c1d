/* The parts of convert: a Hugging Face folder's config, vocabulary and names, as GGUF wants them. Private to
 * src/tools. */
#ifndef FACET_TOOLS_CONVERT_PARTS_H
#define FACET_TOOLS_CONVERT_PARTS_H

#include "flow.h"
#include "gguf/writer.h"
#include "safetensors.h"

enum { CONVERT_MAX_LAYERS = 1024 };

/* The numbers of a Gemma 4 text model. */
typedef struct convert_config {
    uint32_t n_layers, context, width, heads, kv_heads, kv_heads_full, feed_forward;
    uint32_t window, shared_kv, per_layer, head_dim, head_dim_full, experts, experts_used, expert_width, n_vocab;
    double norm_eps, rope_base_full, rope_base_sliding, rotated_part, softcap;
    bool double_wide, keys_are_values;
    bool full[CONVERT_MAX_LAYERS]; /* full attention */
} convert_config;

/* From config.json: of the text model itself, or the text_config inside that of a model with images and sound. */
facet_status convert_read_config(convert_config *c, const json_t *json, facet_error *error);
bool convert_owns_kv(const convert_config *c, uint32_t layer);
void convert_add_config(gguf_writer *w, const convert_config *c, const char *name, const uint32_t *kv_heads);

/* tokenizer.json (and generation_config.json, which may be NULL) as tokenizer.ggml.* keys. */
facet_status convert_add_vocabulary(gguf_writer *w, const convert_config *c, const json_t *tokenizer,
                                    const json_t *generation, facet_error *error);

/* The last part of a folder's path. */
const char *convert_folder_name(const char *dir, char out[128]);

/* When a tensor is in the model. */
typedef enum convert_presence {
    CONVERT_ALWAYS,
    CONVERT_PER_LAYER,
    CONVERT_OWNS_KV,
    CONVERT_OWNS_VALUES,
    CONVERT_EXPERTS,
    CONVERT_IF_THERE
} convert_presence;

typedef struct convert_name {
    convert_presence when;
    const char *ours, *theirs;
} convert_name;

/* Of the model, and of a layer: behind "blk.7." and "layers.7.". */
extern const convert_name convert_model_names[], convert_layer_names[];
extern const size_t convert_n_model_names, convert_n_layer_names;

/* One name by all tables: "model.layers.3.mlp.up_proj.weight" to "blk.3.ffn_up.weight", with any of the prefixes that
 * checkpoints use; and back, with the prefix of the published checkpoints. False: no tensor of the text model. */
bool convert_our_name(const char *theirs, char *out, size_t out_bytes);
bool convert_their_name(const char *ours, char *out, size_t out_bytes);

/* What the names of a checkpoint begin with. */
typedef struct convert_names {
    const char *prefix; /* "model.language_model." */
} convert_names;
facet_status convert_find_prefix(convert_names *names, const safetensors *s, facet_error *error);

/* Fills `out` (room for convert_max_tensors) with the model's tensors in the order of the file. Their names are
 * malloc'ed, and so is the one of rope_freqs' data: convert_free_tensors. kv_heads: n_layers numbers. */
size_t convert_max_tensors(const convert_config *c);
facet_status convert_list_tensors(const convert_config *c, const convert_names *names, const safetensors *s,
                                  flow_tensor *out, size_t *n, uint32_t *kv_heads, facet_error *error);
void convert_free_tensors(flow_tensor *tensors, size_t n);

#endif
