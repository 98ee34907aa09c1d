/* One format's part of a program of decode.cu, behind blocks.cl and in a namespace of its own: the sums of a unit of a
 * row's weights with the activations, and how a row's sums are put together by the contract's rule 1.
 *
 * An item is what one step of a row's chain adds: a block of 256, a block of 32, 16 weights of NVFP4. A warp computes
 * a quad at a time: 8 neighbouring rows, whose words are side by side, times 4 neighbouring units. An item is left as
 * floats in shared memory, RESULT_KINDS for each row: factor and sum, and for formats with minima the same of these. */

enum {
    UNIT_WORDS = HEAD_WORDS + PAIRS * PAIR_WORDS + 1,
#ifdef WITH_MINIMA
    KINDS = 4
#else
    KINDS = 2
#endif
};

/* All words of a unit, its scale last. `row`: the row's first word. */
FN void load_unit(const uint *row, int unit, uint *w) {
#ifdef BLOCK_256
    int block = unit / 4, run = unit % 4;
#else
    int block = unit, run = 0;
#endif
    const uint *at = row + block * MAIN_WORDS * 32;
    load_head(at, run, w);
#pragma unroll
    for (int k = 0; k < PAIRS; k++) load_pair(at, run, k, w + HEAD_WORDS + k * PAIR_WORDS);
#ifndef FORMAT_NVFP4
    w[UNIT_WORDS - 1] = load_scale(row, ITEMS, block); /* items are blocks here */
#endif
}

/* The items of a unit to `out`, that of its first item and row. Every lane of a warp comes here, each with its own unit
 * and row; `there`: the unit is one of the row's. */
FN void add_unit(const uint *w, int unit, bool there, const activations *x, float *out) {
    const uint *pairs = w + HEAD_WORDS;
#ifdef BLOCK_256
    uint q[16];
    int s[4], m[4], run = unit % 4;
#pragma unroll
    for (int k = 0; k < 8; k++) unpack_pair(w, pairs + k % PAIRS * PAIR_WORDS, run, k, &q[k], &q[8 + k]);
    unpack_scales(w, run, s, m);
    float minima, d = scale_of(w[UNIT_WORDS - 1], &minima);
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        int isum = 0, msum = 0;
        add64(q, s, m, x->codes + (t * COLUMNS + unit * 64) / 4, 0, x->sums + (t * COLUMNS + unit * 64) / 16, &isum, &msum);
        isum = sum_of_four(isum);
        if (KINDS == 4) msum = sum_of_four(msum);
        if (run != t % 4) continue; /* one of the four lanes writes */
        float dx = x->scales[t * ITEMS + unit / 4], *to = out + t * TOKEN_RESULTS;
        to[0] = d * dx;
        to[ROWS] = (float)isum;
        if (KINDS == 4) {
            to[2 * ROWS] = -(minima * dx);
            to[3 * ROWS] = (float)msum;
        }
    }
#elif defined(FORMAT_NVFP4)
    if (!there) return;
#pragma unroll
    for (int run = 0; run < 4; run++) {
        uint q[4];
        float d = unpack_run16(w, pairs + run * PAIR_WORDS, run, q);
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            const uint *codes = x->codes + (t * COLUMNS + unit * 64 + run * 16) / 4;
            int isum = 0;
#pragma unroll
            for (int k = 0; k < 4; k++) isum = dot4(q[k], codes[k], isum);
            float *to = out + t * TOKEN_RESULTS + run * ITEM_RESULTS;
            to[0] = d * x->scales[(t * COLUMNS + unit * 64 + run * 16) / 32];
            to[ROWS] = (float)isum;
        }
    }
#else
    if (!there) return;
    uint q[8];
#pragma unroll
    for (int k = 0; k < 4; k++) unpack_pair(w, pairs + k * PAIR_WORDS, 0, k, &q[k], &q[4 + k]);
    float minima, d = scale_of(w[UNIT_WORDS - 1], &minima);
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        const uint *codes = x->codes + (t * COLUMNS + unit * 32) / 4;
        const short *sums = x->sums + (t * COLUMNS + unit * 32) / 16;
        int isum = 0, sum = sums[0] + sums[1];
#pragma unroll
        for (int k = 0; k < 8; k++) isum = dot4(q[k], codes[k], isum);
        float dx = x->scales[t * ITEMS + unit], *to = out + t * TOKEN_RESULTS;
        to[0] = d * dx;
        to[ROWS] = (float)(isum - OFFSET * sum);
        if (KINDS == 4) {
            to[2 * ROWS] = minima * dx;
            to[3 * ROWS] = (float)sum;
        }
    }
#endif
}

/* Chain number `chain` of a row goes on over n items, from `items` on. */
FN float add_items(float sum, const float *items, int chain, int n) {
#pragma unroll 4
    for (int i = chain; i < n; i += CHAINS) {
        const float *item = items + i * ITEM_RESULTS;
        sum = fma(item[0], item[ROWS], sum);
        if (KINDS == 4) sum = fma(item[2 * ROWS], item[3 * ROWS], sum);
    }
    return sum;
}

#undef BLOCK_256
#undef HEAD_WORDS
#undef MAIN_WORDS
#undef OFFSET
#undef PAIRS
#undef PAIR_WORDS
#undef TAIL_BYTE
#undef TAIL_HALF
#undef WITH_MINIMA
