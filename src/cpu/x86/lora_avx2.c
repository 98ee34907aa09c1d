/* The second half of an adapter's product for AVX2. The contract has one accumulator for each output, so outputs are
 * in the lanes: rows are turned into columns, sixteen rows and a chunk of the rank at a time, and every token then
 * runs over these columns. Ranks are small: the turning is what costs, so that 16-bit formats are turned before they
 * become floats, at half the shuffles. */
#include <immintrin.h>
#include <string.h>

#include "cpu/registry.h"

enum { ROWS = 16, CHUNK = 256, TOKENS = 8 };

/* columns[k][row] */
typedef float columns[CHUNK][ROWS];

/* Turns 16 rows of 8 items of 16 bits: out[k] holds item k of all rows. */
static inline void turn_16(const uint8_t *p, size_t row_bytes, __m256i out[8]) {
    __m256i v[8], a[8], b[8];
    for (int i = 0; i < 8; i++) {
        __m128i low = _mm_loadu_si128((const void *)(p + (size_t)i * row_bytes));
        __m128i high = _mm_loadu_si128((const void *)(p + (size_t)(i + 8) * row_bytes));
        v[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    }
    for (int i = 0; i < 4; i++) { /* items 0..3 and 4..7 of two rows */
        a[2 * i] = _mm256_unpacklo_epi16(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi16(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) { /* two items of four rows each */
        const __m256i *x = a + 4 * i;
        b[4 * i] = _mm256_unpacklo_epi32(x[0], x[2]);
        b[4 * i + 1] = _mm256_unpackhi_epi32(x[0], x[2]);
        b[4 * i + 2] = _mm256_unpacklo_epi32(x[1], x[3]);
        b[4 * i + 3] = _mm256_unpackhi_epi32(x[1], x[3]);
    }
    for (int i = 0; i < 4; i++) {
        out[2 * i] = _mm256_unpacklo_epi64(b[i], b[i + 4]);
        out[2 * i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 4]);
    }
}

/* Turns 8 rows of 8 floats. */
static inline void turn_32(const uint8_t *p, size_t row_bytes, float (*out)[ROWS]) {
    __m256 v[8], a[8], b[8];
    for (int i = 0; i < 8; i++) v[i] = _mm256_loadu_ps((const void *)(p + (size_t)i * row_bytes));
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        const __m256 *x = a + 4 * i;
        b[4 * i] = _mm256_shuffle_ps(x[0], x[2], 0x44);
        b[4 * i + 1] = _mm256_shuffle_ps(x[0], x[2], 0xee);
        b[4 * i + 2] = _mm256_shuffle_ps(x[1], x[3], 0x44);
        b[4 * i + 3] = _mm256_shuffle_ps(x[1], x[3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out[i], _mm256_permute2f128_ps(b[i], b[i + 4], 0x20));
        _mm256_storeu_ps(out[i + 4], _mm256_permute2f128_ps(b[i], b[i + 4], 0x31));
    }
}

typedef void turn_fn(const uint8_t *p, size_t row_bytes, float (*out)[ROWS]);

static inline void turn_f16(const uint8_t *p, size_t row_bytes, float (*out)[ROWS]) {
    __m256i v[8];
    turn_16(p, row_bytes, v);
    for (int k = 0; k < 8; k++) {
        _mm256_storeu_ps(out[k], _mm256_cvtph_ps(_mm256_castsi256_si128(v[k])));
        _mm256_storeu_ps(out[k] + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(v[k], 1)));
    }
}

static inline __m256 bf16(__m128i v) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16)); }
static inline void turn_bf16(const uint8_t *p, size_t row_bytes, float (*out)[ROWS]) {
    __m256i v[8];
    turn_16(p, row_bytes, v);
    for (int k = 0; k < 8; k++) {
        _mm256_storeu_ps(out[k], bf16(_mm256_castsi256_si128(v[k])));
        _mm256_storeu_ps(out[k] + 8, bf16(_mm256_extracti128_si256(v[k], 1)));
    }
}

static inline void turn_f32(const uint8_t *p, size_t row_bytes, float (*out)[ROWS]) {
    float half[8][ROWS];
    turn_32(p, row_bytes, out);
    turn_32(p + 8 * row_bytes, row_bytes, half);
    for (int k = 0; k < 8; k++) _mm256_storeu_ps(out[k] + 8, _mm256_loadu_ps(half[k]));
}

/* The last n < 8 items of each row, without touching what is behind them. */
static inline void turn_tail(turn_fn *turn, size_t item_bytes, const uint8_t *p, size_t row_bytes, size_t n,
                             float (*out)[ROWS]) {
    uint8_t padded[ROWS][32] = {{0}};
    float turned[8][ROWS];
    for (size_t i = 0; i < ROWS; i++) memcpy(padded[i], p + i * row_bytes, n * item_bytes);
    turn(padded[0], sizeof padded[0], turned);
    memcpy(out, turned, n * sizeof *out);
}

static inline void turn_rows(turn_fn *turn, size_t item_bytes, const uint8_t *p, size_t row_bytes, size_t n,
                             float (*out)[ROWS]) {
    size_t k = 0;
    for (; k + 8 <= n; k += 8) turn(p + k * item_bytes, row_bytes, out + k);
    if (k < n) turn_tail(turn, item_bytes, p + k * item_bytes, row_bytes, n - k, out + k);
}

static void get_columns(const matrix *b, size_t row, size_t k, size_t n, columns out) {
    size_t item_bytes = b->format->block_bytes;
    const uint8_t *p = b->data + row * b->row_bytes + k * item_bytes;
    switch (b->format->type) {
    case QUANT_F16: turn_rows(turn_f16, 2, p, b->row_bytes, n, out); break;
    case QUANT_BF16: turn_rows(turn_bf16, 2, p, b->row_bytes, n, out); break;
    default: turn_rows(turn_f32, 4, p, b->row_bytes, n, out); break;
    }
}

static inline void add_chunk(columns c, size_t n, const float *t, float acc[ROWS]) {
    __m256 x = _mm256_loadu_ps(acc), y = _mm256_loadu_ps(acc + 8);
    for (size_t k = 0; k < n; k++) {
        __m256 v = _mm256_broadcast_ss(t + k);
        x = _mm256_fmadd_ps(_mm256_loadu_ps(c[k]), v, x);
        y = _mm256_fmadd_ps(_mm256_loadu_ps(c[k] + 8), v, y);
    }
    _mm256_storeu_ps(acc, x);
    _mm256_storeu_ps(acc + 8, y);
}

static inline void finish(const float acc[ROWS], float s, float *y) {
    __m256 factor = _mm256_set1_ps(s);
    for (int i = 0; i < ROWS; i += 8)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, _mm256_loadu_ps(acc + i), _mm256_loadu_ps(y + i)));
}

/* Sixteen rows for a few tokens. `c` holds the columns already where `ready`. */
static void add_tile(const matrix *b, size_t row, columns c, bool ready, const float *t, size_t n_tokens, float s,
                     float *y, size_t ldy) {
    float acc[TOKENS][ROWS] = {{0}};
    size_t rank = b->n_cols;
    for (size_t k = 0; k < rank; k += CHUNK) {
        size_t n = rank - k < CHUNK ? rank - k : CHUNK;
        if (!ready) get_columns(b, row, k, n, c);
        for (size_t i = 0; i < n_tokens; i++) add_chunk(c, n, t + i * rank + k, acc[i]);
    }
    for (size_t i = 0; i < n_tokens; i++) finish(acc[i], s, y + i * ldy);
}

/* ---- one token: nothing is turned twice, so nothing needs to be kept */

typedef __m256 widen_fn(__m128i v);
static inline __m256 widen_f16(__m128i v) { return _mm256_cvtph_ps(v); }

/* Sixteen rows of a 16-bit format, rank a multiple of 8. */
static inline void add_one_16(widen_fn *widen, const matrix *b, size_t row, const float *t, float s, float *y) {
    const uint8_t *p = b->data + row * b->row_bytes;
    __m256 low = _mm256_setzero_ps(), high = low, factor = _mm256_set1_ps(s);
    for (size_t k = 0; k < b->n_cols; k += 8) {
        __m256i v[8];
        turn_16(p + 2 * k, b->row_bytes, v);
        for (size_t j = 0; j < 8; j++) {
            __m256 x = _mm256_broadcast_ss(t + k + j);
            low = _mm256_fmadd_ps(widen(_mm256_castsi256_si128(v[j])), x, low);
            high = _mm256_fmadd_ps(widen(_mm256_extracti128_si256(v[j], 1)), x, high);
        }
    }
    _mm256_storeu_ps(y, _mm256_fmadd_ps(factor, low, _mm256_loadu_ps(y)));
    _mm256_storeu_ps(y + 8, _mm256_fmadd_ps(factor, high, _mm256_loadu_ps(y + 8)));
}

/* Runs are short, a few thousand bytes: too short for the hardware to get ahead. */
static inline void prefetch_rows(const matrix *b, size_t row) {
    enum { AHEAD = 2048, LINE = 64 };
    uintptr_t p = (uintptr_t)b->data + row * b->row_bytes + AHEAD;
    for (size_t i = 0; i < ROWS * b->row_bytes; i += LINE) _mm_prefetch((const char *)(p + i), _MM_HINT_T0);
}

/* n_rows is a multiple of 16. False: a case for the tiles. */
static bool add_one_token(const matrix *b, size_t row, size_t n_rows, const float *t, float s, float *y) {
    quant_type type = b->format->type;
    if (b->n_cols % 8 || type == QUANT_F32) return false;
    for (size_t r = 0; r < n_rows; r += ROWS) {
        prefetch_rows(b, row + r);
        if (type == QUANT_F16)
            add_one_16(widen_f16, b, row + r, t, s, y + r);
        else
            add_one_16(bf16, b, row + r, t, s, y + r);
    }
    return true;
}

void lora_add_avx2(const matrix *b, size_t row, size_t n_rows, const float *t, size_t n_tokens, float s, float *y,
                   size_t ldy) {
    columns c;
    size_t whole = n_rows / ROWS * ROWS;
    bool done = n_tokens == 1 && add_one_token(b, row, whole, t, s, y);
    for (size_t r = 0; !done && r < whole; r += ROWS) {
        for (size_t i = 0; i < n_tokens; i += TOKENS) {
            size_t n = n_tokens - i < TOKENS ? n_tokens - i : TOKENS;
            add_tile(b, row + r, c, i > 0 && b->n_cols <= CHUNK, t + i * b->n_cols, n, s, y + i * ldy + r, ldy);
        }
    }
    if (whole < n_rows) lora_add_ref(b, row + whole, n_rows - whole, t, n_tokens, s, y + whole, ldy);
}
