/* Many tokens times 8 rows of 256 blocks, AVX2 (contract, rule 1): each format is unpacked to one form
 * (panels_avx2.h) with its own sub-scales, and multiplied by one function that the format's numbers shape.
 *
 * A panel's group: d and dmin [8], the sub-scales [16][8 rows][2], the terms that go with the sums of the activations
 * (minima, or scale times the codes' offset) [8 pairs][8 rows][2], codes. */
#include "cpu/x86/panels_avx2.h"
#include "cpu/x86/unpack_256_avx2.h"

typedef struct panel256 {
    _Alignas(32) float d[8];
    float dmin[8];
    int16_t scale[16][8][2];
    int16_t term[8][8][2];
    uint8_t codes[];
} panel256;

/* What the terms are. OFFSET: they come off isum. MINIMA: they are msum. */
typedef enum term { OFFSET_16, OFFSET_32, MINIMA_16, MINIMA_32 } term;

PANEL_INLINE bool by_16(term kind) { return kind == OFFSET_16 || kind == MINIMA_16; }

/* sum over the pairs of sub-blocks: term times sum of activations */
PANEL_INLINE __m256i term_sum(const panel256 *p, tile_group x, size_t w, size_t t, term kind) {
    const int32_t *sums = by_16(kind) ? x.s16 : x.s32;
    __m256i sum = _mm256_setzero_si256();
    size_t n = by_16(kind) ? 8 : 4;
    PANEL_UNROLL(8)
    for (size_t j = 0; j < n; j++)
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(load_panel(p->term[j]), _mm256_set1_epi32(sums[j * w + t])));
    return sum;
}

/* The contract's step from one block to the next. */
PANEL_INLINE __m256 end_block(const panel256 *p, tile_group x, size_t w, size_t t, term kind, __m256i isum,
                              __m256 acc) {
    __m256 dx = _mm256_set1_ps(x.d[t]), d = _mm256_mul_ps(_mm256_load_ps(p->d), dx);
    __m256i terms = term_sum(p, x, w, t, kind);
    if (kind == OFFSET_16 || kind == OFFSET_32) isum = _mm256_sub_epi32(isum, terms);
    acc = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(isum), acc);
    if (kind == OFFSET_16 || kind == OFFSET_32) return acc;
    return _mm256_fnmadd_ps(_mm256_mul_ps(_mm256_load_ps(p->dmin), dx), _mm256_cvtepi32_ps(terms), acc);
}

/* Tokens [t0, t0 + n) of a tile of w. */
PANEL_INLINE void some_tokens(const uint8_t *panel, const void *tile, size_t n_groups, size_t w, size_t t0, int n,
                              int planes, int chunk, int sub, term kind, float *out) {
    __m256 acc[MAX_TOKENS];
    for (int t = 0; t < n; t++) acc[t] = _mm256_setzero_ps();
    for (size_t g = 0; g < n_groups; g++, panel += sizeof(panel256) + (size_t)planes * PLANE_BYTES) {
        const panel256 *p = (const void *)panel;
        tile_group x = tile_at(tile, w, g);
        __m256i isum[MAX_TOKENS];
        PANEL_UNROLL(6)
        for (int t = 0; t < n; t++) isum[t] = _mm256_setzero_si256();
        PANEL_UNROLL(1)
        for (int j = 0; j < 256 / sub; j++) {
            int k = j * sub / 4;
            add_dots(p->codes + 32 * k, x.q + (size_t)k * w + t0, w, load_panel(p->scale[j]), planes, chunk, sub / 4,
                     n, isum);
        }
        for (int t = 0; t < n; t++) acc[t] = end_block(p, x, w, t0 + (size_t)t, kind, isum[t], acc[t]);
    }
    for (int t = 0; t < n; t++) _mm256_storeu_ps(out + (t0 + (size_t)t) * CPU_PANEL, acc[t]);
}

/* ---- unpacking */

/* Scales and terms of row r. */
PANEL_INLINE void put_scales(panel256 *p, int r, const scales256 *s, int sub, int offset, term kind) {
    _Alignas(32) int16_t scale[16], terms[16];
    __m256i v = _mm256_cvtepi8_epi16(s->scale), t = _mm256_mullo_epi16(v, _mm256_set1_epi16((short)offset));
    if (kind == MINIMA_16 || kind == MINIMA_32) t = _mm256_cvtepu8_epi16(s->minimum);
    _mm256_store_si256((__m256i *)(void *)scale, v);
    _mm256_store_si256((__m256i *)(void *)terms, t);
    for (int j = 0; j < 256 / sub; j++) p->scale[j][r][0] = p->scale[j][r][1] = scale[j];
    for (int j = 0; j < (by_16(kind) ? 8 : 4); j++) {
        p->term[j][r][0] = terms[2 * j];
        p->term[j][r][1] = terms[2 * j + 1];
    }
    p->d[r] = s->d;
    p->dmin[r] = s->dmin;
}

typedef void unpack_block_fn(const uint8_t *block, uint8_t *code, scales256 *s);

PANEL_INLINE void unpack_rows(const matrix *w, size_t row, size_t n_rows, uint8_t *panel, unpack_block_fn *unpack,
                              size_t block_bytes, int planes, int sub, int offset, term kind) {
    _Alignas(32) uint8_t codes[CPU_PANEL][CPU_GROUP];
    memset(codes, 0, sizeof codes);
    for (size_t g = 0; g < w->n_cols / 256; g++, panel += sizeof(panel256) + (size_t)planes * PLANE_BYTES) {
        panel256 *p = (void *)panel;
        if (n_rows < CPU_PANEL) memset(p, 0, sizeof *p);
        for (size_t r = 0; r < n_rows; r++) {
            scales256 s = {.dmin = 0};
            unpack(w->data + (row + r) * w->row_bytes + g * block_bytes, codes[r], &s);
            put_scales(p, (int)r, &s, sub, offset, kind);
        }
        transpose_codes(codes, p->codes, 32);
        if (planes == 2) split_planes(p->codes);
    }
}

#define GEMM_256(name, planes, chunk, sub, offset, kind)                                                             \
    static void panel_##name(const matrix *w, size_t row, size_t n_rows, void *panel) {                              \
        unpack_rows(w, row, n_rows, panel, unpack_##name, sizeof(block_##name), planes, sub, offset, kind);          \
    }                                                                                                                \
    static void tile_##name(const void *panel, const void *tile, size_t n_cols, size_t width, float *out) {          \
        size_t n = n_cols / 256;                                                                                     \
        if (width == 12) {                                                                                           \
            some_tokens(panel, tile, n, 12, 0, 6, planes, chunk, sub, kind, out);                                    \
            some_tokens(panel, tile, n, 12, 6, 6, planes, chunk, sub, kind, out);                                    \
        } else if (width == 8) {                                                                                     \
            some_tokens(panel, tile, n, 8, 0, 4, planes, chunk, sub, kind, out);                                     \
            some_tokens(panel, tile, n, 8, 4, 4, planes, chunk, sub, kind, out);                                     \
        } else                                                                                                       \
            some_tokens(panel, tile, n, 4, 0, 4, planes, chunk, sub, kind, out);                                     \
    }                                                                                                                \
    const cpu_gemm gemm_##name##_avx2 = {CPU_PANEL, sizeof(panel256) + planes * PLANE_BYTES, panel_##name,           \
                                         tile_##name};

/* Largest code: 15 in chunks of 8 steps, 31 of 4, 63 of 2. */
GEMM_256(q4_k, 1, 8, 32, 0, MINIMA_32)
GEMM_256(q5_k, 1, 4, 32, 0, MINIMA_32)
GEMM_256(q2_k, 1, 4, 16, 0, MINIMA_16)
GEMM_256(q3_k, 1, 4, 16, 4, OFFSET_16)
GEMM_256(q6_k, 1, 2, 16, 32, OFFSET_16)
GEMM_256(iq4_xs, 2, 8, 32, 128, OFFSET_32)
GEMM_256(tq1_0, 1, 8, 32, 1, OFFSET_32)
GEMM_256(tq2_0, 1, 8, 32, 1, OFFSET_32)
