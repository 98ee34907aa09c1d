/* Many tokens times 8 rows of 256 blocks, ARM (contract, rule 1): each format is unpacked to one form (panels.h) with
 * its own sub-scales, and multiplied by one function that the format's numbers shape. Included after a panels_ISA.h.
 *
 * A panel is walked once for all tokens of a tile, so that a group of it stays in the first cache. */
#include "cpu/tmpl/codes256.h"

typedef struct panel256 {
    _Alignas(32) float d[CPU_PANEL];
    float dmin[CPU_PANEL];
    int16_t scale[16][CPU_PANEL];
    int16_t minimum[16][CPU_PANEL];
    int8_t codes[CODES_BYTES];
} panel256;

/* msum: minimum times sum of activations, by `run` columns (16 or 32) */
PANEL_INLINE sums minima_sums(const panel256 *p, tile_group x, int run) {
    sums m = no_sums();
    const int16_t *pairs = run == 16 ? x.s16 : x.s32;
    for (int j = 0; j < 256 / run; j += 2) {
        int16x8_t s = vld1q_s16(pairs + (size_t)j * x.w); /* of runs j and j + 1 of each token */
        int16x8_t a = vld1q_s16(p->minimum[j]), b = vld1q_s16(p->minimum[j + 1]);
#define STEP(t)                                                                                                      \
    m.v[2 * t] = vmlal_laneq_s16(m.v[2 * t], vget_low_s16(a), s, 2 * t);                                             \
    m.v[2 * t + 1] = vmlal_high_laneq_s16(m.v[2 * t + 1], a, s, 2 * t);                                              \
    m.v[2 * t] = vmlal_laneq_s16(m.v[2 * t], vget_low_s16(b), s, 2 * t + 1);                                         \
    m.v[2 * t + 1] = vmlal_high_laneq_s16(m.v[2 * t + 1], b, s, 2 * t + 1);
        FOR_TOKENS(STEP)
#undef STEP
    }
    return m;
}

/* One group for four tokens. `run` columns share a scale; `minima`: so many share a minimum, or 0. */
PANEL_INLINE void add_group(const panel256 *p, tile_group x, int run, int minima, products *acc) {
    sums isum = no_sums();
    for (int c = 0; c < 256; c += run) isum = add_scaled(isum, dot_columns(p->codes, x, c, run), p->scale[c / run]);
    float32x4_t dx = vld1q_f32(x.d);
    products sum = add_products(*acc, p->d, dx, by_rows(isum));
    if (minima) sum = take_products(sum, p->dmin, dx, minima_sums(p, x, minima));
    *acc = sum;
}

PANEL_INLINE void multiply(const panel256 *panel, const void *tile, size_t n_cols, size_t w, int run, int minima,
                           float *out) {
    products acc[MAX_FOURS];
    memset(acc, 0, sizeof acc);
    for (size_t g = 0; g < n_cols / 256; g++) {
        for (size_t i = 0; i < w / 4; i++) add_group(panel + g, tile_at(tile, w, g, 4 * i), run, minima, acc + i);
    }
    for (size_t i = 0; i < w / 4; i++) store_products(acc[i], out + i * 4 * CPU_PANEL);
}

/* ---- unpacking */

typedef void unpack_block_fn(const uint8_t *block, codes256 *out);

/* codes256 names scales and minima by 16 columns. */
PANEL_INLINE void put_row(panel256 *p, size_t r, const codes256 *c, int run, int minima) {
    for (int j = 0; j < 256 / run; j++) p->scale[j][r] = c->scale[j * run / 16];
    for (int j = 0; minima && j < 256 / minima; j++) p->minimum[j][r] = c->minimum[j * minima / 16];
    p->d[r] = c->d;
    p->dmin[r] = c->dmin;
}

PANEL_INLINE void unpack_rows(const matrix *w, size_t row, size_t n_rows, panel256 *p, unpack_block_fn *unpack,
                              size_t block_bytes, int run, int minima) {
    int8_t codes[CPU_PANEL][CPU_GROUP];
    memset(codes, 0, sizeof codes);
    for (size_t g = 0; g < w->n_cols / 256; g++, p++) {
        if (n_rows < CPU_PANEL) memset(p, 0, sizeof *p);
        for (size_t r = 0; r < n_rows; r++) {
            codes256 c = {.dmin = 0};
            unpack(w->data + (row + r) * w->row_bytes + g * block_bytes, &c);
            memcpy(codes[r], c.code, CPU_GROUP);
            put_row(p, r, &c, run, minima);
        }
        place_codes(codes, p->codes);
    }
}

#define GEMM_256(name, run, minima)                                                                                  \
    static inline void unpack_block_##name(const uint8_t *block, codes256 *out) {                                    \
        codes256_##name((const void *)block, out);                                                                   \
    }                                                                                                                \
    static void unpack_##name(const matrix *w, size_t row, size_t n_rows, void *panel) {                             \
        unpack_rows(w, row, n_rows, panel, unpack_block_##name, sizeof(block_##name), run, minima);                  \
    }                                                                                                                \
    static void tile_##name(const void *panel, const void *tile, size_t n_cols, size_t width, float *out) {          \
        multiply(panel, tile, n_cols, width, run, minima, out);                                                      \
    }                                                                                                                \
    const cpu_gemm PANEL_NAME(gemm_##name) = {CPU_PANEL, sizeof(panel256), unpack_##name, tile_##name};

GEMM_256(q2_k, 16, 16)
GEMM_256(q3_k, 16, 0)
GEMM_256(q4_k, 32, 32)
GEMM_256(q5_k, 32, 32)
GEMM_256(q6_k, 16, 0)
GEMM_256(iq4_xs, 32, 0)
GEMM_256(tq1_0, 256, 0)
GEMM_256(tq2_0, 256, 0)
