/* Products with quantised weights, out = W x, by the contract's rule 1: integer inside a block, float between blocks,
 * one program for each format (FORMAT_...) and number of tokens that are computed together (TOKENS, 1 or 8).
 *
 * A work group takes PRODUCT_ROWS rows; eight work items share a row. Formats with blocks of 32 have eight
 * accumulators by the contract, one for each. In formats with blocks of 256 each computes whole blocks, whose sums
 * are put together in the order of the blocks. So a result does not depend on TOKENS. */

/* words: all rows of a matrix. Its rows from first_row on are computed, n_rows of them; out[t * ldo + r].
 * x: codes of the tokens, [n_tokens][n_cols / 4] words; xd: their scales by block; xs: sums of 16 codes.
 * Where the matrix is one of many experts', token t is a slot: its expert is chosen[t] (expert_groups groups of 32
 * rows further on for each), its activations are those of token t / slots_per_row, and its factor is
 * vectors[scale_at + expert]. Otherwise chosen is not read; scale_at < 0: no factor. */
KERNEL(PRODUCT_ROWS * 8) void product(WORDS words, int row_words, int n_blocks, int first_row, int n_rows, int n_cols,
                    FOURS x, GLOBAL const float *xd, GLOBAL const short *xs, int n_tokens,
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
    int token[TOKENS];
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        int n = first_token + t < n_tokens ? first_token + t : n_tokens - 1;
#ifdef EXPERTS
        n /= slots_per_row;
#endif
        token[t] = n;
    }
    float result = 0;
#ifdef BLOCK_256
    LOCAL int part_i[TOKENS * 8 * PRODUCT_ROWS];
    LOCAL float part_d[8 * PRODUCT_ROWS];
#ifdef WITH_MINIMA
    LOCAL int part_m[TOKENS * 8 * PRODUCT_ROWS];
    LOCAL float part_dmin[8 * PRODUCT_ROWS];
#endif
    for (int round0 = 0; round0 < n_blocks; round0 += 8) {
        int b = round0 + split;
        if (b < n_blocks) {
            int isum[TOKENS], msum[TOKENS];
#pragma unroll
            for (int t = 0; t < TOKENS; t++) isum[t] = msum[t] = 0;
            for (int run = 0; run < 4; run++) {
                uint q[16];
                int s[4], m[4];
                unpack64(AT(at + b * (MAIN_WORDS * 32)), run, q, s, m);
#pragma unroll
                for (int t = 0; t < TOKENS; t++) {
                    wide column = (wide)token[t] * (wide)n_cols + (wide)(b * 256 + run * 64);
                    add64(q, s, m, x, column / 4, xs + column / 16, &isum[t], &msum[t]);
                }
            }
            float dmin;
            part_d[split * PRODUCT_ROWS + lane] = block_scale(AT(at), n_blocks, b, &dmin);
#ifdef WITH_MINIMA
            part_dmin[split * PRODUCT_ROWS + lane] = dmin;
#endif
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                part_i[(t * 8 + split) * PRODUCT_ROWS + lane] = isum[t];
#ifdef WITH_MINIMA
                part_m[(t * 8 + split) * PRODUCT_ROWS + lane] = msum[t];
#endif
            }
        }
        BARRIER;
        if (split < TOKENS) { /* from here on `split` is a token */
            int t = first_token + split < n_tokens ? first_token + split : n_tokens - 1;
#ifdef EXPERTS
            t /= slots_per_row;
#endif
            int n = n_blocks - round0 < 8 ? n_blocks - round0 : 8;
            for (int i = 0; i < n; i++) {
                float dx = xd[t * n_blocks + round0 + i];
                result = fma(part_d[i * PRODUCT_ROWS + lane] * dx,
                             (float)part_i[(split * 8 + i) * PRODUCT_ROWS + lane], result);
#ifdef WITH_MINIMA
                result = fma(-(part_dmin[i * PRODUCT_ROWS + lane] * dx),
                             (float)part_m[(split * 8 + i) * PRODUCT_ROWS + lane], result);
#endif
            }
        }
        BARRIER;
    }
#else
    LOCAL float part[TOKENS * 8 * PRODUCT_ROWS];
    float acc[TOKENS];
#pragma unroll
    for (int t = 0; t < TOKENS; t++) acc[t] = 0;
#ifdef FORMAT_NVFP4
    int n_runs = n_blocks * 4;
    for (int run = split; run < n_runs; run += 8) {
        uint q[4];
        float d = unpack16(AT(at), run, q);
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            wide column = (wide)token[t] * (wide)n_cols + (wide)(run * 16);
            uint codes[4];
            int isum = 0;
            load_four(x, column / 4, codes);
#pragma unroll
            for (int k = 0; k < 4; k++) isum = dot4(q[k], codes[k], isum);
            acc[t] = fma(d * xd[column / 32], (float)isum, acc[t]);
        }
    }
#else
    for (int b = split; b < n_blocks; b += 8) {
        uint q[8];
        float m, d = block_scale(AT(at), n_blocks, b, &m);
        unpack32(AT(at + b * (MAIN_WORDS * 32)), q);
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            wide column = (wide)token[t] * (wide)n_cols + (wide)(b * 32);
            GLOBAL const short *sums = xs + column / 16;
            uint codes[8];
            int isum = 0;
            load_four(x, column / 4, codes);
            load_four(x, column / 4 + 4, codes + 4);
#pragma unroll
            for (int k = 0; k < 8; k++) isum = dot4(q[k], codes[k], isum);
            float dx = xd[column / 32];
#if OFFSET || defined(WITH_MINIMA)
            int sum = sums[0] + sums[1];
            isum -= OFFSET * sum;
#endif
            acc[t] = fma(d * dx, (float)isum, acc[t]);
#ifdef WITH_MINIMA
            acc[t] = fma(m * dx, (float)sum, acc[t]);
#endif
        }
    }
#endif
#pragma unroll
    for (int t = 0; t < TOKENS; t++) part[(t * 8 + split) * PRODUCT_ROWS + lane] = acc[t];
    BARRIER;
    if (split < TOKENS) {
        result = part[split * 8 * PRODUCT_ROWS + lane];
        for (int i = 1; i < 8; i++) result += part[(split * 8 + i) * PRODUCT_ROWS + lane];
    }
#endif
    if (split < TOKENS && first_token + split < n_tokens && r < n_rows) {
        if (scale_index >= 0) result *= vectors[scale_index];
        out[(wide)(first_token + split) * (wide)ldo + (wide)r] = result;
    }
}
