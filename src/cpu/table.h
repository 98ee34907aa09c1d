/* The table of kernels and the layout of prepared inputs. For src/cpu, its tests and its bench alone: everybody else
 * sees cpu.h. Knows nothing of how a kernel works. */
#ifndef FACET_CPU_TABLE_H
#define FACET_CPU_TABLE_H

#include "cpu/cpu.h"

/* 256 activations of one token, quantised: one block of 256 (its scale is d[0]) or eight blocks of 32. Behind the end
 * of a row codes and sums are 0 and scales are -0.0, so that fmaf(d * -0.0, 0, acc) leaves any acc as it is. */
typedef struct cpu_group {
    _Alignas(32) int8_t q[256];
    int16_t s16[16]; /* sums of 16 codes */
    int16_t s32[8];  /* sums of 32 codes */
    float d[8];
} cpu_group;

/* Layouts of an input of n_cols activations and n_tokens tokens (input.c):
 * rows    one token after another: CPU_INPUT_F32: n_cols floats, then -0.0 up to a multiple of CPU_LANES; quantised:
 *         groups.
 * packed  quantised inputs of many tokens: tiles of CPU_TILE tokens (the last: 4, 8 or 12, tokens that do not exist
 *         are zeros). A tile of w tokens is, group after group: codes [64][w][4], s16 [8][w][2], s32 [4][w][2],
 *         d [8][w]. So a kernel with rows of weights in its lanes reads one token's part by broadcasting 32 bits. */
enum { CPU_LANES = 16, CPU_GROUP = 256, CPU_TILE = 12, CPU_GROUP_BYTES = 256 + 32 + 16 + 32 };

static inline size_t cpu_n_groups(size_t n_cols) { return (n_cols + CPU_GROUP - 1) / CPU_GROUP; }
static inline size_t cpu_tile_width(size_t n_tokens) { /* of a tile that starts n_tokens before the end */
    return n_tokens >= CPU_TILE ? CPU_TILE : (n_tokens + 3) / 4 * 4;
}

/* One full group of activations; d of the last n_blocks - 8 blocks is not the kernel's affair. */
typedef void cpu_quantise_fn(const float x[CPU_GROUP], cpu_group *out);

/* out[i] = row (row + i) of w times one prepared token in row layout */
typedef void cpu_gemv_fn(const matrix *w, size_t row, size_t n_rows, const void *x, float *out);

/* Products for packed inputs. A panel is CPU_PANEL or CPU_PANEL_MAX rows, unpacked for all tokens; rows that do not
 * exist are zeros. */
enum { CPU_PANEL = 8, CPU_PANEL_MAX = 16 };
typedef struct cpu_gemm {
    size_t n_rows;      /* of a panel */
    size_t group_bytes; /* of a panel, for 256 columns */
    void (*unpack)(const matrix *w, size_t row, size_t n_rows, void *panel);
    /* out[t * n_rows + i], for the `width` tokens of a tile */
    void (*tile)(const void *panel, const void *tile, size_t n_cols, size_t width, float *out);
} cpu_gemm;

/* What gemm_float may use of its scratch; never less than CPU_FLOAT_ROWS rows of floats. */
enum { CPU_FLOAT_ROWS = 4, CPU_FLOAT_ROWS_BYTES = 96 * 1024 };

/* out[t * ldo + i] = row (row + i) of w times token t of a packed tile of at most CPU_FEW tokens */
enum { CPU_FEW = 8 };
typedef void cpu_few_fn(const matrix *w, size_t row, size_t n_rows, const void *tile, size_t n_tokens, float *out,
                        size_t ldo);

/* out[t * ldo + i] = row (row + i) of w times token t of 2 to CPU_ROWS_TOKENS in row layout, `stride` bytes apart */
enum { CPU_ROWS_TOKENS = 4 };
typedef void cpu_rows_fn(const matrix *w, size_t row, size_t n_rows, const void *x, size_t stride, size_t n_tokens,
                         float *out, size_t ldo);

struct cpu_table {
    uint32_t used; /* FACET_CPU_ bits */
    /* quantised inputs of at least this many tokens are packed */
    size_t packed_min[CPU_N_INPUTS];
    cpu_quantise_fn *quantise[CPU_N_INPUTS];
    cpu_gemv_fn *gemv[QUANT_N_TYPES];
    cpu_rows_fn *rows[QUANT_N_TYPES]; /* NULL: gemv for each token */
    /* NULL: packed tokens are taken apart and multiplied by gemv */
    const cpu_gemm *gemm[QUANT_N_TYPES];
    cpu_few_fn *few[QUANT_N_TYPES]; /* NULL: gemm */
    void (*gemm_float)(const matrix *w, size_t row, size_t n_rows, const float *x, size_t ldx, size_t n_tokens,
                       float *out, size_t ldo, void *scratch); /* NULL: gemv for each token */

    void (*rms_norm)(const float *x, const float *w, float eps, size_t n, float *out);
    void (*rms_norm_add)(const float *x, const float *w, float eps, size_t n, float *residual);
    void (*scale)(float *x, float s, size_t n);
    void (*add)(float *x, const float *y, size_t n);
    void (*add_scaled)(float *x, const float *y, float s, size_t n);
    void (*lora_add)(const matrix *b, size_t row, size_t n_rows, const float *t, size_t n_tokens, float s, float *y,
                     size_t ldy);
    void (*gelu_mul)(const float *gate, const float *up, size_t n, float *out);
    void (*soft_cap)(float *x, float cap, size_t n);
    void (*softmax)(float *x, size_t n);
    void (*rope_angles)(int32_t position, const float *inv_freq, size_t n, float *cosine, float *sine);
    void (*rope)(float *x, const float *cosine, const float *sine, size_t n);
    void (*kv_store)(facet_kv_type type, const float *x, size_t head_dim, uint8_t *row);
    void (*attend)(const cpu_span *span);
    void (*attend_merge)(float *max, float *sum, float *out, float span_max, float span_sum, const float *span_out,
                         size_t head_dim);
    void (*attend_finish)(float sum, float *out, size_t head_dim);
};

/* Attention: exp(score - max) counts as 0 below this difference, the last where exp is not denormal (contract, 3). */
#define CPU_WEIGHT_MIN (-0x1.5d589ep+6f)

/* The registry, from kernels.def: every kernel that this build has for this kind of machine. */
typedef void cpu_any_fn(void);
typedef struct cpu_kernel {
    const char *name;
    uint32_t isa;  /* one FACET_CPU_ bit, or FACET_CPU_REFERENCE */
    size_t member; /* offset in cpu_table */
    union {
        cpu_any_fn *fn;
        const void *data;
    } value;
} cpu_kernel;
const cpu_kernel *cpu_kernels(size_t *n);
/* Puts a kernel into its place. */
void cpu_table_put(cpu_table *cpu, const cpu_kernel *kernel);
/* The reference in every place. */
void cpu_table_reference(cpu_table *cpu);
/* Whether the tables agree bit for bit on fixed inputs in the one place `member`. (NaNs are alike.) check.c */
bool cpu_check(const cpu_table *reference, const cpu_table *candidate, size_t member);
/* Equal bits; NaNs are alike. */
bool cpu_same_floats(const float *a, const float *b, size_t n);

/* input.c */
size_t cpu_row_stride(cpu_input kind, size_t n_cols); /* bytes of a token in row layout */
static inline bool cpu_is_packed(const cpu_table *cpu, cpu_input kind, size_t n_tokens) {
    return n_tokens >= cpu->packed_min[kind];
}
/* Token t of a packed input in row layout. */
void cpu_input_unpack(size_t n_cols, size_t n_tokens, const void *input, size_t t, cpu_group *row);

#endif
