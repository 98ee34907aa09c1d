/* The shape of a model, read from its metadata and checked. Owns: which numbers there are and what they may be. Knows
 * nothing of tensors or of how anything is computed. Everything that differs between Gemma 4's variants is here: no
 * variant is ever named. */
#ifndef FACET_MODEL_HPARAMS_H
#define FACET_MODEL_HPARAMS_H

#include "gguf/gguf.h"

enum { HPARAMS_MAX_LAYERS = 512 };

typedef struct layer_hparams {
    bool sliding;      /* sees `window` positions; else all */
    bool owns_kv;      /* writes keys and values; else reads those of layer kv_layer */
    uint32_t kv_layer; /* the layer whose keys and values this one reads; itself where owns_kv */
    uint32_t head_dim;
    uint32_t n_head;    /* query heads */
    uint32_t n_head_kv; /* n_head is a multiple of it */
    uint32_t n_ff;      /* width of the (dense) feed-forward */
} layer_hparams;

typedef struct hparams {
    uint32_t n_layer;
    uint32_t n_own; /* the first n_own layers own their KV, the others share */
    uint32_t n_embd;
    uint32_t n_vocab; /* set from the embedding tensor, or from the vocabulary where there are no tensors */
    uint32_t n_context;
    uint32_t window;
    uint32_t n_ple; /* width of a layer's per-layer embedding; 0: none */
    uint32_t n_expert, n_expert_used, n_ff_expert;
    float eps;
    float rope_base, rope_base_sliding;
    float soft_cap; /* 0: none */
    layer_hparams *layers;
} hparams;

facet_status hparams_read(hparams *out, const gguf_file *file, facet_error *err);
void hparams_free(hparams *h);

/* The largest value of a field over all layers. */
uint32_t hparams_max_q(const hparams *h);  /* n_head * head_dim */
uint32_t hparams_max_kv(const hparams *h); /* n_head_kv * head_dim */
uint32_t hparams_max_ff(const hparams *h);
uint32_t hparams_max_head_dim(const hparams *h);

#endif
