/* Products with float weights by the contract's rule 2, in sixteen lanes: one token times rows, and many tokens.
 * Included after a lanes_ISA.h. Lanes run along the row, so that activations need no other layout; several rows (or
 * rows and tokens) at a time keep the adders busy, whose results come late. */
#include <string.h>

#include "cpu/registry.h"

enum { GEMV_ROWS = 4, TILE_ROWS = LANES_TILE_ROWS, TILE_TOKENS = LANES_TILE_COLS };

typedef lanes load_fn(const uint8_t *p);

/* The last n < 16 weights of a row, then zeros: with activations of -0.0 behind the end they change nothing. */
LANES_INLINE lanes load_tail(load_fn *load, size_t weight_bytes, const uint8_t *p, size_t n) {
    uint8_t padded[CPU_LANES * 4] = {0};
    memcpy(padded, p, n * weight_bytes);
    return load(padded);
}

LANES_INLINE void rows_times_token(load_fn *load, size_t weight_bytes, const uint8_t *data, size_t row_bytes,
                                   size_t n_rows, size_t n_cols, const float *x, float *out) {
    lanes acc[GEMV_ROWS];
    size_t whole = n_cols / CPU_LANES * CPU_LANES;
    for (size_t r = 0; r < n_rows; r++) acc[r] = lanes_of(0.0f);
    for (size_t i = 0; i < whole; i += CPU_LANES) {
        lanes v = lanes_load(x + i);
        for (size_t r = 0; r < n_rows; r++)
            acc[r] = lanes_fma(load(data + r * row_bytes + i * weight_bytes), v, acc[r]);
    }
    if (whole < n_cols) {
        lanes v = lanes_load(x + whole);
        for (size_t r = 0; r < n_rows; r++) {
            const uint8_t *p = data + r * row_bytes + whole * weight_bytes;
            acc[r] = lanes_fma(load_tail(load, weight_bytes, p, n_cols - whole), v, acc[r]);
        }
    }
    for (size_t r = 0; r < n_rows; r++) out[r] = lanes_sum(acc[r]);
}

#define FLOAT_GEMV(name, load, weight_bytes)                                                                         \
    void LANES_NAME(gemv_##name)(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {            \
        const uint8_t *data = w->data + row * w->row_bytes;                                                          \
        size_t r = 0;                                                                                                \
        for (; r + GEMV_ROWS <= n_rows; r += GEMV_ROWS)                                                              \
            rows_times_token(load, weight_bytes, data + r * w->row_bytes, w->row_bytes, GEMV_ROWS, w->n_cols, x,     \
                             out + r);                                                                               \
        for (; r < n_rows; r++)                                                                                      \
            rows_times_token(load, weight_bytes, data + r * w->row_bytes, w->row_bytes, 1, w->n_cols, x, out + r);   \
    }
FLOAT_GEMV(f32, lanes_load_f32, 4)
FLOAT_GEMV(f16, lanes_load_f16, 2)
FLOAT_GEMV(bf16, lanes_load_bf16, 2)

/* ---- many tokens: rows are first turned to floats, a tile of them at a time */

LANES_INLINE void convert_row(load_fn *load, size_t weight_bytes, const uint8_t *p, size_t n, float *out) {
    size_t whole = n / CPU_LANES * CPU_LANES;
    for (size_t i = 0; i < whole; i += CPU_LANES) lanes_store(out + i, load(p + i * weight_bytes));
    if (whole < n) lanes_store(out + whole, load_tail(load, weight_bytes, p + whole * weight_bytes, n - whole));
}

static void row_to_floats(const matrix *w, size_t row, float *out) {
    const uint8_t *p = w->data + row * w->row_bytes;
    size_t n = w->n_cols;
    switch (w->format->type) {
    case QUANT_F32: convert_row(lanes_load_f32, 4, p, n, out); break;
    case QUANT_F16: convert_row(lanes_load_f16, 2, p, n, out); break;
    case QUANT_BF16: convert_row(lanes_load_bf16, 2, p, n, out); break;
    default: w->format->dequantise(p, out, n / w->format->block); break; /* a multiple of the lanes */
    }
}

/* n is a multiple of the lanes */
LANES_INLINE void float_tile(const float *w, size_t ldw, size_t n_rows, const float *x, size_t ldx, size_t n_tokens,
                             size_t n, float *out, size_t ldo) {
    lanes acc[TILE_ROWS][TILE_TOKENS];
    for (size_t r = 0; r < n_rows; r++)
        for (size_t t = 0; t < n_tokens; t++) acc[r][t] = lanes_of(0.0f);
    for (size_t i = 0; i < n; i += CPU_LANES) {
        for (size_t t = 0; t < n_tokens; t++) {
            lanes v = lanes_load(x + t * ldx + i);
            for (size_t r = 0; r < n_rows; r++) acc[r][t] = lanes_fma(lanes_load(w + r * ldw + i), v, acc[r][t]);
        }
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t t = 0; t < n_tokens; t++) out[t * ldo + r] = lanes_sum(acc[r][t]);
}

static void rows_times_tokens(const float *w, size_t ldw, size_t n_rows, const float *x, size_t ldx, size_t n_tokens,
                              size_t n, float *out, size_t ldo) {
    size_t t = 0;
    if (n_rows == TILE_ROWS) {
        for (; t + TILE_TOKENS <= n_tokens; t += TILE_TOKENS)
            float_tile(w, ldw, TILE_ROWS, x + t * ldx, ldx, TILE_TOKENS, n, out + t * ldo, ldo);
        for (; t < n_tokens; t++) float_tile(w, ldw, TILE_ROWS, x + t * ldx, ldx, 1, n, out + t * ldo, ldo);
        return;
    }
    for (size_t r = 0; r < n_rows; r++, w += ldw, out++) {
        for (t = 0; t + TILE_TOKENS <= n_tokens; t += TILE_TOKENS)
            float_tile(w, ldw, 1, x + t * ldx, ldx, TILE_TOKENS, n, out + t * ldo, ldo);
        for (; t < n_tokens; t++) float_tile(w, ldw, 1, x + t * ldx, ldx, 1, n, out + t * ldo, ldo);
    }
}

/* As many rows as stay in the second cache, so that the tokens pass by less often; n_floats each. */
static size_t rows_at_once(size_t n_floats) {
    size_t n = CPU_FLOAT_ROWS_BYTES / (n_floats * sizeof(float)) / TILE_ROWS * TILE_ROWS;
    return n ? n : TILE_ROWS;
}

void LANES_NAME(gemm_float)(const matrix *w, size_t row, size_t n_rows, const float *x, size_t ldx, size_t n_tokens,
                            float *out, size_t ldo, void *scratch) {
    float *rows = scratch;
    size_t most = rows_at_once(ldx);
    for (size_t r = 0; r < n_rows; r += most) {
        size_t n = n_rows - r < most ? n_rows - r : most;
        for (size_t i = 0; i < n; i++) row_to_floats(w, row + r + i, rows + i * ldx);
        for (size_t t = 0; t < n_tokens; t += TILE_TOKENS) {
            size_t n_t = n_tokens - t < TILE_TOKENS ? n_tokens - t : TILE_TOKENS;
            for (size_t i = 0; i < n; i += TILE_ROWS)
                rows_times_tokens(rows + i * ldx, ldx, n - i < TILE_ROWS ? n - i : TILE_ROWS, x + t * ldx, ldx, n_t,
                                  ldx, out + t * ldo + r + i, ldo);
        }
    }
}
