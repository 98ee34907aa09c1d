/* A model's tensors, bound once into named fields after their shapes were checked. Owns: the few vectors that had to
 * be converted to floats. Borrows: everything else, from the file's bytes. Knows nothing of how anything is computed.
 * Shapes are written [rows, columns], the contiguous axis last. */
#ifndef FACET_MODEL_WEIGHTS_H
#define FACET_MODEL_WEIGHTS_H

#include "cpu/cpu.h"
#include "gguf/gguf.h"
#include "model/hparams.h"

/* A matrix, or one per expert: expert e begins e * m.n_rows rows further on. m.format is NULL where there is none. */
typedef struct weight {
    matrix m;
    const float *scale; /* NULL, or a factor of the product: one, or one per expert */
    uint32_t n_experts; /* 0: a plain matrix */
    uint32_t index;     /* among all matrices of the model, below weights.n_matrices: what adapters are kept by */
} weight;

/* n = n_embd, h = the layer's head_dim, H and G its query and KV heads, ff its feed-forward width */
typedef struct layer_weights {
    const float *attn_norm;                 /* [n] */
    weight attn_q;                          /* [H*h, n] */
    weight attn_k;                          /* [G*h, n], owning layers */
    weight attn_v;                          /* [G*h, n], owning layers; none: values are the key projection */
    weight attn_output;                     /* [n, H*h] */
    const float *attn_q_norm, *attn_k_norm; /* [h] */
    const float *post_attention_norm;       /* [n] */
    const float *ffn_norm;                  /* [n] */
    weight ffn_gate, ffn_up;                /* [ff, n] */
    weight ffn_down;                        /* [n, ff] */
    const float *post_ffw_norm;             /* [n] */
    const float *layer_output_scale;        /* [1] or NULL */
    weight inp_gate;                        /* [n_ple, n] */
    weight proj;                            /* [n, n_ple] */
    const float *post_norm;                 /* [n] */
    weight ffn_gate_inp;                    /* [n_expert, n]: the router */
    const float *ffn_gate_inp_scale;        /* [n] */
    weight ffn_gate_up_exps;                /* [n_expert, 2 n_ff_expert, n], or the next two */
    weight ffn_gate_exps, ffn_up_exps;      /* [n_expert, n_ff_expert, n] */
    weight ffn_down_exps;                   /* [n_expert, n, n_ff_expert] */
    const float *ffn_down_exps_scale;       /* [n_expert] or NULL */
    const float *pre_ffw_norm_2, *post_ffw_norm_1, *post_ffw_norm_2; /* [n] */
} layer_weights;

/* A vector to be converted when its tensor has arrived. */
typedef struct late_vector {
    const gguf_tensor *tensor;
    float *values;
} late_vector;

typedef struct weights {
    weight token_embd;                /* [n_vocab, n] */
    weight output;                    /* [n_vocab, n]; token_embd where the file has none */
    const float *output_norm;         /* [n] */
    const float *rope_freqs;          /* [head_dim of full layers / 2] or NULL */
    weight per_layer_token_embd;      /* [n_vocab, n_ple * n_layer] */
    weight per_layer_model_proj;      /* [n_ple * n_layer, n] */
    const float *per_layer_proj_norm; /* [n_ple] */
    layer_weights *layers;            /* [n_layer] */
    uint32_t n_matrices;
    void **owned; /* converted vectors */
    size_t n_owned;
    late_vector *late; /* those of them that are still to be converted, [n_late] */
    size_t n_late;
} weights;

/* Binds everything and sets h->n_vocab. With a file opened as a header only the pointers to data are NULL. */
facet_status weights_bind(weights *out, hparams *h, const gguf_file *file, facet_error *err);
/* The same for a file whose tensors have a place, but have not all arrived: none is looked into, now or later, before
 * weights_arrived says that it is there. `file` must live as long as the weights. */
facet_status weights_bind_late(weights *out, hparams *h, const gguf_file *file, facet_error *err);
void weights_free(weights *w);

/* The order in which tensors are read: stage 0 when an engine is made, stage 1 when a step begins, stage 2 + i when
 * layer i begins, the last one when logits are computed. */
enum { WEIGHTS_STAGE_ENGINE, WEIGHTS_STAGE_STEP, WEIGHTS_STAGE_LAYER };
static inline uint32_t weights_stage_head(const hparams *h) { return WEIGHTS_STAGE_LAYER + h->n_layer; }
/* The first stage that reads a tensor; one that no stage reads counts to the last. */
uint32_t weights_stage(const hparams *h, gguf_string name);
/* The tensors of a stage are there. Once for each stage. */
void weights_arrived(weights *w, const hparams *h, uint32_t stage);

/* A matrix by its tensor's name, for those who bring something for it. */
typedef struct weight_place {
    const weight *w; /* NULL: the layer has no use for it (keys and values of a layer that shares its KV) */
    uint64_t n_rows, n_cols;
    uint32_t n_experts; /* 0: a plain matrix */
} weight_place;
/* False: the model has no such matrix. */
bool weights_find(const weights *w, const hparams *h, const char *name, size_t n_bytes, weight_place *out);

/* "[64, 256]", the contiguous axis last as everywhere in messages; ne has it first. */
void weights_shape_text(const uint64_t ne[3], char out[72]);

#endif
