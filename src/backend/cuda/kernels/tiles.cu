/* Products of quantised weights with many tokens on matrix instructions, by the contract's rule 1 and so with the bits
 * of product.cl: sums of integers are exact in any order, and each result's float operations come in the contract's.
 *
 * A block of four warps computes 64 rows of TILE_TOKENS tokens, each warp 16 rows. Weights go from memory to registers,
 * as their lanes want them: a lane of an instruction has words of rows, and so has the layout of gpu/rows.h. Codes of
 * the activations come through shared memory, while those before them are worked on.
 *
 * - Blocks of 256: a stage is a block. Each group of 16 or 32 weights that has a scale is an instruction of its own;
 *   the minima are one more product, with the sums of 16 codes, which are cut into their lower 7 bits and the rest.
 * - Blocks of 32, and runs of 16 (NVFP4): they have eight accumulators, units congruent modulo 8 to each. So the units
 *   are taken in that order, eight of one accumulator in a stage, and one accumulator is there at a time. */

enum { TILE_ROWS = 64, TILE_THREADS = 128, COLUMNS = TILE_TOKENS / 8, STAGE_WORDS = 64 };
/* Words between the tokens' codes: lanes that read together, words t of tokens g, are then in different banks. */
enum { STAGE_STRIDE = STAGE_WORDS + 4 };

#ifdef BLOCK_256
#define STAGE_UNITS 1
#elif defined(FORMAT_NVFP4)
#define STAGE_UNITS 16
#else
#define STAGE_UNITS 8
#endif
enum { UNIT_WORDS = STAGE_WORDS / STAGE_UNITS };

typedef struct stage {
    uint codes[TILE_TOKENS][STAGE_STRIDE];
    float scales[TILE_TOKENS][STAGE_UNITS];
#ifdef WITH_MINIMA
    uint sums[TILE_TOKENS][8]; /* of 16 codes, two in a word */
#endif
} stage;

/* Where a block's activations come from. */
typedef struct tile {
    const uint *x;
    const float *xd;
    const short *xs;
    const int *order; /* EXPERTS: slots by expert */
    int n_cols, first, n, slots_per_row;
} tile;

/* What the token is called outside: a slot of an expert, or itself. */
FN int token_name(const tile *a, int i) {
    i = a->first + (i < a->n ? i : a->n - 1);
#ifdef EXPERTS
    i = a->order[i];
#endif
    return i;
}
FN int token_row(const tile *a, int i) {
    i = token_name(a, i);
#ifdef EXPERTS
    i /= a->slots_per_row;
#endif
    return i;
}

/* Units first, first + step, ... of all tokens, n of them. */
FN void load_stage(stage *s, const tile *a, int first, int step, int n) {
    for (int i = LOCAL_ID; i < TILE_TOKENS * (STAGE_WORDS / 4); i += TILE_THREADS) {
        int t = i / (STAGE_WORDS / 4), word = i % (STAGE_WORDS / 4) * 4, unit = first + word / UNIT_WORDS * step;
        wide at = (wide)token_row(a, t) * (wide)(a->n_cols / 4) + (wide)(unit * UNIT_WORDS + word % UNIT_WORDS);
        if (word / UNIT_WORDS < n) copy16(&s->codes[t][word], a->x + at);
    }
    for (int i = LOCAL_ID; i < TILE_TOKENS * STAGE_UNITS; i += TILE_THREADS) {
        int t = i / STAGE_UNITS, column = (first + i % STAGE_UNITS * step) * UNIT_WORDS * 4;
#ifdef BLOCK_256
        wide at = (wide)token_row(a, t) * (wide)(a->n_cols / 256) + (wide)(column / 256);
#else
        wide at = (wide)token_row(a, t) * (wide)(a->n_cols / 32) + (wide)(column / 32);
#endif
        if (i % STAGE_UNITS < n) copy4(&s->scales[t][i % STAGE_UNITS], a->xd + at);
    }
#ifdef WITH_MINIMA
    for (int i = LOCAL_ID; i < TILE_TOKENS * 8; i += TILE_THREADS) {
        int t = i / 8, column = first * UNIT_WORDS * 4 + i % 8 * 32;
#ifndef BLOCK_256
        column = (first + i % 8 * step) * 32;
#endif
        wide at = (wide)token_row(a, t) * (wide)(a->n_cols / 16) + (wide)(column / 16);
        if (STAGE_UNITS == 1 || i % 8 < n) copy4(&s->sums[t][i % 8], a->xs + at);
    }
#endif
}

/* Codes less OFFSET as signed bytes. */
FN uint signed_codes(uint q) {
#if OFFSET
    return ((q | 0x80808080u) - OFFSET * 0x01010101u) ^ 0x80808080u;
#else
    return q;
#endif
}

#ifdef BLOCK_256
#if defined(FORMAT_Q2_K) || defined(FORMAT_Q3_K) || defined(FORMAT_Q6_K)
#define SCALES_OF_16
#elif defined(FORMAT_TQ1_0) || defined(FORMAT_TQ2_0)
#define NO_SCALES
#endif

/* A lane's words of a run: of its two rows the pairs t and 4 + t. */
typedef struct lane_words {
    uint head[2][HEAD_WORDS + 1], pair[2][2][PAIR_WORDS];
} lane_words;

FN void load_words(lane_words *w, const uint *const *at, int run, int t) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        load_head(at[r], run, w->head[r]);
        load_pair(at[r], run, t, w->pair[r][0]);
        load_pair(at[r], run, 4 + t, w->pair[r][1]);
    }
}

/* isum += a run of 64 weights. */
FN void add_run(int (*isum)[4], const lane_words *w, const stage *s, int run, int g, int t) {
    uint q[2][2][2]; /* [first or second 32][word t or 4 + t][row] */
    int scale[2][4], minimum[4];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        unpack_scales(w->head[r], run, scale[r], minimum);
#pragma unroll
        for (int k = 0; k < 2; k++) {
            uint first, second;
            unpack_pair(w->head[r], w->pair[r][k], run, 4 * k + t, &first, &second);
            q[0][k][r] = signed_codes(first);
            q[1][k][r] = signed_codes(second);
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            const uint *codes = &s->codes[c * 8 + g][run * 16 + half * 8 + t];
            uint b[2] = {codes[0], codes[4]};
#if defined(NO_SCALES)
            mma32(isum[c], q[half][0], b);
#elif defined(SCALES_OF_16)
#pragma unroll
            for (int k = 0; k < 2; k++) {
                int d[4] = {0, 0, 0, 0};
                mma16(d, q[half][k], b[k]);
#pragma unroll
                for (int i = 0; i < 4; i++) isum[c][i] += scale[i / 2][2 * half + k] * d[i];
            }
#else
            int d[4] = {0, 0, 0, 0};
            mma32(d, q[half][0], b);
#pragma unroll
            for (int i = 0; i < 4; i++) isum[c][i] += scale[i / 2][2 * half] * d[i];
#endif
        }
    }
}

#ifdef WITH_MINIMA
/* The minima of the run t as bytes. */
FN uint lane_minima(const uint *at, int t) {
    uint head[HEAD_WORDS + 1];
    int scale[4], m[4];
    load_head(at, t, head);
    unpack_scales(head, t, scale, m);
    return (uint)m[0] | (uint)m[1] << 8 | (uint)m[2] << 16 | (uint)m[3] << 24;
}

/* msum = minima . sums of column g, these cut in two: 128 * upper + lower. */
FN void add_minima(int *msum, const uint *minima, const uint *sums, int t) {
    uint a = sums[2 * t], b = sums[2 * t + 1];
    mma16(msum, minima, __byte_perm(a >> 7, b >> 7, 0x6420));
#pragma unroll
    for (int i = 0; i < 4; i++) msum[i] *= 128;
    mma16(msum, minima, __byte_perm(a & 0x007f007fu, b & 0x007f007fu, 0x6420));
}
#endif

FN void multiply(float (*acc)[4], const tile *a, const uint *const *row, int n_blocks, stage *stages, int g, int t) {
    lane_words words;
    const uint *at[2] = {row[0], row[1]};
    load_words(&words, at, 0, t);
    grid_wait();
    load_stage(&stages[0], a, 0, 1, 1);
    for (int b = 0; b < n_blocks; b++) {
        const stage *s = &stages[b % 2];
        int isum[COLUMNS][4];
        float d[2], dmin[2];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) isum[c][0] = isum[c][1] = isum[c][2] = isum[c][3] = 0;
#pragma unroll
        for (int r = 0; r < 2; r++) d[r] = block_scale(row[r], n_blocks, b, &dmin[r]);
#ifdef WITH_MINIMA
        uint minima[2] = {lane_minima(at[0], t), lane_minima(at[1], t)};
#endif
        copies_wait();
        BARRIER;
        if (b + 1 < n_blocks) load_stage(&stages[(b + 1) % 2], a, b + 1, 1, 1);
#pragma unroll
        for (int run = 0; run < 4; run++) {
            lane_words now = words;
            if (run == 3 && b + 1 < n_blocks) {
                at[0] += MAIN_WORDS * 32;
                at[1] += MAIN_WORDS * 32;
            }
            load_words(&words, at, (run + 1) % 4, t);
            add_run(isum, &now, s, run, g, t);
        }
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            float dx[2] = {s->scales[c * 8 + 2 * t][0], s->scales[c * 8 + 2 * t + 1][0]};
#ifdef WITH_MINIMA
            int msum[4] = {0, 0, 0, 0};
            add_minima(msum, minima, s->sums[c * 8 + g], t);
#endif
#pragma unroll
            for (int i = 0; i < 4; i++) {
                acc[c][i] = fma(d[i / 2] * dx[i % 2], (float)isum[c][i], acc[c][i]);
#ifdef WITH_MINIMA
                acc[c][i] = fma(-(dmin[i / 2] * dx[i % 2]), (float)msum[i], acc[c][i]);
#endif
            }
        }
    }
}
#else

/* A lane's part of unit `unit` of a row; returns its scale, *m its minima's factor. */
FN float load_unit(const uint *row, int n_blocks, int unit, int t, uint *q, float *m) {
    uint head[HEAD_WORDS + 1], pair[PAIR_WORDS];
#ifdef FORMAT_NVFP4
    uint all[4];
    const uint *at = row + (wide)(unit / 4 * MAIN_WORDS) * 32;
    load_head(at, 0, head);
    load_pair(at, 0, unit & 3, pair);
    float d = unpack_run16(head, pair, unit & 3, all);
    q[0] = t < 2 ? (t & 1 ? all[1] : all[0]) : (t & 1 ? all[3] : all[2]);
    *m = 0;
    return d;
#else
    const uint *at = row + (wide)(unit * MAIN_WORDS) * 32;
    load_head(at, 0, head);
    load_pair(at, 0, t, pair);
    unpack_pair(head, pair, 0, t, &q[0], &q[1]);
    q[0] = signed_codes(q[0]);
    q[1] = signed_codes(q[1]);
    return block_scale(row, n_blocks, unit, m);
#endif
}

/* acc += unit u of the stage. */
FN void add_unit(float (*acc)[4], const stage *s, int u, const uint *const *row, int n_blocks, int unit, int g, int t) {
    uint q[2][2], a[4];
    float d[2], m[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        d[r] = load_unit(row[r], n_blocks, unit, t, q[r], &m[r]);
        a[r] = q[r][0];
        a[2 + r] = q[r][1];
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        const uint *codes = &s->codes[c * 8 + g][u * UNIT_WORDS + t];
        float dx[2] = {s->scales[c * 8 + 2 * t][u], s->scales[c * 8 + 2 * t + 1][u]};
        int isum[4] = {0, 0, 0, 0};
#ifdef FORMAT_NVFP4
        mma16(isum, a, codes[0]);
#else
        uint b[2] = {codes[0], codes[4]};
        mma32(isum, a, b);
#endif
#ifdef WITH_MINIMA
        float sums[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint both = s->sums[c * 8 + 2 * t + i][u];
            sums[i] = (float)(((int)(both << 16) >> 16) + ((int)both >> 16));
        }
#endif
#pragma unroll
        for (int i = 0; i < 4; i++) {
            acc[c][i] = fma(d[i / 2] * dx[i % 2], (float)isum[i], acc[c][i]);
#ifdef WITH_MINIMA
            acc[c][i] = fma(m[i / 2] * dx[i % 2], sums[i % 2], acc[c][i]);
#endif
        }
    }
}

/* Stage k has units of the accumulator k / per_accumulator. */
FN int stage_units(int k, int per_accumulator, int n_units, int *first) {
    int accumulator = k / per_accumulator, i = k % per_accumulator * STAGE_UNITS, n = (n_units - accumulator + 7) / 8 - i;
    *first = accumulator + 8 * i;
    return n < STAGE_UNITS ? n : STAGE_UNITS;
}

FN void multiply(float (*total)[4], const tile *a, const uint *const *row, int n_blocks, stage *stages, int g, int t) {
    int n_units = a->n_cols / (4 * UNIT_WORDS), per_accumulator = (n_units + 8 * STAGE_UNITS - 1) / (8 * STAGE_UNITS);
    int first, n = stage_units(0, per_accumulator, n_units, &first), n_stages = 8 * per_accumulator;
    float acc[COLUMNS][4];
    grid_wait();
    load_stage(&stages[0], a, first, 8, n);
    for (int k = 0; k < n_stages; k++) {
        const stage *s = &stages[k % 2];
        int first_now = first, n_now = n;
        copies_wait();
        BARRIER;
        n = stage_units(k + 1, per_accumulator, n_units, &first);
        if (k + 1 < n_stages && n > 0) load_stage(&stages[(k + 1) % 2], a, first, 8, n);
        if (k % per_accumulator == 0) {
#pragma unroll
            for (int c = 0; c < COLUMNS; c++) acc[c][0] = acc[c][1] = acc[c][2] = acc[c][3] = 0;
        }
#pragma unroll 2
        for (int u = 0; u < n_now; u++) add_unit(acc, s, u, row, n_blocks, first_now + 8 * u, g, t);
        if (k % per_accumulator + 1 < per_accumulator) continue;
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
#pragma unroll
            for (int i = 0; i < 4; i++) total[c][i] = k < per_accumulator ? acc[c][i] : total[c][i] + acc[c][i];
        }
    }
}
#endif

/* Arguments as product.cl's. Of experts, group (x, y) computes the tile tiles[y] (its expert, where its slots begin in
 * `order`, how many they are); behind the last one there are only zeros. */
KERNEL(TILE_THREADS) void tile_product(const uint *__restrict__ w, int row_words, int n_blocks, int first_row, int n_rows,
                    int n_cols, const uint *x, const float *xd, const short *xs, int n_tokens, float *out, int ldo,
                    const float *vectors, int scale_at, const int *order, const int *tiles, int expert_groups,
                    int slots_per_row) {
    __shared__ __align__(16) stage stages[2];
    int warp = LOCAL_ID / 32, g = LOCAL_ID % 32 / 4, t = LOCAL_ID % 4;
    tile a = {x, xd, xs, order, n_cols, GROUP_Y * TILE_TOKENS, n_tokens - GROUP_Y * TILE_TOKENS, slots_per_row};
    wide first_group = 0;
    grid_release();
#ifdef EXPERTS
    grid_wait();
    int expert = tiles[3 * GROUP_Y];
    a.first = tiles[3 * GROUP_Y + 1];
    a.n = tiles[3 * GROUP_Y + 2];
    if (a.n == 0) return;
    first_group = (wide)expert * (wide)expert_groups;
    if (scale_at >= 0) scale_at += expert;
#endif
    const uint *row[2];
    float acc[COLUMNS][4];
    int r = GROUP_X * TILE_ROWS + warp * 16 + g;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int n = first_row + (r + 8 * i < n_rows ? r + 8 * i : n_rows - 1);
        row[i] = w + (first_group + (wide)(n / 32)) * (wide)row_words * 32 + n % 32;
    }
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) acc[c][0] = acc[c][1] = acc[c][2] = acc[c][3] = 0;
    multiply(acc, &a, row, n_blocks, stages, g, t);
    float factor = scale_at >= 0 ? vectors[scale_at] : 1.0f;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int token = c * 8 + 2 * t + i % 2, to = r + 8 * (i / 2);
            float result = scale_at >= 0 ? acc[c][i] * factor : acc[c][i];
            if (token < a.n && to < n_rows) out[(wide)token_name(&a, token) * (wide)ldo + (wide)to] = result;
        }
    }
}
