/* Many tokens times a panel of rows of 256 blocks by vpdpbusd (contract, rule 1), in the way of gemm_256_avx2.c.
 * Included after a vnni_ISA.h.
 *
 * A panel's group: d and dmin, the sub-scales, the terms that go with the sums of the activations (minima, or scale
 * times the codes' offset) in pairs, codes. */
#include "cpu/x86/panels_vnni.h"

typedef struct panel256 {
    _Alignas(64) float d[VNNI_ROWS];
    float dmin[VNNI_ROWS];
    int32_t scale[16][VNNI_ROWS];
    int16_t term[8][VNNI_ROWS][2];
    uint8_t codes[CODE_BYTES];
} panel256;

/* What the terms are. OFFSET: they come off isum. MINIMA: they are msum. */
typedef enum term { OFFSET_16, OFFSET_32, MINIMA_16, MINIMA_32 } term;

PANEL_INLINE bool by_16(term kind) { return kind == OFFSET_16 || kind == MINIMA_16; }
PANEL_INLINE bool has_minima(term kind) { return kind == MINIMA_16 || kind == MINIMA_32; }

/* sum over the pairs of sub-blocks: term times sum of activations */
PANEL_INLINE vec term_sum(const panel256 *p, tile_group x, size_t w, size_t t, term kind) {
    const int32_t *sums = by_16(kind) ? x.s16 : x.s32;
    vec sum = vec_zero();
    size_t n = by_16(kind) ? 8 : 4;
    PANEL_UNROLL(8)
    for (size_t j = 0; j < n; j++) sum = vec_dot_16(sum, vec_load(p->term[j]), vec_of(sums[j * w + t]));
    return sum;
}

/* The contract's step from one block to the next. */
PANEL_INLINE vecf end_block(const panel256 *p, tile_group x, size_t w, size_t t, term kind, vec isum, vecf acc) {
    vecf dx = vecf_of(x.d[t]), d = vecf_mul(vecf_load(p->d), dx);
    vec terms = term_sum(p, x, w, t, kind);
    if (!has_minima(kind)) isum = vec_sub(isum, terms);
    acc = vecf_fma(d, vecf_from(isum), acc);
    if (!has_minima(kind)) return acc;
    return vecf_fnma(vecf_mul(vecf_load(p->dmin), dx), vecf_from(terms), acc);
}

/* Tokens [t0, t0 + n) of a tile of w. */
PANEL_INLINE void some_tokens(const panel256 *p, const void *tile, size_t n_groups, size_t w, size_t t0, int n,
                              int sub, bool scaled, term kind, float *out) {
    vecf acc[VNNI_TOKENS];
    for (int t = 0; t < n; t++) acc[t] = vecf_zero();
    for (size_t g = 0; g < n_groups; g++, p++) {
        tile_group x = tile_at(tile, w, g);
        vec isum[VNNI_TOKENS], sum[VNNI_TOKENS];
        PANEL_UNROLL(12)
        for (int t = 0; t < n; t++) isum[t] = vec_zero();
        PANEL_UNROLL(1)
        for (int j = 0; j < 256 / sub; j++) {
            int k = j * sub / 4;
            vec scale = vec_load(p->scale[j]);
            vnni_dots(p->codes + STEP_BYTES * k, x.q + (size_t)k * w + t0, w, sub / 4, n, sum);
            PANEL_UNROLL(12)
            for (int t = 0; t < n; t++) isum[t] = vec_add(isum[t], scaled ? vec_mul(sum[t], scale) : sum[t]);
        }
        PANEL_UNROLL(12)
        for (int t = 0; t < n; t++) acc[t] = end_block(p, x, w, t0 + (size_t)t, kind, isum[t], acc[t]);
    }
    for (int t = 0; t < n; t++) vecf_store(out + (t0 + (size_t)t) * VNNI_ROWS, acc[t]);
}

/* ---- unpacking */

/* Scales and terms of row r. */
PANEL_INLINE void put_scales(panel256 *p, size_t r, const scales256 *s, int sub, int offset, term kind) {
    _Alignas(32) int16_t scale[16], terms[16];
    __m256i v = _mm256_cvtepi8_epi16(s->scale), t = _mm256_mullo_epi16(v, _mm256_set1_epi16((short)offset));
    if (has_minima(kind)) t = _mm256_cvtepu8_epi16(s->minimum);
    _mm256_store_si256((__m256i *)(void *)scale, v);
    _mm256_store_si256((__m256i *)(void *)terms, t);
    for (int j = 0; j < 256 / sub; j++) p->scale[j][r] = scale[j];
    for (int j = 0; j < (by_16(kind) ? 8 : 4); j++) memcpy(p->term[j][r], terms + 2 * j, 2 * sizeof *terms);
    p->d[r] = s->d;
    p->dmin[r] = s->dmin;
}

typedef void unpack_block_fn(const uint8_t *block, uint8_t *code, scales256 *s);

PANEL_INLINE void unpack_rows(const matrix *w, size_t row, size_t n_rows, panel256 *p, unpack_block_fn *unpack,
                              size_t block_bytes, int sub, int offset, term kind) {
    _Alignas(32) uint8_t codes[VNNI_ROWS][CPU_GROUP];
    memset(codes, 0, sizeof codes);
    for (size_t g = 0; g < w->n_cols / 256; g++, p++) {
        if (n_rows < VNNI_ROWS) memset(p, 0, sizeof *p);
        for (size_t r = 0; r < n_rows; r++) {
            scales256 s = {.dmin = 0};
            unpack(w->data + (row + r) * w->row_bytes + g * block_bytes, codes[r], &s);
            put_scales(p, r, &s, sub, offset, kind);
        }
        vnni_transpose(codes, p->codes);
    }
}

#define GEMM_256(name, sub, offset, kind, scaled)                                                                    \
    static void panel_##name(const matrix *w, size_t row, size_t n_rows, void *panel) {                              \
        unpack_rows(w, row, n_rows, panel, unpack_##name, sizeof(block_##name), sub, offset, kind);                  \
    }                                                                                                                \
    static void tile_##name(const void *panel, const void *tile, size_t n_cols, size_t width, float *out) {          \
        size_t n = n_cols / 256;                                                                                     \
        if (width == 12) {                                                                                           \
            for (size_t t = 0; t < 12; t += VNNI_TOKENS)                                                             \
                some_tokens(panel, tile, n, 12, t, VNNI_TOKENS, sub, scaled, kind, out);                             \
        } else {                                                                                                     \
            for (size_t t = 0; t < width; t += 4) some_tokens(panel, tile, n, width, t, 4, sub, scaled, kind, out);  \
        }                                                                                                            \
    }                                                                                                                \
    const cpu_gemm VNNI_NAME(gemm_##name) = {VNNI_ROWS, sizeof(panel256), panel_##name, tile_##name};

GEMM_256(q4_k, 32, 0, MINIMA_32, true)
GEMM_256(q5_k, 32, 0, MINIMA_32, true)
GEMM_256(q2_k, 16, 0, MINIMA_16, true)
GEMM_256(q3_k, 16, 4, OFFSET_16, true)
GEMM_256(q6_k, 16, 32, OFFSET_16, true)
GEMM_256(iq4_xs, 32, 128, OFFSET_32, true)
GEMM_256(tq1_0, 32, 1, OFFSET_32, false)
GEMM_256(tq2_0, 32, 1, OFFSET_32, false)
