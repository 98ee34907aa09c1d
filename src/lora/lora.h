/* LoRA adapters: low-rank changes of a model's matrices, y = W x + s * B (A x). Owns: the pairs (A, B) of an adapter
 * and the copies of those that could not stay where they lie in the file. Borrows: the file's bytes. Knows the
 * shapes of the model's matrices and nothing of how the forward pass runs. Shapes are [rows, columns], the contiguous
 * axis last. */
#ifndef FACET_LORA_LORA_H
#define FACET_LORA_LORA_H

#include "model/weights.h"

/* The largest rank: what it bounds lies on stacks. */
enum { LORA_MAX_RANK = 1024 };

/* F32, F16 or BF16 each. For a matrix with experts both hold one matrix per expert, as `weight` does. */
typedef struct lora_pair {
    matrix a; /* [rank, in]; format NULL: the adapter leaves the matrix alone */
    matrix b; /* [out, rank] */
} lora_pair;

/* What an adapter adds to an embedding: row t changes by s * columns @ rows[t]. */
typedef struct lora_rows {
    matrix rows;    /* [n_vocab, rank]; format NULL: nothing */
    matrix columns; /* [width, rank] */
} lora_rows;

typedef struct lora_adapter {
    uint64_t serial; /* tells adapters apart whose memory is the same, one after the other; set by the owner */
    float alpha;
    uint32_t n_matrices;
    lora_pair *pairs;               /* [n_matrices] by weight.index; token_embd's is that of the tied head */
    lora_rows token_embd;           /* of the lookup */
    lora_rows per_layer_token_embd; /* of the lookup; width n_ple * n_layer */
    uint32_t rank;                  /* the largest */
    size_t n_tensors;
    uint64_t n_bytes; /* of the tensors in the file */
    char name[128];
    void **owned; /* dequantised and turned matrices */
    size_t n_owned;
} lora_adapter;

/* Reads and checks every tensor of `file` against the model. The file's bytes must outlive the adapter, the opened
 * directory need not. On failure *out is empty. */
facet_status lora_read(lora_adapter *out, const gguf_file *file, const weights *w, const hparams *h,
                       facet_error *err);
void lora_free(lora_adapter *a);

/* Adapters that work together, in order. */
typedef struct lora_use {
    const lora_adapter *adapter;
    float scale;
} lora_use;
typedef struct lora_set {
    size_t n;
    size_t rank; /* of all of them together on one matrix, at most: lora_set_rank */
    lora_use *uses;
} lora_set;

size_t lora_set_rank(const lora_use *uses, size_t n);

/* s = scale * alpha / rank, in floats */
static inline float lora_factor(const lora_use *use, size_t rank) {
    return use->scale * use->adapter->alpha / (float)rank;
}

#endif
