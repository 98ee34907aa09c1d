/* The second half of an adapter's product for NEON (contract, rule 5). The contract has one accumulator for each
 * output, so outputs are in the lanes: sixteen rows and a chunk of the rank at a time are turned into columns, and
 * every token then runs over these. */
#include "cpu/arm/lanes_neon.h"

#include <string.h>

#include "cpu/registry.h"

enum { CHUNK = 256, TOKENS = 8 };

/* columns[quarter][k]: item k of the quarter's four rows */
typedef float columns[CPU_LANES / 4][CHUNK][4];

static inline lanes load_items(quant_type type, const uint8_t *p) {
    if (type == QUANT_F16) return lanes_load_f16(p);
    return type == QUANT_BF16 ? lanes_load_bf16(p) : lanes_load_f32(p);
}

/* n items of a row as floats, without touching what is behind them */
static void get_floats(const matrix *b, const uint8_t *p, size_t n, float *out) {
    size_t item_bytes = b->format->block_bytes, whole = n / CPU_LANES * CPU_LANES;
    uint8_t last[CPU_LANES * 4] = {0};
    for (size_t k = 0; k < whole; k += CPU_LANES)
        lanes_store(out + k, load_items(b->format->type, p + k * item_bytes));
    if (whole == n) return;
    memcpy(last, p + whole * item_bytes, (n - whole) * item_bytes);
    lanes_store(out + whole, load_items(b->format->type, last));
}

/* Items [k, k + n) of sixteen rows. */
static void get_columns(const matrix *b, size_t row, size_t k, size_t n, columns out) {
    const uint8_t *p = b->data + row * b->row_bytes + k * b->format->block_bytes;
    float rows[4][CHUNK];
    for (size_t i = 0; i < CPU_LANES / 4; i++) {
        for (size_t r = 0; r < 4; r++) get_floats(b, p + (4 * i + r) * b->row_bytes, n, rows[r]);
        for (size_t c = 0; c < n; c += 4) {
            float32x4x4_t v = {
                {vld1q_f32(rows[0] + c), vld1q_f32(rows[1] + c), vld1q_f32(rows[2] + c), vld1q_f32(rows[3] + c)}};
            vst4q_f32(out[i][c], v); /* turns them */
        }
    }
}

static lanes add_chunk(columns c, size_t n, const float *t, lanes acc) {
    for (size_t k = 0; k < n; k++) {
        lanes column = {vld1q_f32(c[0][k]), vld1q_f32(c[1][k]), vld1q_f32(c[2][k]), vld1q_f32(c[3][k])};
        acc = lanes_fma(column, lanes_of(t[k]), acc);
    }
    return acc;
}

/* Sixteen rows for a few tokens. `c` holds the columns already where `ready`. */
static void add_tile(const matrix *b, size_t row, columns c, bool ready, const float *t, size_t n_tokens, float s,
                     float *y, size_t ldy) {
    lanes acc[TOKENS];
    size_t rank = b->n_cols;
    for (size_t i = 0; i < n_tokens; i++) acc[i] = lanes_of(0.0f);
    for (size_t k = 0; k < rank; k += CHUNK) {
        size_t n = rank - k < CHUNK ? rank - k : CHUNK;
        if (!ready) get_columns(b, row, k, n, c);
        for (size_t i = 0; i < n_tokens; i++) acc[i] = add_chunk(c, n, t + i * rank + k, acc[i]);
    }
    for (size_t i = 0; i < n_tokens; i++)
        lanes_store(y + i * ldy, lanes_fma(lanes_of(s), acc[i], lanes_load(y + i * ldy)));
}

void lora_add_neon(const matrix *b, size_t row, size_t n_rows, const float *t, size_t n_tokens, float s, float *y,
                   size_t ldy) {
    columns c;
    size_t whole = n_rows / CPU_LANES * CPU_LANES;
    for (size_t r = 0; r < whole; r += CPU_LANES) {
        for (size_t i = 0; i < n_tokens; i += TOKENS) {
            size_t n = n_tokens - i < TOKENS ? n_tokens - i : TOKENS;
            add_tile(b, row + r, c, i > 0 && b->n_cols <= CHUNK, t + i * b->n_cols, n, s, y + i * ldy + r, ldy);
        }
    }
    if (whole < n_rows) lora_add_ref(b, row + whole, n_rows - whole, t, n_tokens, s, y + whole, ldy);
}
