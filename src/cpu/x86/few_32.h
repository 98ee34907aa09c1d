/* Rows of 32 blocks times a few tokens (contract, rule 1), in the way of few_256.h. The contract's eight accumulators
 * of a row lie in the first cache. Included after a few_ISA.h. */
#include "cpu/x86/few.h"

/* MINIMUM: also fmaf(m * d_x, sum of x, acc). RUNS: scales for every 16 weights, whose accumulators take turns. */
typedef enum shape { PLAIN, MINIMUM, RUNS } shape;

typedef struct few_row {
    __m256 acc[8];
    float d[16], m[8];
} few_row;

/* acc = fmaf(d * d_x, sum, acc) */
FEW_INLINE __m256 few_product(float d, __m256 dx, __m256i sum, __m256 acc) {
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_set1_ps(d), dx), _mm256_cvtepi32_ps(sum), acc);
}

/* Unit j of a group: a block of 32 or a run of 16. */
FEW_INLINE void few_unit(const few_codes *code, few_row *rows, int n, tile_group x, size_t w, int j, int planes,
                         int chunk, int offset, shape kind) {
    int steps = kind == RUNS ? 4 : 8, block = kind == RUNS ? j / 2 : j;
    __m256i isum[FEW_ROWS];
    FEW_UNROLL(4)
    for (int r = 0; r < n; r++) isum[r] = _mm256_setzero_si256();
    few_dots(code, steps * j, x, w, NULL, FEW_PLANES(planes), chunk, steps, n, isum);
    __m256 dx = few_scale(x.d + (size_t)block * w, w);
    __m256i sums = few_sums(x.s16 + (size_t)block * w, w);
    /* the sums of 16 activations that belong to the unit */
    __m256i those = kind == RUNS ? _mm256_set1_epi32(j % 2 ? 1 << 16 : 1) : _mm256_set1_epi16(1);
    __m256i sum = _mm256_madd_epi16(sums, those), less = _mm256_mullo_epi32(sum, _mm256_set1_epi32(offset));
    FEW_UNROLL(4)
    for (int r = 0; r < n; r++) {
        __m256 *a = &rows[r].acc[j % 8];
        *a = few_product(rows[r].d[j], dx, offset ? _mm256_sub_epi32(isum[r], less) : isum[r], *a);
        if (kind == MINIMUM) *a = few_product(rows[r].m[j], dx, sum, *a);
    }
}

typedef void few_unpack_fn(const uint8_t *block, uint8_t *code, float *d, float *m);

/* The blocks of a group of a row. */
FEW_INLINE void few_fill(few_codes *code, few_row *row, const uint8_t *data, size_t n, few_unpack_fn *unpack,
                         size_t block, size_t block_bytes, int planes) {
    for (size_t i = 0; i < n; i++)
        unpack(data + i * block_bytes, code->of[0] + block * i, row->d + (block == 64 ? 4 * i : i), row->m + i);
    if (FEW_PLANES(planes) == 2) few_split(code);
}

/* n rows times a tile of w tokens */
FEW_INLINE void few_rows(const uint8_t *data, size_t row_bytes, size_t n_cols, int n, const void *tile, size_t w,
                         few_unpack_fn *unpack, size_t block, size_t block_bytes, int planes, int chunk, int offset,
                         shape kind, size_t n_tokens, float *out, size_t ldo) {
    few_codes code[FEW_ROWS];
    few_row rows[FEW_ROWS];
    memset(code, 0, sizeof code);
    memset(rows, 0, sizeof rows);
    size_t unit = kind == RUNS ? 16 : 32;
    for (size_t g = 0; g < cpu_n_groups(n_cols); g++) {
        size_t left = n_cols - g * CPU_GROUP, n_here = left < CPU_GROUP ? left : CPU_GROUP;
        FEW_UNROLL(4)
        for (int r = 0; r < n; r++) {
            const uint8_t *p = data + (size_t)r * row_bytes + g * (CPU_GROUP / block) * block_bytes;
            few_prefetch(p, (size_t)n * row_bytes, CPU_GROUP / block * block_bytes);
            few_fill(code + r, rows + r, p, n_here / block, unpack, block, block_bytes, planes);
        }
        FEW_UNROLL(1)
        for (size_t j = 0; j < n_here / unit; j++)
            few_unit(code, rows, n, tile_at(tile, w, g), w, (int)j, planes, chunk, offset, kind);
    }
    for (int r = 0; r < n; r++) {
        __m256 sum = rows[r].acc[0];
        for (int i = 1; i < 8; i++) sum = _mm256_add_ps(sum, rows[r].acc[i]);
        few_put(sum, n_tokens, out + r, ldo);
    }
}

#define FEW_32(name, block, planes, chunk, offset, kind)                                                             \
    FEW_INLINE void width_##name(const matrix *w, size_t row, size_t n_rows, const void *tile, size_t width,         \
                                 size_t n_tokens, float *out, size_t ldo) {                                          \
        const uint8_t *data = w->data + row * w->row_bytes;                                                          \
        size_t r = 0;                                                                                                \
        for (; r + FEW_ROWS <= n_rows; r += FEW_ROWS)                                                                \
            few_rows(data + r * w->row_bytes, w->row_bytes, w->n_cols, FEW_ROWS, tile, width, unpack_##name, block,  \
                     sizeof(block_##name), planes, chunk, offset, kind, n_tokens, out + r, ldo);                     \
        for (; r < n_rows; r++)                                                                                      \
            few_rows(data + r * w->row_bytes, w->row_bytes, w->n_cols, 1, tile, width, unpack_##name, block,         \
                     sizeof(block_##name), planes, chunk, offset, kind, n_tokens, out + r, ldo);                     \
    }                                                                                                                \
    void FEW_NAME(few_##name)(const matrix *w, size_t row, size_t n_rows, const void *tile, size_t n_tokens,         \
                              float *out, size_t ldo) {                                                              \
        if (n_tokens <= 4)                                                                                           \
            width_##name(w, row, n_rows, tile, 4, n_tokens, out, ldo);                                               \
        else                                                                                                         \
            width_##name(w, row, n_rows, tile, 8, n_tokens, out, ldo);                                               \
    }

/* Largest code: 15 in chunks of 8 steps, 31 of 4. */
FEW_32(q4_0, 32, 1, 8, 8, PLAIN)
FEW_32(q4_1, 32, 1, 8, 0, MINIMUM)
FEW_32(q5_0, 32, 1, 4, 16, PLAIN)
FEW_32(q5_1, 32, 1, 4, 0, MINIMUM)
FEW_32(q8_0, 32, 2, 8, 128, PLAIN)
FEW_32(iq4_nl, 32, 2, 8, 128, PLAIN)
FEW_32(mxfp4, 32, 1, 4, 12, PLAIN)
FEW_32(nvfp4, 64, 1, 4, 12, RUNS)
