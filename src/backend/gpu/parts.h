/* The insides of a pass on a device, shared by its files. Private to backend/gpu. */
#ifndef FACET_BACKEND_GPU_PARTS_H
#define FACET_BACKEND_GPU_PARTS_H

#include "backend/gpu/gpu.h"
#include "backend/gpu/rows.h"
#include "backend/gpu/text.h"

/* Kernels beside the products. */
/* clang-format off */
#define GPU_STEPS(X) \
    X(residual_norm) \
    X(quantise) \
    X(gelu_mul) \
    X(soft_cap) \
    X(gather_rows) \
    X(ple_combine) \
    X(router_input) \
    X(choose_experts) \
    X(combine_experts) \
    X(lora_low) \
    X(lora_add)
/* clang-format on */
#define GPU_ATTENTION(X) X(finish_heads) X(attend) X(attend_merge)
#define GPU_HEADS(X)     X(finish_lanes) X(score_keys) X(sum_values) X(merge_parts) X(attend_tiles)

/* Spans of single heads that attention computes side by side at most. */
enum { GPU_PARTIALS = 4096 };
/* Of devices with warps: queries of a tile; the fewest rows of a sequence in a step for which tiles are made; floats
 * for scores between two launches, unless one row needs more. */
enum { GPU_TILE = 16, GPU_TILE_ROWS = 64, GPU_SCORES = 4 << 20 };

/* A product's programs: one token, PRODUCT_TOKENS together, slots of experts. */
enum { PRODUCT_ONE, PRODUCT_MANY, PRODUCT_EXPERTS, PRODUCT_VARIANTS, PRODUCT_TOKENS = 8, PRODUCT_SPLIT = 8 };

/* And those of products with many tokens: by how many a group computes. */
enum { TILES_NARROW, TILES_WIDE, TILES_EXPERTS, TILES_VARIANTS };

typedef struct gpu_matrix {
    const weight *of; /* NULL: the matrix is not on the device */
    gpu_buffer words;
    quant_type type;
    rows_input input;
    size_t row_words, n_blocks, n_rows, n_cols;
    size_t expert_groups; /* groups of 32 rows of one expert */
    int scale_at;         /* in vectors, or -1 */
} gpu_matrix;

/* Places in `vectors`, -1: there is none. */
typedef struct gpu_layer {
    int attn_norm, attn_q_norm, attn_k_norm, post_attention_norm, ffn_norm, post_ffw_norm, output_scale, post_norm;
    int router_scale, down_scale, pre_ffw_norm_2, post_ffw_norm_1, post_ffw_norm_2;
    uint64_t kv_at; /* of an owning layer in a page of its kind */
} gpu_layer;

/* Which pages of the KV cache are on the device. */
typedef struct gpu_places {
    int32_t *of_page; /* [the cache's pages]: a place, NO_PAGE */
    int32_t *pages;   /* [n]: the page at a place, NO_PAGE at holes */
    size_t n;
    int32_t *holes; /* places to be used first, highest below */
    size_t n_holes;
} gpu_places;

/* Activations as products want them. */
typedef struct gpu_input {
    const gpu_buffer *x;
    gpu_buffer codes[ROWS_N_INPUTS], scales[ROWS_N_INPUTS], sums[ROWS_N_INPUTS];
} gpu_input;

/* Attention of one kind of layers (KV_FULL, KV_SLIDING) on a device with warps. */
typedef struct gpu_heads {
    gpu_program *program; /* NULL: the kernels for any device do it */
#define X(name) gpu_kernel *name;
    GPU_HEADS(X)
#undef X
    size_t together;     /* query heads of a KV head that a group computes together */
    size_t rows_of_tile; /* with all heads of a KV head, as far as a tile takes them */
} gpu_heads;

/* How attention is shared out among groups, for the rows of one part of the layers. Which rows go alone and which in
 * tiles stands in the buffer `rows`, behind the rows. */
typedef struct gpu_shares {
    size_t n_single, single_at;
    size_t n_tiles[2], tiles_at[2];               /* by kind of layer */
    size_t first_span[2], n_spans[2], longest[2]; /* of all rows; the most spans of one row */
} gpu_shares;

typedef struct gpu_adapter gpu_adapter;
typedef struct gpu_decode_program gpu_decode_program;
struct check;

/* A product that was launched, for its adapters. */
typedef struct gpu_product_call {
    const weight *w;
    size_t first_row, n_rows, n_tokens;
    size_t per_row; /* slots that read one row of the activations */
    const gpu_buffer *out;
    size_t ldo;
} gpu_product_call;

struct gpu {
    gpu_device *device;
    const hparams *h;
    const weights *w;
    const cpu_table *cpu;
    pool *threads;
    gpu_options options;
    size_t ubatch;
    facet_kv_type kv_type;
    uint64_t bytes;
    facet_status status; /* the first failure of a step; everything after it is left out */
    facet_error error;

    size_t group, product_rows; /* work items of ordinary kernels; rows of a product's group */
    gpu_program *steps_program, *attention_program, *product_programs[QUANT_N_TYPES][PRODUCT_VARIANTS][2];
    gpu_kernel *product_kernels[QUANT_N_TYPES][PRODUCT_VARIANTS][2]; /* for buffers, for images */
    bool dot[QUANT_N_TYPES];                                         /* with packed inner products */
    gpu_decode_program *decode_programs;
    gpu_program *tile_programs[QUANT_N_TYPES][TILES_VARIANTS], *grouping_program;
    gpu_kernel *tile_kernels[QUANT_N_TYPES][TILES_VARIANTS], *group_slots;
    bool without_tiles[QUANT_N_TYPES]; /* matrix instructions for many tokens were given up */
    struct check *check;               /* not NULL: launches are left out, see check_decode.c */
#define X(name) gpu_kernel *name;
    GPU_STEPS(X)
    GPU_ATTENTION(X)
#undef X
    gpu_heads heads[KV_KINDS];
    size_t tile_rows; /* GPU_TILE_ROWS */

    gpu_matrix *matrices; /* [w->n_matrices] by weight.index */
    gpu_buffer vectors;
    size_t n_vectors;  /* floats */
    gpu_layer *layers; /* [n_layer] */
    int output_norm, ple_norm;

    /* keys and values */
    const kv_cache *kv;
    gpu_buffer pool;
    uint64_t pool_bytes, sliding_at; /* where sliding pages are counted from */
    size_t n_pages[KV_KINDS];        /* of a kind alone, at most */
    uint64_t page_bytes[KV_KINDS];
    gpu_places places[KV_KINDS];
    const kv_copy *pending; /* copies of the cache's that were not made yet */
    size_t n_pending;

    /* a step's rows */
    size_t n_rows, n_wanted;
    gpu_buffer rows[2]; /* [ubatch][4] of all rows, of those that stay to the end; then lists, see gpu_shares */
    gpu_buffer index;   /* [ubatch] the wanted rows */
    gpu_buffer tables, angles;
    size_t tables_capacity; /* ints */
    uint32_t *table_at;     /* [ubatch] where each segment's begin */
    int32_t *host_ints;     /* of rows, index and tables, before they are sent */
    float *host_floats;     /* angles, or slices of the per-layer embeddings, before they are sent */
    size_t angle_width, pairs[2];
    uint32_t part_first[2], part_end[2]; /* layers before and behind the point where rows leave */
    int part;                            /* the present one */
    gpu_shares shares[2];                /* by part */

    gpu_buffer x, x_other, gathered, x0, normed, y, q, q_gathered, k, v, ff, up, hidden, logits;
    gpu_buffer ple_a[2], ple[2], ple_rows; /* by part */
    gpu_buffer *x_now, *q_now;             /* x and q, or gathered and q_gathered */
    gpu_buffer *x_spare;                   /* for the next x_now */
    gpu_buffer partial, scores;
    size_t n_partials; /* of single heads */
    size_t scores_floats;
    gpu_input input;
    size_t n_hidden;
    float *host_hidden;           /* [ubatch][n_embd] */
    const lora_set **hidden_sets; /* [ubatch] */

    /* adapters */
    gpu_adapter *adapters;
    uint64_t step;  /* counts the steps */
    gpu_buffer low; /* A x */
    size_t low_rank;
    const lora_set **all_sets;       /* [ubatch] of all rows */
    const lora_set *const *row_sets; /* of the rows at hand; NULL: nobody has any */
    size_t n_row_sets;

    /* experts */
    gpu_buffer order, tiles; /* slots by expert: cuda/kernels/experts.cu */
    gpu_buffer router, e, chosen, factor, slot_mid, slot_both, slot_out;
};

#define GPU_BUF(b)  gpu_arg_buffer(&(b))
#define GPU_PTR(b)  gpu_arg_buffer(b)
#define GPU_IMG(b)  gpu_arg_image(b)
#define GPU_I(i)    gpu_arg_int((int64_t)(i))
#define GPU_F(f)    gpu_arg_float(f)
#define GPU_WIDE(w) gpu_arg_wide(w)
/* A launch that does nothing after a failure; its own failure is kept in g->status. */
#define GPU_LAUNCH(g, kernel, groups_x, groups_y, group, ...)                                                        \
    gpu_launch(g, kernel, groups_x, groups_y, group, (const gpu_argument[]){__VA_ARGS__},                            \
               sizeof((const gpu_argument[]){__VA_ARGS__}) / sizeof(gpu_argument))
void gpu_launch(gpu *g, gpu_kernel *k, size_t groups_x, size_t groups_y, size_t group, const gpu_argument *arguments,
                size_t n_arguments);
/* Around the launches of a step. */
void gpu_begin(gpu *g);
void gpu_end(gpu *g);
void gpu_write(gpu *g, const gpu_buffer *to, const void *data, size_t n_bytes);
void gpu_read_at(gpu *g, const gpu_buffer *from, size_t first, float *out, size_t n_floats);

static inline size_t gpu_groups(size_t n, size_t group) { return (n + group - 1) / group; }

/* ---- programs.c */
facet_status gpu_programs_open(gpu *g, facet_error *err);
void gpu_programs_close(gpu *g);
/* A program of the dialect and the texts behind it. */
enum { GPU_MOST_TEXTS = 16 };
facet_status gpu_program_build(gpu *g, gpu_program **out, const char *name, const char *defines,
                               const gpu_text *texts, size_t n_texts, facet_error *err);
/* Of the matrices' formats, once they are known; those that are there stay. */
facet_status gpu_products_open(gpu *g, facet_error *err);
void gpu_products_close(gpu *g, quant_type type);

/* ---- ways.c: what products of a device can have beyond the plain way */
void gpu_ways_open(gpu *g);
/* One way less for a format, whose programs are closed then. Returns which; NULL: it was the plain one already. */
const char *gpu_ways_give_up(gpu *g, quant_type type);

/* ---- pages.c */
facet_status gpu_pages_open(gpu *g, const kv_cache *kv, bool only_count, facet_error *err);
void gpu_pages_close(gpu *g);
/* A page as tables name it; NO_PAGE: it is not on the device. */
int32_t gpu_page_number(const gpu *g, int kind, int32_t page);

/* ---- memory.c: everything else in the device's memory but weights is carved here; see there */
facet_status gpu_memory_open(gpu *g, const kv_cache *kv, bool only_count, facet_error *err);
void gpu_memory_close(gpu *g);

/* ---- upload.c */
facet_status gpu_weights_open(gpu *g, bool only_count, facet_error *err);
facet_status gpu_weights_upload(gpu *g, facet_error *err);
void gpu_weights_close(gpu *g);
/* Allocates, or counts. */
facet_status gpu_take(gpu *g, gpu_buffer *out, uint64_t n_bytes, bool only_count, facet_error *err);

/* ---- product.c */
/* x as the products of the matrices (NULL: none) want it. */
void gpu_prepare(gpu *g, const gpu_buffer *x, size_t n_tokens, size_t n_cols, const weight *const *list, size_t n);
/* out[t * ldo + r] = row first_row + r of w . token t, r < n_rows; from what gpu_prepare made. */
void gpu_product(gpu *g, const weight *w, size_t first_row, size_t n_rows, size_t n_tokens, const gpu_buffer *out,
                 size_t ldo);
/* The same for slots of experts: slot s belongs to the expert chosen[s] and to the prepared token s / per_row. */
void gpu_product_slots(gpu *g, const weight *w, size_t n_slots, size_t per_row, const gpu_buffer *out, size_t ldo);

/* ---- attention.c: launches, but for the first */
/* Sends the n rows that stand in host_ints, four ints each as kernels/pages.cl has it, for a part of the layers. */
void gpu_send_rows(gpu *g, int part, size_t n);
/* The norms and angles of the projections q, k, v; k and v go to the cache. */
void gpu_finish_heads(gpu *g, uint32_t layer);
/* The rows' results take the place of their queries. */
void gpu_attend(gpu *g, uint32_t layer);

/* ---- join.c: products that share their input, with what stands before and behind them */

/* Where the input comes from: rows of a buffer, or the stream (`values` NULL): x += RMSNorm(y; after), x *= scale,
 * input = RMSNorm(x; before), as far as these are there (places in vectors). */
typedef struct gpu_from {
    const gpu_buffer *values;
    int after, scale, before;
} gpu_from;

static inline gpu_from gpu_values(const gpu_buffer *values) { return (gpu_from){values, -1, -1, -1}; }
static inline gpu_from gpu_stream(int after, int scale, int before) { return (gpu_from){NULL, after, scale, before}; }

/* What becomes of the results. */
typedef enum gpu_ending {
    GPU_PLAIN,    /* each product goes to its own place */
    GPU_GATED,    /* the first takes gelu(first) * second, row by row */
    GPU_EMBEDDED, /* gelu(product) * the layer's part of the per-layer embeddings */
    GPU_CAPPED,   /* cap * tanh(product / cap) */
} gpu_ending;

/* out[t][r] = row first_row + r of w . input t, r < n_rows */
typedef struct gpu_join_product {
    const weight *w;
    size_t first_row, n_rows;
    const gpu_buffer *out;
} gpu_join_product;

typedef struct gpu_join {
    gpu_from from;
    gpu_ending ending;
    gpu_join_product products[3];
    size_t n, n_tokens;
    size_t per_row; /* experts: tokens are slots, so many of which share a row of the input; 0: no experts */
    const gpu_buffer *halves; /* GPU_GATED from the halves of one matrix: where they may be kept */
    uint32_t layer;           /* of GPU_EMBEDDED */
} gpu_join;

void gpu_compute(gpu *g, const gpu_join *j);
/* By a launch for each step. */
void gpu_compute_steps(gpu *g, const gpu_join *j);
/* What `from` does to the stream, without a product; its input goes to `out`. */
void gpu_settle(gpu *g, gpu_from from, const gpu_buffer *out);

/* ---- decode.c: the same in one launch, for few tokens on devices with warps */
/* False: it is not for these products; nothing was done. */
bool gpu_decode(gpu *g, const gpu_join *j);
void gpu_decode_close(gpu *g);
/* Its program, made if need be; NULL: there is none. */
gpu_decode_program *gpu_decode_find(gpu *g, const gpu_join *j);
/* True once. */
bool gpu_decode_is_new(gpu_decode_program *p);
void gpu_decode_give_up(gpu *g, gpu_decode_program *p, const char *why);

/* ---- tiles.c: products with many tokens on devices with matrix instructions */
facet_status gpu_tiles_open(gpu *g, const gpu_matrix *m, facet_error *err);
void gpu_tiles_close(gpu *g, quant_type type);
/* Whether so many tokens, or slots of experts, are computed that way. */
bool gpu_uses_tiles(const gpu *g, const gpu_matrix *m, size_t n_tokens);
size_t gpu_most_tiles(const gpu *g, size_t n_slots);
/* Sorts the slots by expert, for all products of the layer. */
void gpu_group_slots(gpu *g, size_t n_slots);
void gpu_tile_product(gpu *g, const gpu_product_call *p);

/* ---- layers.c: launches only */
void gpu_layers(gpu *g);
void gpu_logits(gpu *g, const gpu_buffer *hidden, size_t n_rows);

/* ---- adapters.c */
void gpu_adapters_close(gpu *g);
/* A step begins, or a head: makes sure that the sets' adapters are on the device. */
void gpu_adapters_begin(gpu *g, const lora_set *const *sets, size_t n);
/* Some of the present rows have adapters. */
bool gpu_adapted(const gpu *g);
/* What the present rows' adapters add to a product. */
void gpu_adapt(gpu *g, const gpu_product_call *p);

/* ---- check.c: the self-test */
facet_status gpu_check(gpu *g, facet_error *err);

#endif
