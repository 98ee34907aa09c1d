/* Products for few tokens with what stands before and behind them, in one launch (gpu/join.c): every group of threads
 * makes the input for itself, computes its part of the rows, and finishes them. The steps are those of the contract in
 * their order, so the bits are those of a launch for each step.
 *
 * What is computed is fixed when the program is compiled:
 *   STREAM         the input is the residual stream: x += RMSNorm(y; after), x *= scale, input = RMSNorm(x; before), as
 *                  far as these are there; STAGED tokens at a time. Without: rows of a buffer.
 *   MATRICES       1 to 3 that share the input; matrix i is of the format in namespace format_FORMAT_i
 *   GATED          gelu(matrix 0) * matrix 1, or of the HALVES of one
 *   EMBEDDED       gelu(matrix 0) * a part of the per-layer embeddings
 *   CAPPED         cap * tanh(matrix 0 / cap)
 *   EXPERTS        tokens are slots of experts
 *
 * Memory's speed decides here. So the first words of weights are asked for before the launch in front has ended; and
 * each warp has the words of its next quad on their way while it computes the present one (AHEAD). Formats whose units
 * are so large that their words alone keep memory busy go without: 64 registers let the groups of two launches be on a
 * processor at the same time. */

/* ---- the input */

#ifdef STREAM
#define RESULTS_OR_STAGE (STAGED * COLUMNS > 2 * MOST_RESULTS ? STAGED * COLUMNS : 2 * MOST_RESULTS)
#else
#define RESULTS_OR_STAGE (2 * MOST_RESULTS)
#endif

/* Codes of eight neighbouring floats of a token, from column `at` on; lanes have neighbouring eights. */
FN void quantise_eight(activations *out, int token, int at, const float *v) {
    uint largest = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) largest = max(largest, magnitude(v[i]));
#pragma unroll
    for (int other = 1; other < BLOCK_COLUMNS / 8; other *= 2)
        largest = max(largest, __shfl_xor_sync(EVERYBODY, largest, other));
    int sum = 0;
    uint low = code_word(v[0], v[1], v[2], v[3], largest, &sum), high = code_word(v[4], v[5], v[6], v[7], largest, &sum);
    int both = sum + __shfl_xor_sync(EVERYBODY, sum, 1);
    if (at >= COLUMNS) return;
    int place = token * COLUMNS + at;
    out->codes[place / 4] = low;
    out->codes[place / 4 + 1] = high;
    if (LANE % 2 == 0) out->sums[place / 16] = (short)both;
    if (at % BLOCK_COLUMNS == 0) out->scales[place / BLOCK_COLUMNS] = step_of(largest);
}

#ifdef STREAM
/* 1 / sqrt(mean square + eps) of a token's floats, by a warp: the sixteen lanes, then the tree. */
FN float inverse_rms(const float *v, float eps) {
    float sum = 0;
#pragma unroll 16
    for (int i = LANE % 16; i < COLUMNS; i += 16) sum = fma(v[i], v[i], sum);
#pragma unroll
    for (int other = 8; other > 0; other /= 2) sum += __shfl_xor_sync(EVERYBODY, sum, other);
    return 1.0f / sqrt(sum / (float)COLUMNS + eps);
}

typedef struct stream {
    const float *x, *y;
    float *x_out;
    const float *vectors;
    int after, scale, before;
    float eps;
} stream;

/* STAGED tokens from `first` on: their new places in the stream to `stage` and, by one of the groups, to x_out; then
 * their codes. */
FN void take_stream(const stream *s, int first, int first_token, int n_tokens, float *stage, float *inverse,
                    activations *out) {
    enum { N = STAGED * COLUMNS, HELD = (N + THREADS - 1) / THREADS };
    float held[HELD], factor = s->scale >= 0 ? s->vectors[s->scale] : 1.0f;
    BARRIER;
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = k * THREADS + LOCAL_ID, token = first_token + first + i / COLUMNS;
        if (i >= N) break;
        wide at = (wide)(token < n_tokens ? token : n_tokens - 1) * COLUMNS + (wide)(i % COLUMNS);
        held[k] = s->x[at];
        if (s->after >= 0) stage[i] = s->y[at];
    }
    BARRIER;
    if (s->after >= 0 && WARP < STAGED) {
        float r = inverse_rms(stage + WARP * COLUMNS, s->eps);
        if (LANE == 0) inverse[WARP] = r;
    }
    BARRIER;
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = k * THREADS + LOCAL_ID, token = first_token + first + i / COLUMNS;
        if (i >= N) break;
        float v = held[k];
        if (s->after >= 0) v += (stage[i] * inverse[i / COLUMNS]) * s->vectors[s->after + i % COLUMNS];
        v *= factor;
        stage[i] = v;
        if (GROUP_X == 0 && token < n_tokens) s->x_out[(wide)token * COLUMNS + (wide)(i % COLUMNS)] = v;
    }
    BARRIER;
    if (s->before >= 0 && WARP < STAGED) {
        float r = inverse_rms(stage + WARP * COLUMNS, s->eps);
        if (LANE == 0) inverse[WARP] = r;
    }
    BARRIER;
    enum { PARTS = (COLUMNS + 255) / 256 };
    for (int part = WARP; part < STAGED * PARTS; part += WARPS) {
        int t = part / PARTS, at = part % PARTS * 256 + LANE * 8;
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = at < COLUMNS ? stage[t * COLUMNS + at + i] : 0.0f;
            if (s->before >= 0 && at < COLUMNS) v[i] = (v[i] * inverse[t]) * s->vectors[s->before + at + i];
        }
        quantise_eight(out, first + t, at, v);
    }
}
#else
FN void take_values(const float *x, int first_row, int n_rows, activations *out) {
    enum { PARTS = (COLUMNS + 255) / 256 };
#pragma unroll 2
    for (int part = WARP; part < TOKENS * PARTS; part += WARPS) {
        int t = part / PARTS, at = part % PARTS * 256 + LANE * 8;
        const float *from = x + (wide)(first_row + t < n_rows ? first_row + t : n_rows - 1) * COLUMNS;
        float4 a = {0, 0, 0, 0}, b = a;
        if (at < COLUMNS) {
            a = *(const float4 *)(from + at);
            b = *(const float4 *)(from + at + 4);
        }
        const float v[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        quantise_eight(out, t, at, v);
    }
}
#endif

/* ---- rows */

typedef struct matrix {
    const uint *w;
    int row_words, first_row, n_rows, scale_at;
    float *out; /* [tokens][n_rows] */
} matrix;

typedef struct octet { /* of a matrix's rows */
    matrix m;
    int which, row; /* its first one */
} octet;

/* What octet i of a launch is: the matrices' rows one matrix after the other; gated, octets of gate and up in turns. */
typedef struct octet_list {
    matrix m[MATRICES];
    int n, second, third; /* octets; where those of matrices 1 and 2 begin */
} octet_list;

FN int octets_for(int n_rows) { return (n_rows + 7) / 8; }

FN void count_octets(octet_list *l) {
#ifdef HALVES
    l->m[0].n_rows /= 2;
#endif
    l->n = l->second = l->third = octets_for(l->m[0].n_rows);
#ifdef GATED
    l->n *= 2;
#else
#if MATRICES > 1
    l->n = l->third = l->second + octets_for(l->m[1].n_rows);
#endif
#if MATRICES > 2
    l->n += octets_for(l->m[2].n_rows);
#endif
#endif
}

FN octet octet_of(const octet_list *l, int i) {
#ifdef GATED
    octet o = {l->m[0], 0, i / 2 * 8};
#ifdef HALVES
    if (i % 2) o.m.first_row += o.m.n_rows;
#else
    if (i % 2) o = {l->m[1], 1, i / 2 * 8};
#endif
#else
    octet o = {l->m[0], 0, i * 8};
#if MATRICES > 1
    if (i >= l->second) o = {l->m[1], 1, (i - l->second) * 8};
#endif
#if MATRICES > 2
    if (i >= l->third) o = {l->m[2], 2, (i - l->third) * 8};
#endif
#endif
    return o;
}

/* The word 0 of the lane's row; a row past the end is the last one. */
FN const uint *row_of(const octet *o) {
    int row = o->row + LANE % 8;
    row = o->m.first_row + (row < o->m.n_rows ? row : o->m.n_rows - 1);
    return o->m.w + (wide)(row / 32) * (wide)o->m.row_words * 32 + row % 32;
}

/* A call of the functions of format f; matrices may have different ones. */
#if FORMATS == 1
#define IN_FORMAT(f, call) format_0::call
enum { UNIT_WORDS = format_0::UNIT_WORDS };
#elif FORMATS == 2
#define IN_FORMAT(f, call) ((f) == 0 ? format_0::call : format_1::call)
enum { UNIT_WORDS = format_0::UNIT_WORDS > format_1::UNIT_WORDS ? format_0::UNIT_WORDS : format_1::UNIT_WORDS };
#else
#define IN_FORMAT(f, call) ((f) == 0 ? format_0::call : (f) == 1 ? format_1::call : format_2::call)
enum {
    WORDS_OF_TWO = format_0::UNIT_WORDS > format_1::UNIT_WORDS ? format_0::UNIT_WORDS : format_1::UNIT_WORDS,
    UNIT_WORDS = WORDS_OF_TWO > format_2::UNIT_WORDS ? WORDS_OF_TWO : format_2::UNIT_WORDS
};
#endif
enum { AHEAD = UNIT_WORDS <= 16 };
FN int format_of(const octet *o) { return o->which == 0 ? FORMAT_OF_0 : o->which == 1 ? FORMAT_OF_1 : FORMAT_OF_2; }

/* ---- a group's work */

/* Where a warp is: quad `k` of the round of octets from `base` on and of segment `segment`. */
typedef struct turn {
    int base, segment, k;
} turn;

FN int octets_of(int base, int end) { return end - base < OCTETS ? end - base : OCTETS; }
FN int quads_of(int segment) {
    if (SEGMENT == QUADS) return QUADS; /* a constant to divide by */
    return QUADS - segment * SEGMENT < SEGMENT ? QUADS - segment * SEGMENT : SEGMENT;
}

/* The next quad of the warp; past the last one, base >= end. */
FN void advance(turn *p, int by, int end) {
    p->k += by;
    while (p->base < end && p->k >= octets_of(p->base, end) * quads_of(p->segment)) {
        p->k = WARP;
        if (++p->segment * SEGMENT < QUADS) continue;
        p->segment = 0;
        p->base += OCTETS;
    }
}

FN int octet_at(const turn *p) { return p->base + p->k / quads_of(p->segment); }
FN int quad_at(const turn *p) { return p->segment * SEGMENT + p->k % quads_of(p->segment); }

FN void load_quad(const turn *p, int end, const octet_list *list, uint *w) {
    if (p->base >= end) return;
    octet o = octet_of(list, octet_at(p));
    int unit = quad_at(p) * 4 + LANE / 8;
    const uint *row = row_of(&o);
    if (unit < UNITS) IN_FORMAT(format_of(&o), load_unit(row, unit, w));
}

FN void compute_quad(const turn *p, const octet_list *list, const uint *w, const activations *x, float *results) {
    octet o = octet_of(list, octet_at(p));
    int unit = quad_at(p) * 4 + LANE / 8, item = quad_at(p) % SEGMENT * QUAD_ITEMS;
    if (QUAD_ITEMS > 1) item += LANE / 8 * (QUAD_ITEMS / 4);
    float *out = results + item * ITEM_RESULTS + (octet_at(p) - p->base) * 8 + LANE % 8;
    IN_FORMAT(format_of(&o), add_unit(w, unit, unit < UNITS, x, out));
}

/* The warp's quads of one segment, from `now` on, to `part`; `words` are those of the quad that comes next. */
FN void compute_segment(turn *now, int end, const octet_list *list, uint *words, const activations *x, float *part) {
    int base = now->base, segment = now->segment;
    while (now->base == base && now->segment == segment && base < end) {
        turn next = *now;
        uint next_words[UNIT_WORDS];
        advance(&next, WARPS, end);
        if (AHEAD) load_quad(&next, end, list, next_words);
        compute_quad(now, list, words, x, part);
        *now = next;
        if (!AHEAD) load_quad(&next, end, list, next_words);
#pragma unroll
        for (int i = 0; i < UNIT_WORDS; i++) words[i] = next_words[i];
    }
}

/* What a thread of the chains has of a round: chain `chain` of row `row`, token `token` of the group's. */
typedef struct seat {
    int chain, row, token;
} seat;

/* The sum of a row's chains, at chain 0, and the matrix's scale. */
FN float finish_sum(float sum, const octet *o, const float *vectors) {
    if (CHAINS > 1) {
        float all = __shfl_sync(EVERYBODY, sum, LANE / 8 * 8);
#pragma unroll
        for (int i = 1; i < 8; i++) all += __shfl_sync(EVERYBODY, sum, LANE / 8 * 8 + i);
        sum = all;
    }
    return o->m.scale_at >= 0 ? sum * vectors[o->m.scale_at] : sum;
}

#ifdef GATED
/* gelu(gate) * up in the threads that have the gate's rows. */
FN float gate_rows(float sum, seat s, float *finished) {
    if (s.token < TOKENS && s.chain == 0) finished[s.token * ROWS + s.row] = sum;
    BARRIER;
    bool of_gate = s.row / 8 % 2 == 0 && s.token < TOKENS;
    return of_gate ? gelu(sum) * finished[s.token * ROWS + s.row + 8] : sum;
}
#endif

#define MATRIX(i) const uint *w##i, int row_words##i, int first_row##i, int n_rows##i, int scale_at##i, float *out##i
#define MATRIX_OF(i) {w##i, row_words##i, first_row##i, n_rows##i, scale_at##i, out##i}
#if MATRICES == 1
#define MATRIX_LIST MATRIX_OF(0)
#elif MATRICES == 2
#define MATRIX_LIST MATRIX_OF(0), MATRIX_OF(1)
#else
#define MATRIX_LIST MATRIX_OF(0), MATRIX_OF(1), MATRIX_OF(2)
#endif

/* Group (part of the octets, TOKENS tokens or a slot). embedded: rows of embedded_width floats, the layer's part at
 * embedded_at. See product.cl for the experts' arguments. */
extern "C" __global__ __launch_bounds__(THREADS, 2) void decode(const float *vectors, int n_tokens, const float *x,
#ifdef STREAM
                            const float *y, float *x_out, int after, int scale, int before, float eps,
#endif
#ifdef EXPERTS
                            const int *chosen, int expert_groups, int per_row,
#endif
#ifdef EMBEDDED
                            const float *embedded, int embedded_width, int embedded_at,
#endif
#ifdef CAPPED
                            float cap,
#endif
#if MATRICES > 2
                            MATRIX(2),
#endif
#if MATRICES > 1
                            MATRIX(1),
#endif
                            MATRIX(0)) {
    LOCAL __align__(16) activations input;
    LOCAL __align__(16) float results[RESULTS_OR_STAGE];
#ifdef STREAM
    LOCAL float inverse[STAGED];
#endif
#ifdef GATED
    LOCAL float finished[TOKENS * ROWS];
#endif
    int first_token = GROUP_Y * TOKENS;
    grid_release();
#ifdef EXPERTS
    grid_wait(); /* for the choice */
    int expert = chosen[first_token];
    w0 += (wide)expert * (wide)expert_groups * (wide)row_words0 * 32;
    if (scale_at0 >= 0) scale_at0 += expert;
#if MATRICES > 1
    w1 += (wide)expert * (wide)expert_groups * (wide)row_words1 * 32;
    if (scale_at1 >= 0) scale_at1 += expert;
#endif
#endif
    octet_list list = {{MATRIX_LIST}};
    count_octets(&list);
    int shares = list.n / LEAST_OCTETS;
    int least = shares / (int)gridDim.x, more = shares % (int)gridDim.x; /* the first groups have one more */
    int begin = (GROUP_X * least + min(GROUP_X, more)) * LEAST_OCTETS;
    int end = begin + (least + (GROUP_X < more)) * LEAST_OCTETS;

    turn now = {begin, 0, WARP};
    uint words[UNIT_WORDS];
    advance(&now, 0, end);
    load_quad(&now, end, &list, words);
#ifndef EXPERTS
    grid_wait();
#endif
#ifdef STREAM
    stream from = {x, y, x_out, vectors, after, scale, before, eps};
    for (int first = 0; first < TOKENS; first += STAGED)
        take_stream(&from, first, first_token, n_tokens, results, inverse, &input);
#elif defined(EXPERTS)
    take_values(x, first_token / per_row, first_token / per_row + 1, &input);
#else
    take_values(x, first_token, n_tokens, &input);
#endif
    BARRIER;

    seat s = {LOCAL_ID % CHAINS, LOCAL_ID / CHAINS % ROWS, LOCAL_ID / (CHAINS * ROWS)};
    for (int base = begin, half = 0; base < end; base += OCTETS) {
        float sum = 0;
        octet mine = octet_of(&list, base + s.row / 8 < end ? base + s.row / 8 : end - 1);
        for (int segment = 0; segment * SEGMENT < QUADS; segment++, half ^= 1) {
            float *part = results + half * MOST_RESULTS;
            int n_items = ITEMS - segment * SEGMENT * QUAD_ITEMS;
            if (now.base == base && now.segment == segment) compute_segment(&now, end, &list, words, &input, part);
            BARRIER;
            if (n_items > SEGMENT * QUAD_ITEMS) n_items = SEGMENT * QUAD_ITEMS;
            if (s.token < TOKENS)
                sum = IN_FORMAT(format_of(&mine), add_items(sum, part + s.token * TOKEN_RESULTS + s.row, s.chain, n_items));
        }
        sum = finish_sum(sum, &mine, vectors);
        bool is_result = s.token < TOKENS && s.chain == 0;
#ifdef GATED
        sum = gate_rows(sum, s, finished);
        is_result = is_result && s.row / 8 % 2 == 0;
#endif
        int token = first_token + s.token, r = mine.row + s.row % 8;
        if (!is_result || token >= n_tokens || base + s.row / 8 >= end || r >= mine.m.n_rows) continue;
#ifdef EMBEDDED
        sum = gelu(sum) * embedded[(wide)token * (wide)embedded_width + (wide)(embedded_at + r)];
#endif
#ifdef CAPPED
        sum = cap * exact_tanh(sum / cap);
#endif
        mine.m.out[(wide)token * (wide)mine.m.n_rows + (wide)r] = sum;
    }
}
