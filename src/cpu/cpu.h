/* What the model's forward pass asks of the CPU: products with quantised weights, and the float steps between them.
 * Owns: the table of kernels that was chosen for this machine, and the layout of prepared inputs. Knows nothing of
 * models, sequences or threads: every function works on the rows or tokens it is given and may run on any thread.
 *
 * THE NUMERIC CONTRACT is stated in docs/contract.md. ref/ is its definition in plain C; every other kernel equals it
 * bit for bit. */
#ifndef FACET_CPU_CPU_H
#define FACET_CPU_CPU_H

#include "base/error.h"
#include "quant/format.h"

/* A weight matrix where it lies: n_rows rows of n_cols weights, each row_bytes long, any alignment. */
typedef struct matrix {
    const uint8_t *data; /* NULL: there is no such matrix */
    const quant_format *format;
    size_t n_rows, n_cols;
    size_t row_bytes;
} matrix;

/* How activations are prepared for a product (contract, rule 1: quantised in blocks of 256 or 32; rule 2: floats). */
typedef enum cpu_input { CPU_INPUT_F32, CPU_INPUT_Q8_256, CPU_INPUT_Q8_32, CPU_N_INPUTS } cpu_input;

/* One query's view of a span: keys [first, last) of its at most CPU_SPAN positions. first == last: sees none. */
enum { CPU_PAGE = 64, CPU_SPAN = 512, CPU_SPAN_PAGES = CPU_SPAN / CPU_PAGE, CPU_SPAN_QUERIES = 64 };
typedef struct cpu_range {
    uint16_t first, last;
} cpu_range;

/* Attention of n_queries queries over one span of one KV head (contract, rule 3). */
typedef struct cpu_span {
    facet_kv_type type;
    size_t head_dim;
    /* per page of the span the first row of this head's keys and values: [CPU_PAGE] rows of kv_row_bytes. Pages that
     * no range touches may be NULL. */
    const uint8_t *keys[CPU_SPAN_PAGES];
    const uint8_t *values[CPU_SPAN_PAGES];
    size_t n_queries;            /* 1..CPU_SPAN_QUERIES */
    const float *const *queries; /* [n_queries] -> [head_dim] */
    const cpu_range *ranges;     /* [n_queries] */
    /* results: per query the span's maximum score, sum of exponentials, and weighted sum of values */
    float *max; /* [n_queries]; -INFINITY where the range is empty */
    float *sum; /* [n_queries] */
    float *out; /* [n_queries][head_dim] */
} cpu_span;

/* The chosen kernels. Plain C fills it, instruction sets overwrite what they do better. */
typedef struct cpu_table cpu_table;

/* Fills a table for the instruction sets that this machine has, `allowed` (FACET_CPU_ bits) permits, and that pass
 * the comparison with the reference on fixed blocks. `used` receives the sets in use. */
facet_status cpu_table_new(cpu_table **out, uint32_t allowed, uint32_t *used, facet_error *err);
void cpu_table_free(cpu_table *cpu);
uint32_t cpu_detect(void); /* FACET_CPU_ bits of this machine */

/* ---- products: out = W x for many tokens.
 * An input is prepared once and used by any number of matrices of the same n_cols whose format wants that kind. Its
 * layout is the table's affair and depends on (kind, n_cols, n_tokens). */
cpu_input cpu_input_for(const cpu_table *cpu, quant_type type);
size_t cpu_input_bytes(const cpu_table *cpu, cpu_input kind, size_t n_cols, size_t n_tokens); /* multiple of 64 */
/* Tokens are prepared in groups of this many: split the work at its multiples. */
size_t cpu_input_grain(const cpu_table *cpu, cpu_input kind, size_t n_tokens);
/* Prepares tokens [t0, t1) of n_tokens; token t is the row x + (index ? index[t] : t) * ldx (ldx in floats). `input`
 * is the whole buffer of cpu_input_bytes, aligned to 64. */
void cpu_input_prepare(const cpu_table *cpu, cpu_input kind, const float *x, size_t ldx, const uint32_t *index,
                       size_t n_cols, size_t n_tokens, size_t t0, size_t t1, void *input);
/* Whether rows of n_cols floats, one behind the other, are an input of that kind as they lie. */
bool cpu_input_in_place(const cpu_table *cpu, cpu_input kind, size_t n_cols);
/* Rows are computed in groups of this many: split the work at its multiples for speed (any split is correct). */
size_t cpu_matmul_grain(const cpu_table *cpu, quant_type type, size_t n_tokens);
/* out[t * ldo + r] for rows r in [r0, r1) and all n_tokens of the input. `scratch`: cpu_scratch_bytes, aligned to 64,
 * one per thread. */
void cpu_matmul(const cpu_table *cpu, const matrix *w, size_t r0, size_t r1, const void *input, size_t n_tokens,
                float *out, size_t ldo, void *scratch);
size_t cpu_scratch_bytes(const cpu_table *cpu, size_t max_cols);
/* One row as floats: embedding rows. */
void cpu_row(const matrix *w, size_t row, float *out);

/* ---- float steps. n need not be a multiple of anything; x and out may be the same. */
/* out = (x * (1 / sqrtf(ss / n + eps))) * w; w NULL: without weight */
void cpu_rms_norm(const cpu_table *cpu, const float *x, const float *w, float eps, size_t n, float *out);
/* residual += RMSNorm(x; w) */
void cpu_rms_norm_add(const cpu_table *cpu, const float *x, const float *w, float eps, size_t n, float *residual);
void cpu_scale(const cpu_table *cpu, float *x, float s, size_t n);                      /* x *= s */
void cpu_add(const cpu_table *cpu, float *x, const float *y, size_t n);                 /* x += y */
void cpu_add_scaled(const cpu_table *cpu, float *x, const float *y, float s, size_t n); /* x = fmaf(s, y, x) */
/* y_i[r] = fmaf(s, row (row + r) of b . t_i, y_i[r]) for r < n_rows and all tokens i: the dot product with one
 * accumulator, elements in order (contract, rule 5). t: [n_tokens][b->n_cols], y: [n_tokens] rows ldy apart. b is
 * F32, F16 or BF16. */
void cpu_lora_add(const cpu_table *cpu, const matrix *b, size_t row, size_t n_rows, const float *t, size_t n_tokens,
                  float s, float *y, size_t ldy);
/* out = gelu(gate) * up, gelu by the tanh formula */
void cpu_gelu_mul(const cpu_table *cpu, const float *gate, const float *up, size_t n, float *out);
void cpu_soft_cap(const cpu_table *cpu, float *x, float cap, size_t n); /* x = cap * tanh(x / cap) */
void cpu_softmax(const cpu_table *cpu, float *x, size_t n);             /* contract, rule 3's lanes */
/* cos and sin of (float)position * inv_freq[i] for n pairs */
void cpu_rope_angles(const cpu_table *cpu, int32_t position, const float *inv_freq, size_t n, float *cosine,
                     float *sine);
/* rotates the pairs (x[i], x[i + n]) */
void cpu_rope(const cpu_table *cpu, float *x, const float *cosine, const float *sine, size_t n);

/* ---- attention */
size_t cpu_kv_row_bytes(facet_kv_type type, size_t head_dim); /* 0 when the type cannot hold that size */
void cpu_kv_store(const cpu_table *cpu, facet_kv_type type, const float *x, size_t head_dim, uint8_t *row);
void cpu_kv_load(facet_kv_type type, const uint8_t *row, size_t head_dim, float *x);
void cpu_attend(const cpu_table *cpu, const cpu_span *span);
/* Merges a span's result into the running one (max -INFINITY, sum 0, out zeros at first), spans in index order:
 * m' = max(m, mi); sum' = fmaf(sum, exp(m - m'), sum_i * exp(mi - m')); outputs likewise. Empty spans change nothing.
 */
void cpu_attend_merge(const cpu_table *cpu, float *max, float *sum, float *out, float span_max, float span_sum,
                      const float *span_out, size_t head_dim);
/* out /= sum: the attention's result */
void cpu_attend_finish(const cpu_table *cpu, float sum, float *out, size_t head_dim);

#endif
