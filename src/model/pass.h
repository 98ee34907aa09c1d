/* What the parts of the forward pass share: the buffers of a step and the operations on them. Private to src/model
 * and to the back ends that compute a part of the layers.
 *
 * Every function that takes a pool_worker is entered by all threads of the pool together. Those named pass_* and
 * layer_* that say so end with a pool_sync, so that what they wrote is there for everybody afterwards. */
#ifndef FACET_MODEL_PASS_H
#define FACET_MODEL_PASS_H

#include "base/arena.h"
#include "lora/lora.h"
#include "model/forward.h"

/* A token on its way through the layers. */
typedef struct pass_row {
    int32_t token;
    int32_t position;
    uint32_t segment;
    bool wanted;
} pass_row;

/* The rows of one segment, consecutive in the pass. */
typedef struct pass_segment {
    const kv_sequence *kv;
    const lora_set *adapters; /* NULL: none */
    size_t first_row, n_rows;
} pass_segment;

/* Rows prepared for products, in each of the kinds that some matrix wants. */
typedef struct pass_input {
    void *kinds[CPU_N_INPUTS];
} pass_input;

/* One product: out[t][r] = w x_t for all rows r of w (of one expert of w). What follows `ldo` is for adapters. */
typedef struct pass_product {
    const weight *w;
    uint32_t expert;
    const pass_input *in;
    size_t n_tokens;
    float *out;
    size_t ldo;
    const float *x;       /* what `in` was prepared from: [n_tokens][n_cols] */
    const uint32_t *rows; /* the row in the pass of each token; NULL: token i is row i */
    bool x_by_row;        /* x has a row for each row of the pass, not for each token */
    size_t first_row;     /* where w begins in the whole matrix */
    float *low;           /* adapters' A x, see adapt_products; NULL: no adapters */
} pass_product;

/* A token's place in the work of one expert. */
typedef struct expert_slot {
    uint32_t row;
    float weight; /* router weight times the expert's own scale */
} expert_slot;

/* Which tokens go to which expert. Slots of an expert are consecutive. */
typedef struct expert_plan {
    uint32_t *first;   /* [n_expert + 1] first slot of each expert */
    uint32_t *tokens;  /* [n_slots] row of each slot */
    uint32_t *slot_of; /* [n_rows][used]: the row's slots, experts ascending */
    uint32_t *chosen;  /* [n_rows][used]: the row's experts, ascending */
    float *factor;     /* [n_rows][used]: router weight times the expert's scale */
    uint32_t *active;  /* experts with at least one slot */
    size_t n_active;
    size_t *input_at[CPU_N_INPUTS]; /* [n_active] where each expert's prepared inputs begin, per kind */
    size_t *mid_at;                 /* [n_active] the same for the inputs of its down projection */
} expert_plan;

/* Buffers of one thread. */
typedef struct pass_thread {
    void *scratch;   /* for products */
    float *up;       /* a chunk of the feed-forward's second factor, up_floats */
    float *head;     /* one head, or one layer's embedding slice with the blocks around it */
    float *span_out; /* attention: one span's outputs, [CPU_SPAN_QUERIES][max_head_dim] */
    float *run_out;  /* attention: the running outputs */
} pass_thread;

struct forward {
    const hparams *h;
    const weights *w;
    const cpu_table *cpu;
    pool *threads;
    int n_threads;
    size_t ubatch;

    pass_row *rows; /* [ubatch] */
    size_t n_rows;
    pass_segment *segments; /* [ubatch] */
    size_t n_segments;
    size_t n_wanted;
    bool adapted; /* some segment has adapters */
    facet_kv_type kv_type;

    float *x;                   /* [rows][n_embd] the residual stream */
    float *normed;              /* [rows][n_embd] */
    float *y;                   /* [rows][n_embd] a sublayer's output */
    float *q;                   /* [rows][H*h] queries, then the attention's output */
    float *k, *v;               /* [rows][G*h] */
    float *ff;                  /* [rows][ff] */
    float *x0;                  /* [rows][n_embd] the embeddings, for the per-layer ones */
    float *ple_gate, *ple_b;    /* [rows][n_ple] */
    float *hidden;              /* [rows][n_embd] results */
    float *inv_freq[2];         /* [sliding][head_dim / 2] */
    float *cosine[2], *sine[2]; /* [sliding][rows][head_dim / 2] */
    size_t pairs[2];
    pass_input in; /* of `normed`, of the attention's output, of `ff`, of ple_gate: one after the other */
    pass_input in_x0;

    /* attention split over spans: [n_partials] of CPU_SPAN_QUERIES outputs, maxima and sums */
    size_t n_partials;
    float *partial_out, *partial_max, *partial_sum;
    float *merged_out, *merged_max, *merged_sum; /* the running values of the items of a split attention */

    /* experts */
    float *router;   /* [rows][n_expert] */
    float *e;        /* [rows][n_embd] experts' input */
    float *slot_mid; /* [slots][2 n_ff_expert] */
    float *slot_out; /* [slots][n_embd] */
    float *dense;    /* [rows][n_embd] the dense feed-forward's output, normed */
    expert_plan plan;
    uint8_t *expert_in[CPU_N_INPUTS]; /* NULL for kinds that no expert wants */
    uint8_t *expert_mid;

    /* adapters: A x of the products at hand, reserved when the first adapter comes */
    float *low;       /* [products][low_slots][low_rank] */
    size_t low_slots; /* tokens, or tokens times experts used */
    size_t low_rank;  /* of the largest set of adapters so far */
    float *low_row;   /* a row on its way to a product, one for each thread */
    size_t low_bytes;

    double part_seconds[FACET_N_PARTS];
    double part_began;

    size_t up_floats;
    pass_thread *thread; /* [n_threads] */

    forward_gate gate;
    void *gate_ctx;
    forward_watcher watcher;
    void *watcher_ctx;
    forward_observer observer;
    void *observer_ctx;
    void *memory;
    size_t memory_bytes;
};

/* ---- pass.c */
/* The time since the last mark goes to that part. Counts on the first thread, after a sync. */
void pass_mark(const pool_worker *t, forward *f, facet_part part);
/* The kinds of input that a list of weights wants, as bits. */
unsigned pass_kinds(const forward *f, const weight *const *list, size_t n);
/* Prepares rows [t0, t1) of x for products with n_cols columns. One thread's work. */
void pass_prepare_rows(const forward *f, const pass_input *in, unsigned kinds, const float *x, size_t n_cols,
                       size_t n_rows, size_t t0, size_t t1);
/* Rows that are prepared together. */
size_t pass_group(const forward *f, unsigned kinds, size_t n_rows);
/* Prepares all rows. Ends with a sync. */
void pass_prepare(const pool_worker *t, forward *f, const pass_input *in, unsigned kinds, const float *x,
                  size_t n_cols);
/* All products of a list, their rows split between the threads. Ends with a sync. */
void pass_products(const pool_worker *t, forward *f, pass_product *products, size_t n);
/* One range of rows of one product, scale included. One thread's work. */
void pass_product_rows(const forward *f, const pool_worker *t, const pass_product *p, size_t r0, size_t r1);
/* The same with the rows at the front of `out`: out[t * ldo + r - r0]. */
void pass_product_part(const forward *f, const pool_worker *t, const pass_product *p, size_t r0, size_t r1);

/* ---- adapt.c: adapters. All do nothing where no segment of the step has any. */
/* A x for all products of a list, ADAPT_PRODUCTS at most. All threads; ends with a sync where it did anything. */
enum { ADAPT_PRODUCTS = 3 };
void adapt_products(const pool_worker *t, forward *f, pass_product *products, size_t n);
/* The same by hand: where a product's A x lies, `place` below ADAPT_PRODUCTS (products with the same tokens need
 * places of their own), `slot` that of its first token; and computing it, one thread's work. */
float *adapt_place(const forward *f, size_t place, size_t slot);
void adapt_one(const pool_worker *t, const forward *f, const pass_product *p);
/* out[t * ldo + r - r0] += s B (A x) for rows [r0, r1). One thread's work. */
void adapt_rows(const forward *f, const pass_product *p, size_t r0, size_t r1, float *out);
void adapt_embedding(const forward *f, size_t row, float *x); /* x: the embedding before its factor */
void adapt_ple_slice(const forward *f, size_t row, uint32_t layer, float *slice);

/* ---- the parts of a layer; all end with a sync */
void rope_frequencies(const hparams *h, const float *rope_freqs, bool sliding, float *inv_freq);
void rope_prepare(const pool_worker *t, forward *f);
void attention_project(const pool_worker *t, forward *f, uint32_t layer);
void attention_attend(const pool_worker *t, forward *f, uint32_t layer);
void attention_output(const pool_worker *t, forward *f, uint32_t layer); /* y = attn_output @ o */
void ffn_dense(const pool_worker *t, forward *f, uint32_t layer);        /* y = the dense feed-forward of `in` */
void experts_compute(const pool_worker *t, forward *f, uint32_t layer);  /* y = norm(y) + norm(experts(x)) */
void ple_embed(const pool_worker *t, forward *f);                        /* keeps the embeddings of all rows */
/* The tokens' own slices of layers [first, end), for all rows or those that are wanted: out[row][layer][n_ple]. Not
 * inside of a pool_run. */
void ple_slices(forward *f, uint32_t first, uint32_t end, bool wanted_only, float *out);
void ple_project(const pool_worker *t, forward *f, uint32_t layer); /* y = proj @ (gelu(inp_gate @ x) * ple) */

#endif
