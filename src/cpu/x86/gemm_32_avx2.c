/* Many tokens times 8 rows of 32 blocks, AVX2 (contract, rule 1): each format is unpacked to one form (panels_avx2.h)
 * and multiplied by one function that the format's numbers shape. The contract's eight accumulators of every row and
 * token lie in the first cache.
 *
 * A panel's group: scales and minima, codes. */
#include "cpu/x86/panels_avx2.h"
#include "cpu/x86/unpack_32_avx2.h"

typedef struct panel32 {
    _Alignas(32) float scale[16][8]; /* of 8 blocks, then their minima; of 16 runs */
    uint8_t codes[];
} panel32;

/* MINIMUM: also fmaf(m * d_x, sum of x, acc). RUNS: scales for every 16 weights, whose accumulators take turns. */
typedef enum shape { PLAIN, MINIMUM, RUNS } shape;

/* acc = fmaf(d * d_x, sum, acc) for 8 rows */
PANEL_INLINE __m256 add_product(const float *d, __m256 dx, __m256i sum, __m256 acc) {
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(d), dx), _mm256_cvtepi32_ps(sum), acc);
}

typedef struct accumulators {
    __m256 of[8][MAX_TOKENS];
} accumulators;

/* One unit of weights, a block of 32 or a run of 16: unit j of a group. */
PANEL_INLINE void add_unit(const panel32 *p, tile_group x, size_t w, size_t t0, int n, int j, int planes, int chunk,
                           int offset, shape kind, accumulators *acc) {
    int steps = kind == RUNS ? 4 : 8, block = kind == RUNS ? j / 2 : j;
    __m256i isum[MAX_TOKENS];
    PANEL_UNROLL(6)
    for (int t = 0; t < n; t++) isum[t] = _mm256_setzero_si256();
    add_dots(p->codes + 32 * steps * j, x.q + (size_t)(steps * j) * w + t0, w, _mm256_set1_epi16(1), planes, chunk,
             steps, n, isum);
    /* the sums of 16 activations that belong to the unit */
    __m256i offsets =
        kind == RUNS ? _mm256_set1_epi32(j % 2 ? offset << 16 : offset) : _mm256_set1_epi16((short)offset);
    PANEL_UNROLL(6)
    for (int t = 0; t < n; t++) {
        size_t at = (size_t)block * w + t0 + (size_t)t;
        __m256 dx = _mm256_set1_ps(x.d[at]), *a = &acc->of[j % 8][t];
        __m256i sums = _mm256_set1_epi32(x.s16[at]), sum = isum[t];
        if (offset) sum = _mm256_sub_epi32(sum, _mm256_madd_epi16(sums, offsets));
        *a = add_product(p->scale[j], dx, sum, *a);
        if (kind == MINIMUM) *a = add_product(p->scale[8 + j], dx, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)), *a);
    }
}

/* Tokens [t0, t0 + n) of a tile of w. */
PANEL_INLINE void some_tokens(const uint8_t *panel, const void *tile, size_t n_cols, size_t w, size_t t0, int n,
                              int planes, int chunk, int offset, shape kind, float *out) {
    accumulators acc;
    memset(&acc, 0, sizeof acc);
    size_t unit = kind == RUNS ? 16 : 32;
    for (size_t col = 0; col < n_cols; col += CPU_GROUP, panel += sizeof(panel32) + (size_t)planes * PLANE_BYTES) {
        tile_group x = tile_at(tile, w, col / CPU_GROUP);
        size_t n_units = (n_cols - col < CPU_GROUP ? n_cols - col : CPU_GROUP) / unit;
        PANEL_UNROLL(1)
        for (size_t j = 0; j < n_units; j++)
            add_unit((const void *)panel, x, w, t0, n, (int)j, planes, chunk, offset, kind, &acc);
    }
    for (int t = 0; t < n; t++) {
        __m256 sum = acc.of[0][t];
        for (int i = 1; i < 8; i++) sum = _mm256_add_ps(sum, acc.of[i][t]);
        _mm256_storeu_ps(out + (t0 + (size_t)t) * CPU_PANEL, sum);
    }
}

/* ---- unpacking */

#include "cpu/x86/panels_32_row.h"

PANEL_INLINE void unpack_rows(const matrix *w, size_t row, size_t n_rows, uint8_t *panel, unpack_block_fn *unpack,
                              size_t block, size_t block_bytes, int planes) {
    _Alignas(32) uint8_t codes[CPU_PANEL][CPU_GROUP];
    memset(codes, 0, sizeof codes);
    for (size_t col = 0; col < w->n_cols; col += CPU_GROUP, panel += sizeof(panel32) + (size_t)planes * PLANE_BYTES) {
        panel32 *p = (void *)panel;
        size_t n = (w->n_cols - col < CPU_GROUP ? w->n_cols - col : CPU_GROUP) / block;
        if (n_rows < CPU_PANEL) memset(p, 0, sizeof *p);
        for (size_t r = 0; r < n_rows; r++)
            unpack_row(w->data + (row + r) * w->row_bytes + col / block * block_bytes, n, r, p, codes[r], unpack,
                       block, block_bytes);
        transpose_codes(codes, p->codes, 32);
        if (planes == 2) split_planes(p->codes);
    }
}

#define GEMM_32(name, block, planes, chunk, offset, kind)                                                            \
    static void panel_##name(const matrix *w, size_t row, size_t n_rows, void *panel) {                              \
        unpack_rows(w, row, n_rows, panel, unpack_##name, block, sizeof(block_##name), planes);                      \
    }                                                                                                                \
    static void tile_##name(const void *panel, const void *tile, size_t n_cols, size_t width, float *out) {          \
        if (width == 12) {                                                                                           \
            some_tokens(panel, tile, n_cols, 12, 0, 6, planes, chunk, offset, kind, out);                            \
            some_tokens(panel, tile, n_cols, 12, 6, 6, planes, chunk, offset, kind, out);                            \
        } else if (width == 8) {                                                                                     \
            some_tokens(panel, tile, n_cols, 8, 0, 4, planes, chunk, offset, kind, out);                             \
            some_tokens(panel, tile, n_cols, 8, 4, 4, planes, chunk, offset, kind, out);                             \
        } else                                                                                                       \
            some_tokens(panel, tile, n_cols, 4, 0, 4, planes, chunk, offset, kind, out);                             \
    }                                                                                                                \
    const cpu_gemm gemm_##name##_avx2 = {CPU_PANEL, sizeof(panel32) + planes * PLANE_BYTES, panel_##name,            \
                                         tile_##name};

/* Largest code: 15 in chunks of 8 steps, 31 of 4. */
GEMM_32(q4_0, 32, 1, 8, 8, PLAIN)
GEMM_32(q4_1, 32, 1, 8, 0, MINIMUM)
GEMM_32(q5_0, 32, 1, 4, 16, PLAIN)
GEMM_32(q5_1, 32, 1, 4, 0, MINIMUM)
GEMM_32(q8_0, 32, 2, 8, 128, PLAIN)
GEMM_32(iq4_nl, 32, 2, 8, 128, PLAIN)
GEMM_32(mxfp4, 32, 1, 4, 12, PLAIN)
GEMM_32(nvfp4, 64, 1, 4, 12, RUNS)
