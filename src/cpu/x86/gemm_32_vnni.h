/* Many tokens times a panel of rows of 32 blocks by vpdpbusd (contract, rule 1), in the way of gemm_32_avx2.c. The
 * contract's eight accumulators of every row and token lie in the first cache. Included after a vnni_ISA.h.
 *
 * A panel's group: scales and minima, codes. */
#include "cpu/x86/panels_vnni.h"

typedef struct panel32 {
    _Alignas(64) float scale[16][VNNI_ROWS]; /* of 8 blocks, then their minima; of 16 runs */
    uint8_t codes[CODE_BYTES];
} panel32;

/* MINIMUM: also fmaf(m * d_x, sum of x, acc). RUNS: scales for every 16 weights, whose accumulators take turns. */
typedef enum shape { PLAIN, MINIMUM, RUNS } shape;

/* acc = fmaf(d * d_x, sum, acc) */
PANEL_INLINE vecf add_product(const float *d, vecf dx, vec sum, vecf acc) {
    return vecf_fma(vecf_mul(vecf_load(d), dx), vecf_from(sum), acc);
}

typedef struct accumulators {
    vecf of[8][VNNI_TOKENS];
} accumulators;

/* A constant in both 16-bit halves of a register, or in the one that belongs to run j. */
PANEL_INLINE vec of_unit(int value, int j, shape kind) {
    if (kind == RUNS) return vec_of(j % 2 ? (int32_t)((uint32_t)value << 16) : value & 0xffff);
    return vec_of((int32_t)((uint32_t)(value & 0xffff) * 0x10001u));
}

/* One unit of weights, a block of 32 or a run of 16: unit j of a group. */
PANEL_INLINE void add_unit(const panel32 *p, tile_group x, size_t w, size_t t0, int n, int j, int offset, shape kind,
                           accumulators *acc) {
    int steps = kind == RUNS ? 4 : 8, block = kind == RUNS ? j / 2 : j;
    vec sum[VNNI_TOKENS], less = of_unit(-offset, j, kind), one = of_unit(1, j, kind);
    vnni_dots(p->codes + STEP_BYTES * steps * j, x.q + (size_t)(steps * j) * w + t0, w, steps, n, sum);
    PANEL_UNROLL(12)
    for (int t = 0; t < n; t++) {
        size_t at = (size_t)block * w + t0 + (size_t)t;
        vecf dx = vecf_of(x.d[at]), *a = &acc->of[j % 8][t];
        vec sums = vec_of(x.s16[at]); /* of 16 activations each */
        *a = add_product(p->scale[j], dx, offset ? vec_dot_16(sum[t], sums, less) : sum[t], *a);
        if (kind == MINIMUM) *a = add_product(p->scale[8 + j], dx, vec_dot_16(vec_zero(), sums, one), *a);
    }
}

/* Tokens [t0, t0 + n) of a tile of w. */
PANEL_INLINE void some_tokens(const panel32 *p, const void *tile, size_t n_cols, size_t w, size_t t0, int n,
                              int offset, shape kind, float *out) {
    accumulators acc;
    memset(&acc, 0, sizeof acc);
    size_t unit = kind == RUNS ? 16 : 32;
    for (size_t col = 0; col < n_cols; col += CPU_GROUP, p++) {
        tile_group x = tile_at(tile, w, col / CPU_GROUP);
        size_t n_units = (n_cols - col < CPU_GROUP ? n_cols - col : CPU_GROUP) / unit;
        PANEL_UNROLL(1)
        for (size_t j = 0; j < n_units; j++) add_unit(p, x, w, t0, n, (int)j, offset, kind, &acc);
    }
    for (int t = 0; t < n; t++) {
        vecf sum = acc.of[0][t];
        for (int i = 1; i < 8; i++) sum = vecf_add(sum, acc.of[i][t]);
        vecf_store(out + (t0 + (size_t)t) * VNNI_ROWS, sum);
    }
}

/* ---- unpacking */

#include "cpu/x86/panels_32_row.h"

PANEL_INLINE void unpack_rows(const matrix *w, size_t row, size_t n_rows, panel32 *p, unpack_block_fn *unpack,
                              size_t block, size_t block_bytes) {
    _Alignas(32) uint8_t codes[VNNI_ROWS][CPU_GROUP];
    memset(codes, 0, sizeof codes);
    for (size_t col = 0; col < w->n_cols; col += CPU_GROUP, p++) {
        size_t n = (w->n_cols - col < CPU_GROUP ? w->n_cols - col : CPU_GROUP) / block;
        if (n_rows < VNNI_ROWS) memset(p, 0, sizeof *p);
        for (size_t r = 0; r < n_rows; r++)
            unpack_row(w->data + (row + r) * w->row_bytes + col / block * block_bytes, n, r, p, codes[r], unpack,
                       block, block_bytes);
        vnni_transpose(codes, p->codes);
    }
}

#define GEMM_32(name, block, offset, kind)                                                                           \
    static void panel_##name(const matrix *w, size_t row, size_t n_rows, void *panel) {                              \
        unpack_rows(w, row, n_rows, panel, unpack_##name, block, sizeof(block_##name));                              \
    }                                                                                                                \
    static void tile_##name(const void *panel, const void *tile, size_t n_cols, size_t width, float *out) {          \
        if (width == 12) {                                                                                           \
            for (size_t t = 0; t < 12; t += VNNI_TOKENS)                                                             \
                some_tokens(panel, tile, n_cols, 12, t, VNNI_TOKENS, offset, kind, out);                             \
        } else {                                                                                                     \
            for (size_t t = 0; t < width; t += 4) some_tokens(panel, tile, n_cols, width, t, 4, offset, kind, out);  \
        }                                                                                                            \
    }                                                                                                                \
    const cpu_gemm VNNI_NAME(gemm_##name) = {VNNI_ROWS, sizeof(panel32), panel_##name, tile_##name};

GEMM_32(q4_0, 32, 8, PLAIN)
GEMM_32(q4_1, 32, 0, MINIMUM)
GEMM_32(q5_0, 32, 16, PLAIN)
GEMM_32(q5_1, 32, 0, MINIMUM)
GEMM_32(q8_0, 32, 128, PLAIN)
GEMM_32(iq4_nl, 32, 128, PLAIN)
GEMM_32(mxfp4, 32, 12, PLAIN)
GEMM_32(nvfp4, 64, 12, RUNS)
