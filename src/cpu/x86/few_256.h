/* Rows of 256 blocks times a few tokens (contract, rule 1): tokens stand in the lanes of a register, four codes of a
 * row are broadcast against their activations, so that the tiles' layout (table.h) serves as it is and nothing of the
 * weights is turned around. A row is unpacked once, into the first cache, and read once from memory, which is what
 * a few tokens cost. Included after a few_ISA.h.
 *
 * Tiles of four tokens fill half of the lanes; what the other half computes is thrown away. With AVX-512 so few
 * tokens are not packed, rows_* take them as they lie (select.c): there tiles of four are for a machine on which one
 * of these fails its check. */
#include "cpu/x86/few.h"

/* What the terms are. OFFSET: they come off isum. MINIMA: they are msum. */
typedef enum term { OFFSET_16, OFFSET_32, MINIMA_16, MINIMA_32 } term;

FEW_INLINE bool few_by_16(term kind) { return kind == OFFSET_16 || kind == MINIMA_16; }
FEW_INLINE bool few_minima(term kind) { return kind == MINIMA_16 || kind == MINIMA_32; }

/* 16 numbers as 16-bit pairs, each pair for the sums of two sub-blocks; and each number twice in 16 bits */
typedef struct few_scales {
    _Alignas(32) int32_t each[16], pairs[8];
} few_scales;

FEW_INLINE void few_expand(const scales256 *s, int sub, term kind, few_scales *out) {
    __m256i scale = _mm256_cvtepi8_epi16(s->scale);
    __m256i minimum = _mm256_cvtepu8_epi16(s->minimum);
    few_put_scales(scale, sub, out->each);
    _mm256_store_si256((__m256i *)(void *)out->pairs, few_minima(kind) ? minimum : scale);
}

/* sum over pairs of sub-blocks: term times sum of activations */
FEW_INLINE __m256i few_terms(const few_scales *s, tile_group x, size_t w, term kind) {
    const int32_t *sums = few_by_16(kind) ? x.s16 : x.s32;
    int n = few_by_16(kind) ? 8 : 4;
    __m256i sum = _mm256_setzero_si256();
    FEW_UNROLL(8)
    for (int j = 0; j < n; j++)
        sum = _mm256_add_epi32(sum,
                               _mm256_madd_epi16(_mm256_set1_epi32(s->pairs[j]), few_sums(sums + (size_t)j * w, w)));
    return sum;
}

/* The contract's step from one block to the next. */
FEW_INLINE __m256 few_end_block(const scales256 *b, const few_scales *s, tile_group x, size_t w, int offset,
                                term kind, __m256i isum, __m256 acc) {
    __m256 dx = few_scale(x.d, w), d = _mm256_mul_ps(_mm256_set1_ps(b->d), dx);
    __m256i terms = few_terms(s, x, w, kind);
    if (!few_minima(kind)) isum = _mm256_sub_epi32(isum, _mm256_mullo_epi32(terms, _mm256_set1_epi32(offset)));
    acc = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(isum), acc);
    if (!few_minima(kind)) return acc;
    return _mm256_fnmadd_ps(_mm256_mul_ps(_mm256_set1_ps(b->dmin), dx), _mm256_cvtepi32_ps(terms), acc);
}

typedef void few_unpack_fn(const uint8_t *block, uint8_t *code, scales256 *s);

/* n rows times a tile of w tokens */
FEW_INLINE void few_rows(const uint8_t *data, size_t row_bytes, size_t n_groups, int n, const void *tile, size_t w,
                         few_unpack_fn *unpack, size_t block_bytes, int planes, int chunk, int sub, int offset,
                         term kind, size_t n_tokens, float *out, size_t ldo) {
    few_codes code[FEW_ROWS];
    scales256 block[FEW_ROWS];
    few_scales scales[FEW_ROWS];
    memset(block, 0, sizeof block);
    __m256 acc[FEW_ROWS];
    for (int r = 0; r < n; r++) acc[r] = _mm256_setzero_ps();
    for (size_t g = 0; g < n_groups; g++, data += block_bytes) {
        tile_group x = tile_at(tile, w, g);
        __m256i isum[FEW_ROWS];
        FEW_UNROLL(4)
        for (int r = 0; r < n; r++) {
            few_prefetch(data + (size_t)r * row_bytes, (size_t)n * row_bytes, block_bytes);
            unpack(data + (size_t)r * row_bytes, code[r].of[0], block + r);
            if (FEW_PLANES(planes) == 2) few_split(code + r);
            few_expand(block + r, sub, kind, scales + r);
            isum[r] = _mm256_setzero_si256();
        }
        FEW_UNROLL(1)
        for (int j = 0; j < 256 / sub; j++) {
            __m256i scale[FEW_ROWS];
            for (int r = 0; r < n; r++) scale[r] = _mm256_set1_epi32(scales[r].each[j]);
            few_dots(code, j * sub / 4, x, w, scale, FEW_PLANES(planes), chunk, sub / 4, n, isum);
        }
        for (int r = 0; r < n; r++)
            acc[r] = few_end_block(block + r, scales + r, x, w, offset, kind, isum[r], acc[r]);
    }
    for (int r = 0; r < n; r++) few_put(acc[r], n_tokens, out + r, ldo);
}

#define FEW_256(name, planes, chunk, sub, offset, kind)                                                              \
    FEW_INLINE void width_##name(const matrix *w, size_t row, size_t n_rows, const void *tile, size_t width,         \
                                 size_t n_tokens, float *out, size_t ldo) {                                          \
        const uint8_t *data = w->data + row * w->row_bytes;                                                          \
        size_t n = w->n_cols / 256, r = 0;                                                                           \
        for (; r + FEW_ROWS <= n_rows; r += FEW_ROWS)                                                                \
            few_rows(data + r * w->row_bytes, w->row_bytes, n, FEW_ROWS, tile, width, unpack_##name,                 \
                     sizeof(block_##name), planes, chunk, sub, offset, kind, n_tokens, out + r, ldo);                \
        for (; r < n_rows; r++)                                                                                      \
            few_rows(data + r * w->row_bytes, w->row_bytes, n, 1, tile, width, unpack_##name, sizeof(block_##name),  \
                     planes, chunk, sub, offset, kind, n_tokens, out + r, ldo);                                      \
    }                                                                                                                \
    void FEW_NAME(few_##name)(const matrix *w, size_t row, size_t n_rows, const void *tile, size_t n_tokens,         \
                              float *out, size_t ldo) {                                                              \
        if (n_tokens <= 4)                                                                                           \
            width_##name(w, row, n_rows, tile, 4, n_tokens, out, ldo);                                               \
        else                                                                                                         \
            width_##name(w, row, n_rows, tile, 8, n_tokens, out, ldo);                                               \
    }

/* Largest code: 15 in chunks of 8 steps, 31 of 4, 63 of 2. */
FEW_256(q4_k, 1, 8, 32, 0, MINIMA_32)
FEW_256(q5_k, 1, 4, 32, 0, MINIMA_32)
FEW_256(q2_k, 1, 4, 16, 0, MINIMA_16)
FEW_256(q3_k, 1, 4, 16, 4, OFFSET_16)
FEW_256(q6_k, 1, 2, 16, 32, OFFSET_16)
FEW_256(iq4_xs, 2, 8, 32, 128, OFFSET_32)
FEW_256(tq1_0, 1, 8, 32, 1, OFFSET_32)
FEW_256(tq2_0, 1, 8, 32, 1, OFFSET_32)
