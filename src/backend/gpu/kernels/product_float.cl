/* Products with weights that are floats (FORMAT_F32, FORMAT_F16, FORMAT_BF16) by the contract's rule 2: sixteen
 * partial sums, sum j of the elements congruent to j mod 16; then the tree. Rows as in product.cl; each of the eight
 * work items of a row has two of the sums. The arguments are those of product.cl, the activations floats. */

/* Word i of the row, `at` being its first. */
#ifndef WORD
#define WORD(at, i) ((at)[(i) * 32])
#endif
#ifdef FORMAT_F32
#define LOAD(at, i, which) AS_FLOAT(WORD(at, 2 * (i) + (which)))
#elif defined(FORMAT_F16)
#define LOAD(at, i, which) half_to_float(WORD(at, i) >> 16 * (which) & 0xffff)
#else
#define LOAD(at, i, which) AS_FLOAT((which) ? WORD(at, i) & 0xffff0000u : WORD(at, i) << 16)
#endif

KERNEL(PRODUCT_ROWS * 8) void product(WORDS words, int row_words, int n_blocks, int first_row, int n_rows, int n_cols,
                    GLOBAL const float *x, GLOBAL const float *xd, GLOBAL const short *xs, int n_tokens,
                    GLOBAL float *out, int ldo, GLOBAL const float *vectors, int scale_at, GLOBAL const int *chosen,
                    int expert_groups, int slots_per_row) {
    grid_wait();
    grid_release();
    int lane = LOCAL_ID % PRODUCT_ROWS, split = LOCAL_ID / PRODUCT_ROWS;
    int first_token = GROUP_Y * TOKENS, r = GROUP_X * PRODUCT_ROWS + lane;
    int row = first_row + (r < n_rows ? r : n_rows - 1);
    wide group = (wide)(row / 32);
    int scale_index = scale_at;
#ifdef EXPERTS
    int expert = chosen[first_token];
    group += (wide)expert * (wide)expert_groups;
    if (scale_at >= 0) scale_index += expert;
#endif
    place at = PLACE_OF(words, group * (wide)row_words * 32 + (wide)(row % 32));
    LOCAL float part[TOKENS * 16 * PRODUCT_ROWS];
    float a[TOKENS], b[TOKENS];
    wide begin[TOKENS];
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        int n = first_token + t < n_tokens ? first_token + t : n_tokens - 1;
#ifdef EXPERTS
        n /= slots_per_row;
#endif
        begin[t] = (wide)n * (wide)n_cols;
        a[t] = b[t] = 0;
    }
    for (int i = split; 2 * i < n_cols; i += 8) {
        float wa = LOAD(at, i, 0);
#pragma unroll
        for (int t = 0; t < TOKENS; t++) a[t] = fma(wa, x[begin[t] + (wide)(2 * i)], a[t]);
        if (2 * i + 1 < n_cols) {
            float wb = LOAD(at, i, 1);
#pragma unroll
            for (int t = 0; t < TOKENS; t++) b[t] = fma(wb, x[begin[t] + (wide)(2 * i + 1)], b[t]);
        }
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        part[(t * 16 + 2 * split) * PRODUCT_ROWS + lane] = a[t];
        part[(t * 16 + 2 * split + 1) * PRODUCT_ROWS + lane] = b[t];
    }
    BARRIER;
    if (split < TOKENS && first_token + split < n_tokens && r < n_rows) {
        float sum[16];
#pragma unroll
        for (int i = 0; i < 16; i++) sum[i] = part[(split * 16 + i) * PRODUCT_ROWS + lane];
#pragma unroll
        for (int step = 8; step > 0; step /= 2) {
#pragma unroll
            for (int i = 0; i < step; i++) sum[i] += sum[i + step];
        }
        float result = sum[0];
        if (scale_index >= 0) result *= vectors[scale_index];
        out[(wide)(first_token + split) * (wide)ldo + (wide)r] = result;
    }
}
