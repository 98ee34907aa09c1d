/* Many tokens times 8 rows of 32 blocks, ARM (contract, rule 1): each format is unpacked to one form (panels.h) and
 * multiplied by one function that the format's numbers shape. Included after a panels_ISA.h. The contract's eight
 * accumulators of every row and token lie in the first cache. */
#include "cpu/tmpl/codes32.h"

/* PLAIN: a scale for each 32 weights. MINIMUM: also fmaf(m * d_x, sum of x, acc). RUNS: scales of 16 weights, whose
 * accumulators take turns. */
typedef enum shape { PLAIN, MINIMUM, RUNS } shape;

typedef struct panel32 {
    _Alignas(32) float scale[16][CPU_PANEL]; /* of 8 blocks, then their minima; of 16 runs */
    int8_t codes[CODES_BYTES];
} panel32;

/* The sum of the activations of block j, for every row alike. */
PANEL_INLINE sums token_sums(tile_group x, int j) {
    int16x8_t pairs = vld1q_s16(x.s32 + (size_t)(j / 2 * 2) * x.w);
    int16x8_t those = j % 2 ? vuzp2q_s16(pairs, pairs) : vuzp1q_s16(pairs, pairs);
    int32x4_t s = vmovl_s16(vget_low_s16(those));
    sums out;
#define STEP(t) out.v[2 * t] = out.v[2 * t + 1] = vdupq_laneq_s32(s, t);
    FOR_TOKENS(STEP)
#undef STEP
    return out;
}

/* Units of weights, blocks of 32 or runs of 16: the first n of a group. */
PANEL_INLINE void add_group(const panel32 *p, tile_group x, int n, shape kind, products acc[8]) {
    int columns = kind == RUNS ? 16 : 32;
    for (int j = 0; j < n; j++) {
        float32x4_t dx = vld1q_f32(x.d + (size_t)(kind == RUNS ? j / 2 : j) * x.w);
        sums sum = by_rows(dot_columns(p->codes, x, j * columns, columns));
        products a = add_products(acc[j % 8], p->scale[j], dx, sum);
        acc[j % 8] = kind == MINIMUM ? add_products(a, p->scale[8 + j], dx, token_sums(x, j)) : a;
    }
}

/* 0..7 in order */
PANEL_INLINE products add_in_order(const products acc[8]) {
    products sum = acc[0];
    for (int i = 1; i < 8; i++) {
#define STEP(k) sum.v[k] = vaddq_f32(sum.v[k], acc[i].v[k]);
        EIGHT_TIMES(STEP)
#undef STEP
    }
    return sum;
}

PANEL_INLINE void multiply(const panel32 *panel, const void *tile, size_t n_cols, size_t w, shape kind, float *out) {
    products acc[MAX_FOURS][8];
    memset(acc, 0, sizeof acc);
    for (size_t g = 0; g < cpu_n_groups(n_cols); g++) {
        size_t left = n_cols - g * CPU_GROUP, n = (left < CPU_GROUP ? left : CPU_GROUP) / (kind == RUNS ? 16 : 32);
        for (size_t i = 0; i < w / 4; i++) add_group(panel + g, tile_at(tile, w, g, 4 * i), (int)n, kind, acc[i]);
    }
    for (size_t i = 0; i < w / 4; i++) store_products(add_in_order(acc[i]), out + i * 4 * CPU_PANEL);
}

/* ---- unpacking */

/* Block i of a row's group into row r of a panel's: scales and codes. */
typedef void unpack_block_fn(const uint8_t *block, size_t i, size_t r, panel32 *p, int8_t *code);

PANEL_INLINE void unpack_rows(const matrix *w, size_t row, size_t n_rows, panel32 *p, unpack_block_fn *unpack,
                              size_t block, size_t block_bytes) {
    int8_t codes[CPU_PANEL][CPU_GROUP];
    for (size_t col = 0; col < w->n_cols; col += CPU_GROUP, p++) {
        size_t n = (w->n_cols - col < CPU_GROUP ? w->n_cols - col : CPU_GROUP) / block;
        if (n_rows < CPU_PANEL || n < CPU_GROUP / block) {
            memset(p, 0, sizeof *p);
            memset(codes, 0, sizeof codes);
        }
        for (size_t r = 0; r < n_rows; r++) {
            const uint8_t *data = w->data + (row + r) * w->row_bytes + col / block * block_bytes;
            for (size_t i = 0; i < n; i++) unpack(data + i * block_bytes, i, r, p, codes[r] + i * block);
        }
        place_codes(codes, p->codes);
    }
}

#define UNPACK_32(name, minimum)                                                                                     \
    static inline void unpack_block_##name(const uint8_t *block, size_t i, size_t r, panel32 *p, int8_t *code) {     \
        codes32 c = {.m = 0};                                                                                        \
        codes32_##name((const void *)block, &c);                                                                     \
        memcpy(code, c.code, 32);                                                                                    \
        p->scale[i][r] = c.d;                                                                                        \
        if (minimum) p->scale[8 + i][r] = c.m;                                                                       \
    }
UNPACK_32(q4_0, false)
UNPACK_32(q4_1, true)
UNPACK_32(q5_0, false)
UNPACK_32(q5_1, true)
UNPACK_32(q8_0, false)
UNPACK_32(iq4_nl, false)
UNPACK_32(mxfp4, false)

static inline void unpack_block_nvfp4(const uint8_t *block, size_t i, size_t r, panel32 *p, int8_t *code) {
    codes64 c;
    codes64_nvfp4((const void *)block, &c);
    memcpy(code, c.code, 64);
    for (size_t j = 0; j < 4; j++) p->scale[4 * i + j][r] = c.d[j];
}

#define GEMM_32(name, block, kind)                                                                                   \
    static void unpack_##name(const matrix *w, size_t row, size_t n_rows, void *panel) {                             \
        unpack_rows(w, row, n_rows, panel, unpack_block_##name, block, sizeof(block_##name));                        \
    }                                                                                                                \
    static void tile_##name(const void *panel, const void *tile, size_t n_cols, size_t width, float *out) {          \
        multiply(panel, tile, n_cols, width, kind, out);                                                             \
    }                                                                                                                \
    const cpu_gemm PANEL_NAME(gemm_##name) = {CPU_PANEL, sizeof(panel32), unpack_##name, tile_##name};

GEMM_32(q4_0, 32, PLAIN)
GEMM_32(q4_1, 32, MINIMUM)
GEMM_32(q5_0, 32, PLAIN)
GEMM_32(q5_1, 32, MINIMUM)
GEMM_32(q8_0, 32, PLAIN)
GEMM_32(iq4_nl, 32, PLAIN)
GEMM_32(mxfp4, 32, PLAIN)
GEMM_32(nvfp4, 64, RUNS)
