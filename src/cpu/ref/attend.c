/* Attention over one span by the contract's rule 3, and the storing of keys and values, in plain C: the definition.
 */
#include <math.h>

#include "base/scalar_math.h"
#include "cpu/registry.h"

enum { MAX_PIECE = 256 }; /* values are read in pieces of this many floats */

static float add_tree(float lanes[CPU_LANES]) {
    for (int step = CPU_LANES / 2; step > 0; step /= 2) {
        for (int j = 0; j < step; j++) lanes[j] += lanes[j + step];
    }
    return lanes[0];
}

static const quant_format *kv_format(facet_kv_type type) {
    return quant_format_of(type == FACET_KV_Q8_0 ? QUANT_Q8_0 : type == FACET_KV_F32 ? QUANT_F32 : QUANT_F16);
}

void kv_store_ref(facet_kv_type type, const float *x, size_t head_dim, uint8_t *row) {
    const quant_format *f = kv_format(type);
    f->quantise(x, row, head_dim / f->block);
}

/* Elements [i, i + n) of the row of position `at`. */
static void read_row(const cpu_span *span, const uint8_t *const *pages, size_t at, size_t i, size_t n, float *out) {
    const quant_format *f = kv_format(span->type);
    const uint8_t *row = pages[at / CPU_PAGE] + at % CPU_PAGE * cpu_kv_row_bytes(span->type, span->head_dim);
    f->dequantise(row + i / f->block * f->block_bytes, out, n / f->block);
}

/* q . k by rule 2 */
static float score(const cpu_span *span, const float *query, size_t at) {
    float lanes[CPU_LANES] = {0}, key[MAX_PIECE];
    for (size_t i = 0; i < span->head_dim; i += MAX_PIECE) {
        size_t n = span->head_dim - i < MAX_PIECE ? span->head_dim - i : MAX_PIECE;
        read_row(span, span->keys, at, i, n, key);
        for (size_t k = 0; k < n; k++) lanes[k % CPU_LANES] = fmaf(query[i + k], key[k], lanes[k % CPU_LANES]);
    }
    return add_tree(lanes);
}

/* One accumulator per output, keys in order. */
static void add_values(const cpu_span *span, cpu_range range, const float *p, float *out) {
    float value[MAX_PIECE];
    for (size_t at = range.first; at < range.last; at++) {
        for (size_t i = 0; i < span->head_dim; i += MAX_PIECE) {
            size_t n = span->head_dim - i < MAX_PIECE ? span->head_dim - i : MAX_PIECE;
            read_row(span, span->values, at, i, n, value);
            for (size_t k = 0; k < n; k++) out[i + k] = fmaf(p[at], value[k], out[i + k]);
        }
    }
}

/* exp, but 0 where that would be denormal: such numbers cost a hundred cycles each on many machines */
static float weight_of(float x) { return x < CPU_WEIGHT_MIN ? 0.0f : math_exp(x); }

static void attend_one(const cpu_span *span, size_t q) {
    cpu_range range = span->ranges[q];
    float p[CPU_SPAN], max = -INFINITY, lanes[CPU_LANES] = {0};
    float *out = span->out + q * span->head_dim;
    for (size_t i = 0; i < span->head_dim; i++) out[i] = 0.0f;
    for (size_t at = range.first; at < range.last; at++) {
        p[at] = score(span, span->queries[q], at);
        max = math_max(p[at], max);
    }
    for (size_t at = range.first; at < range.last; at++) {
        p[at] = weight_of(p[at] - max);
        lanes[at % CPU_LANES] += p[at];
    }
    add_values(span, range, p, out);
    span->max[q] = max + 0.0f; /* a zero is +0: lanes find the largest in another order */
    span->sum[q] = add_tree(lanes);
}

void attend_ref(const cpu_span *span) {
    for (size_t q = 0; q < span->n_queries; q++) attend_one(span, q);
}

void attend_merge_ref(float *max, float *sum, float *out, float span_max, float span_sum, const float *span_out,
                      size_t head_dim) {
    float m = math_max(span_max, *max);
    float old = math_exp(*max - m), new = math_exp(span_max - m);
    *max = m;
    *sum = fmaf(*sum, old, span_sum * new);
    for (size_t i = 0; i < head_dim; i++) out[i] = fmaf(out[i], old, span_out[i] * new);
}

void attend_finish_ref(float sum, float *out, size_t head_dim) {
    for (size_t i = 0; i < head_dim; i++) out[i] /= sum;
}
