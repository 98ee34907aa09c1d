/* Attention on CUDA for the heads that real models have, in the contract's order (docs/contract.md, rule 3): the heads'
 * norms and angles, and the attention of single rows (decoding). Rows of a prompt: attention_tiles.cu. Compiled behind
 * gpu/kernels/pages.cl for one kind of layer: HEAD is the width of its heads, a multiple of 32; HEADS, a power of two up
 * to 8, how many of the query heads that share a KV head are computed together.
 *
 * Who adds what: a lane of sixteen (or of eight, with two neighbours) owns the elements that are congruent to its number
 * mod 16, which are the contract's sixteen sums; the tree over them is one of shuffles, since a + b = b + a. */
#define PAIRS (HEAD / 2)
#define STEPS (HEAD / 16)
#define WEIGHT_MIN (-0x1.5d589ep+6f)
/* So many groups at least shall find room on a multiprocessor at once: bounds the registers. */
#define KERNEL_BESIDE(groups) extern "C" __global__ __launch_bounds__(GROUP, groups)

/* Two neighbours of a stored row, as they lie in memory, and as floats. */
#if defined(KV_F16)
typedef uint kv_pair;
FN kv_pair fetch_pair(const uchar *row, int pair) { return ((const uint *)row)[pair]; }
FN float2 pair_floats(kv_pair x) { return make_float2(half_to_float(x & 0xffff), half_to_float(x >> 16)); }
#elif defined(KV_F32)
typedef float2 kv_pair;
FN kv_pair fetch_pair(const uchar *row, int pair) { return ((const float2 *)row)[pair]; }
FN float2 pair_floats(kv_pair x) { return x; }
#else
typedef uint kv_pair; /* two codes, and above them their block's scale */
FN kv_pair fetch_pair(const uchar *row, int pair) {
    const ushort *block = (const ushort *)(row + pair / 16 * 34);
    return (uint)block[1 + pair % 16] | (uint)block[0] << 16;
}
FN float2 pair_floats(kv_pair x) {
    float d = half_to_float(x >> 16);
    return make_float2(d * (float)signed_byte(x, 0), d * (float)signed_byte(x, 1));
}
#endif

/* Where the keys or the values of one KV head of one sequence are. */
typedef struct kv_plane {
    const uchar *pool;
    const int *pages;
    wide page_bytes;
} kv_plane;

FN kv_plane plane_of(const uchar *pool, wide page_bytes, wide layer_at, const int *rows, const int *tables, int row,
                     int sliding, int plane) {
    kv_plane p;
    p.pool = pool + layer_at + (wide)plane * (wide)(PAGE * ROW_BYTES(HEAD));
    p.pages = tables + rows[row * 4 + 1 + sliding];
    p.page_bytes = page_bytes;
    return p;
}

/* The stored row of a position, in a page that the sequence holds. */
FN const uchar *kv_row(const kv_plane *p, int position) {
    return p->pool + (wide)p->pages[position / PAGE] * p->page_bytes + (wide)(position % PAGE * ROW_BYTES(HEAD));
}

FN int first_seen(int position, int sliding, int window) {
    return sliding && position + 1 > window ? position + 1 - window : 0;
}

/* ---- lanes */

#define WARP 0xffffffffu /* all threads of a warp take part in every exchange, those that have nothing to do as well */

/* The contract's tree over sixteen lanes. */
FN float sum_lanes(float sum) {
#pragma unroll
    for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(WARP, sum, step);
    return sum;
}

FN float max_lanes(float most) {
#pragma unroll
    for (int step = 8; step > 0; step /= 2) most = larger(__shfl_xor_sync(WARP, most, step), most);
    return most;
}

/* A step of the tree, between lanes `step` apart, for N sums at once: each of both lanes goes on with one half of them,
 * the lane with the bit with the upper one. LEAST sums stay together: both lanes go on with them. */
template <int N, int LEAST> FN void fold(float *sum, int step) {
    if (N <= LEAST) {
#pragma unroll
        for (int i = 0; i < N; i++) sum[i] += __shfl_xor_sync(WARP, sum[i], step);
        return;
    }
    bool upper = (LOCAL_ID & step) != 0;
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
        float kept = upper ? sum[i + N / 2] : sum[i], given = upper ? sum[i] : sum[i + N / 2];
        sum[i] = kept + __shfl_xor_sync(WARP, given, step);
    }
}

/* ---- norms and angles */

FN float inverse_rms(const float *x, float eps) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < STEPS; i++) sum = fma(x[i], x[i], sum);
    return 1.0f / sqrt(sum_lanes(sum) / (float)HEAD + eps);
}

/* Sixteen lanes' elements to a row of the cache, if they are `there`. */
#if defined(KV_F16)
FN void store_lanes(const float *x, int lane, bool there, uchar *row) {
#pragma unroll
    for (int i = 0; i < STEPS; i++)
        if (there) ((ushort *)row)[16 * i + lane] = (ushort)float_to_half(x[i]);
}
#elif defined(KV_F32)
FN void store_lanes(const float *x, int lane, bool there, uchar *row) {
#pragma unroll
    for (int i = 0; i < STEPS; i++)
        if (there) ((float *)row)[16 * i + lane] = x[i];
}
#else
FN void store_lanes(const float *x, int lane, bool there, uchar *row) {
#pragma unroll
    for (int i = 0; i < STEPS; i += 2) {
        uchar *block = row + i / 2 * 34;
        float most = fmax(x[i] < 0 ? -x[i] : x[i], x[i + 1] < 0 ? -x[i + 1] : x[i + 1]);
#pragma unroll
        for (int step = 8; step > 0; step /= 2) most = fmax(most, __shfl_xor_sync(WARP, most, step));
        float d = most / 127.0f, inverse = d == 0 ? 0.0f : 1.0f / d;
        if (!there) continue;
        if (lane == 0) *(ushort *)block = (ushort)float_to_half(d);
        block[2 + lane] = (uchar)((int)round(x[i] * inverse) & 255);
        block[18 + lane] = (uchar)((int)round(x[i + 1] * inverse) & 255);
    }
}
#endif

/* Sixteen lanes a unit: the keys of the n_kv KV heads of a row, their values, its query heads, which are finished in
 * place. cos_at: as in finish_heads. */
KERNEL(GROUP) void finish_lanes(float *q, const float *k, const float *v, int n_head, int n_kv, int n_kv_heads,
                                const float *vectors, int q_norm, int k_norm, const float *angles, int angle_width,
                                int cos_at, const int *rows, const int *tables, int sliding, uchar *pool,
                                wide page_bytes, wide layer_at, float eps) {
    grid_wait();
    grid_release();
    int unit = GROUP_X * (GROUP / 16) + LOCAL_ID / 16, lane = LOCAL_ID % 16, row = GROUP_Y, position = rows[row * 4];
    bool there = unit < n_head + 2 * n_kv;
    unit = there ? unit : n_head + 2 * n_kv - 1;
    bool is_key = unit < n_kv, is_value = !is_key && unit < 2 * n_kv;
    int head = is_key ? unit : is_value ? unit - n_kv : unit - 2 * n_kv;
    float *own = q + ((wide)row * (wide)n_head + (wide)head) * HEAD;
    wide in = ((wide)row * (wide)n_kv_heads + (wide)head) * HEAD;
    const float *from = is_key ? k + in : is_value ? v + in : own;
    float x[STEPS];
#pragma unroll
    for (int i = 0; i < STEPS; i++) x[i] = from[16 * i + lane];
    float s = inverse_rms(x, eps);
#pragma unroll
    for (int i = 0; i < STEPS; i++) x[i] *= s;
    if (!is_value) {
        const float *norm = vectors + (is_key ? k_norm : q_norm);
        const float *cosine = angles + (wide)rows[row * 4 + 3] * (wide)angle_width + (wide)cos_at;
#pragma unroll
        for (int i = 0; i < STEPS; i++) x[i] *= norm[16 * i + lane];
#pragma unroll
        for (int i = 0; i < STEPS / 2; i++) {
            float a = x[i], b = x[i + STEPS / 2], c = cosine[16 * i + lane], sine = cosine[PAIRS + 16 * i + lane];
            x[i] = a * c - b * sine;
            x[i + STEPS / 2] = b * c + a * sine;
        }
    }
    kv_plane plane = plane_of(pool, page_bytes, layer_at, rows, tables, row, sliding, is_key ? head : n_kv_heads + head);
    store_lanes(x, lane, there && (is_key || is_value), (uchar *)kv_row(&plane, position));
#pragma unroll
    for (int i = 0; i < STEPS; i++)
        if (there && !is_key && !is_value) own[16 * i + lane] = x[i];
}

/* ---- single rows. Scores come first, in `scores`: [listed row][query head][stride], from the beginning of the row's
 * first span on. Which rows they are stands in `rows`, from list_at on. */

#define KEYS  (HEADS >= 8 ? 2 : 4)   /* of eight lanes at once */
#define CHUNK (GROUP / 8 * KEYS)     /* positions of a group: in one page; scores that are not seen are computed and left alone */
#define BATCH (STEPS % 8 == 0 ? 8 : STEPS % 4 == 0 ? 4 : 2) /* steps whose keys are read ahead */

FN void fetch_keys(kv_pair *out, const uchar *row, int step) {
#pragma unroll
    for (int k = 0; k < KEYS; k++) {
#pragma unroll
        for (int i = 0; i < BATCH; i++)
            out[k * BATCH + i] = fetch_pair(row + k * ROW_BYTES(HEAD), (step + i) * 8 + LOCAL_ID % 8);
    }
}

/* The sums of KEYS keys with HEADS queries: lane l of eight has those of the elements congruent to 2 l and 2 l + 1. */
FN void add_keys(float *sum, const kv_pair *keys, const float2 *query, int step) {
#pragma unroll
    for (int i = 0; i < BATCH; i++) {
        float2 key[KEYS];
#pragma unroll
        for (int k = 0; k < KEYS; k++) key[k] = pair_floats(keys[k * BATCH + i]);
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            float2 x = query[h * PAIRS + (step + i) * 8 + LOCAL_ID % 8];
#pragma unroll
            for (int k = 0; k < KEYS; k++) {
                float *to = sum + 2 * (k * HEADS + h);
                to[0] = fma(x.x, key[k].x, to[0]);
                to[1] = fma(x.y, key[k].y, to[1]);
            }
        }
    }
}

/* The tree's last steps, and the scores to their places: `out` is that of the first key and head, heads are `stride`
 * apart. */
FN void store_scores(float *sum, float *out, int stride, int n_heads) {
    enum { N = 2 * KEYS * HEADS, N_4 = N > 2 ? N / 2 : 2, N_2 = N_4 > 2 ? N_4 / 2 : 2, LEFT = N_2 > 2 ? N_2 / 4 : 1 };
    fold<N, 2>(sum, 4);
    fold<N_4, 2>(sum, 2);
    fold<N_2, 2>(sum, 1);
    int begin = LOCAL_ID % 8 * KEYS * HEADS / 8;
#pragma unroll
    for (int i = 0; i < LEFT; i++) {
        int k = (begin + i) / HEADS, h = (begin + i) % HEADS;
        if (h < n_heads) out[h * stride + k] = sum[2 * i] + sum[2 * i + 1];
    }
}

/* Group (chunk of positions of a KV head, row). */
KERNEL_BESIDE(4) void score_keys(const float *q, int n_head, int heads_per_kv, const int *rows, const int *tables,
                              int sliding, int window, const uchar *pool, wide page_bytes, wide layer_at,
                              int list_at, float *scores, int stride) {
    LOCAL float2 query[HEADS * PAIRS];
    grid_wait();
    grid_release();
    int chunks = stride / CHUNK, kv_head = GROUP_X / chunks, row = rows[list_at + GROUP_Y], position = rows[row * 4];
    int begin = first_seen(position, sliding, window), base = begin / SPAN * SPAN;
    int at = base + GROUP_X % chunks * CHUNK;
    if (at > position || at + CHUNK <= begin) return;
    kv_plane plane = plane_of(pool, page_bytes, layer_at, rows, tables, row, sliding, kv_head);
    const uchar *keys = kv_row(&plane, at) + LOCAL_ID / 8 * KEYS * ROW_BYTES(HEAD);
    for (int first = 0; first < heads_per_kv; first += HEADS) {
        int head = kv_head * heads_per_kv + first, n = heads_per_kv - first < HEADS ? heads_per_kv - first : HEADS;
        const float2 *from = (const float2 *)(q + ((wide)row * (wide)n_head + (wide)head) * HEAD);
        kv_pair next[KEYS * BATCH];
        float sum[2 * KEYS * HEADS];
        fetch_keys(next, keys, 0);
        BARRIER;
        for (int i = LOCAL_ID; i < HEADS * PAIRS; i += GROUP) query[i] = i < n * PAIRS ? from[i] : make_float2(0, 0);
        BARRIER;
#pragma unroll
        for (int i = 0; i < 2 * KEYS * HEADS; i++) sum[i] = 0;
#pragma unroll 1
        for (int step = 0; step < STEPS; step += BATCH) {
            kv_pair now[KEYS * BATCH];
#pragma unroll
            for (int i = 0; i < KEYS * BATCH; i++) now[i] = next[i];
            if (step + BATCH < STEPS) fetch_keys(next, keys, step + BATCH);
            add_keys(sum, now, query, step);
        }
        float *out = scores + ((wide)GROUP_Y * (wide)n_head + (wide)head) * (wide)stride;
        store_scores(sum, out + (at - base) + LOCAL_ID / 8 * KEYS, stride, n);
    }
}

#define SLICE  16                            /* pairs of outputs of a group */
#define STAGED 128                           /* positions whose values are in local memory at once: two pages */
#define OWN    (STAGED * SLICE / GROUP)      /* pairs of them that a thread brings */
#define WEIGHTS (SPAN + 4)                   /* a head's row; heads of one warp lie in other banks */

/* Values of the stage at `at`, a multiple of STAGED; pages without a position in [first, end) are not read. */
FN void fetch_values(kv_pair *out, const kv_plane *plane, int at, int first, int end, int pair) {
#pragma unroll
    for (int page = 0; page < STAGED / PAGE; page++) {
        int from = at + page * PAGE;
        if (from >= end || from + PAGE <= first) continue;
        const uchar *row = kv_row(plane, from) + LOCAL_ID / SLICE * ROW_BYTES(HEAD);
#pragma unroll
        for (int i = 0; i < OWN * PAGE / STAGED; i++)
            out[page * (OWN * PAGE / STAGED) + i] = fetch_pair(row + i * (GROUP / SLICE) * ROW_BYTES(HEAD), pair);
    }
}

/* Sixteen lanes a head: the weights of a span's positions [first, end) from their scores, with their maximum and sum.
 * Lane l has the positions congruent to l mod 16, as the contract's sums. */
FN void weigh(const float *score, float *weight, int first, int end, float *max_out, float *sum_out) {
    int lane = LOCAL_ID % 16;
    float s[SPAN / 16], most = -INFINITY, sum = 0;
#pragma unroll
    for (int i = 0; i < SPAN / 16; i++) {
        int p = 16 * i + lane;
        s[i] = p >= first && p < end ? score[p] : -INFINITY;
        most = larger(s[i], most);
    }
    most = max_lanes(most) + 0.0f;
#pragma unroll
    for (int i = 0; i < SPAN / 16; i++) {
        int p = 16 * i + lane;
        if (p < first || p >= end) continue;
        float x = s[i] - most, w = x < WEIGHT_MIN ? 0.0f : exact_exp(x);
        weight[p] = w;
        sum += w;
    }
    *max_out = most;
    *sum_out = sum_lanes(sum);
}

/* Group (slice of outputs, KV head with some of its heads, part; row): what attend does (gpu/kernels/attention.cl), for
 * two outputs of each of HEADS heads a group, sixteen threads a head. */
KERNEL_BESIDE(4) void sum_values(float *q, int n_head, int heads_per_kv, const int *rows, const int *tables, int sliding,
                              int window, const uchar *pool, wide page_bytes, wide layer_at, int n_kv_heads,
                              int list_at, const float *scores, int stride, int first_span, int n_parts,
                              float *partial) {
    LOCAL float weight[HEADS * WEIGHTS];
    LOCAL float2 value[STAGED * SLICE];
    grid_wait();
    grid_release();
    int sets = (heads_per_kv + HEADS - 1) / HEADS, slices = PAIRS / SLICE, index = GROUP_X / slices;
    int pair = GROUP_X % slices * SLICE + LOCAL_ID % SLICE, set = index % sets, kv_head = index / sets % n_kv_heads;
    int part = index / sets / n_kv_heads, row = rows[list_at + GROUP_Y], position = rows[row * 4];
    int begin = first_seen(position, sliding, window), in_set = LOCAL_ID / SLICE, own = set * HEADS + in_set;
    int head = kv_head * heads_per_kv + own, base = begin / SPAN * SPAN;
    bool computes = in_set < HEADS && own < heads_per_kv;
    int span = n_parts > 1 ? first_span + part : begin / SPAN, last_span = n_parts > 1 ? span : position / SPAN;
    wide place = (wide)row * (wide)n_head + (wide)head;
    float *mine = partial + (place * (wide)n_parts + (wide)part) * (HEAD + 2);
    if (span * SPAN > position || span * SPAN + SPAN <= begin) return;
    kv_plane plane = plane_of(pool, page_bytes, layer_at, rows, tables, row, sliding, n_kv_heads + kv_head);
    const float *score = scores + ((wide)GROUP_Y * (wide)n_head + (wide)head) * (wide)stride;
    float *own_weight = weight + in_set * WEIGHTS;
    float out_x = 0, out_y = 0, run_max = -INFINITY, run_sum = 0;
    for (; span <= last_span; span++) {
        int at = span * SPAN, first = at > begin ? at : begin, end = at + SPAN < position + 1 ? at + SPAN : position + 1;
        int stage = first / STAGED * STAGED;
        float most = 0, sum = 0, x = 0, y = 0;
        kv_pair next[OWN];
        BARRIER; /* the weights of the span before are used */
        fetch_values(next, &plane, stage, first, end, pair);
        weigh(score + (at - base), own_weight, computes ? first - at : 0, computes ? end - at : 0, &most, &sum);
        for (; stage < end; stage += STAGED) {
            BARRIER;
#pragma unroll
            for (int i = 0; i < OWN; i++) value[i * GROUP + LOCAL_ID] = pair_floats(next[i]);
            if (stage + STAGED < end) fetch_values(next, &plane, stage + STAGED, first, end, pair);
            BARRIER;
            int from = stage > first ? stage : first, to = stage + STAGED < end ? stage + STAGED : end;
            if (!computes) continue;
#pragma unroll 8
            for (int p = from; p < to; p++) {
                float w = own_weight[p - at];
                float2 v = value[(p - stage) * SLICE + LOCAL_ID % SLICE];
                x = fma(w, v.x, x);
                y = fma(w, v.y, y);
            }
        }
        if (n_parts > 1 && computes) {
            mine[2 * pair] = x;
            mine[2 * pair + 1] = y;
            if (pair == 0) mine[HEAD] = most;
            if (pair == 0) mine[HEAD + 1] = sum;
        }
        float m = larger(most, run_max), old = exact_exp(run_max - m), fresh = exact_exp(most - m);
        run_max = m;
        run_sum = fma(run_sum, old, sum * fresh);
        out_x = fma(out_x, old, x * fresh);
        out_y = fma(out_y, old, y * fresh);
    }
    if (n_parts > 1 || !computes) return;
    float2 *result = (float2 *)(q + place * HEAD) + pair;
    *result = make_float2(out_x / run_sum, out_y / run_sum);
}

#define MERGED GROUP /* parts that are looked at together */

/* Puts the parts of a head together, those of them that hold a span which the row sees, in order; the same as
 * attend_merge. The largest scores up to each part are found side by side, so that all factors are at hand when the
 * outputs are added up. Group (head with a slice of its outputs, one pair a thread; row). */
KERNEL(GROUP) void merge_parts(float *q, int n_head, const int *rows, int sliding, int window, int first_span,
                               int n_parts, const float *partial) {
    LOCAL float most[MERGED], sum[MERGED], reached[MERGED], old[MERGED], fresh[MERGED];
    grid_wait();
    grid_release();
    int slices = (PAIRS + GROUP - 1) / GROUP, pair = GROUP_X % slices * GROUP + LOCAL_ID, position = rows[GROUP_Y * 4];
    int part = first_seen(position, sliding, window) / SPAN - first_span, end = position / SPAN - first_span + 1;
    wide place = (wide)GROUP_Y * (wide)n_head + (wide)(GROUP_X / slices);
    const float *parts = partial + place * (wide)n_parts * (HEAD + 2);
    float run_max = -INFINITY, run_sum = 0, x = 0, y = 0;
    for (; part < end; part += MERGED) {
        int n = end - part < MERGED ? end - part : MERGED;
        const float *first = parts + (wide)part * (HEAD + 2), *mine = first + (wide)LOCAL_ID * (HEAD + 2);
        BARRIER;
        if (LOCAL_ID < n) {
            most[LOCAL_ID] = mine[HEAD];
            sum[LOCAL_ID] = mine[HEAD + 1];
        }
        BARRIER;
        if (LOCAL_ID < n) {
            float before = run_max;
            for (int i = 0; i < LOCAL_ID; i++) before = larger(most[i], before);
            reached[LOCAL_ID] = larger(most[LOCAL_ID], before);
            old[LOCAL_ID] = exact_exp(before - reached[LOCAL_ID]);
            fresh[LOCAL_ID] = exact_exp(most[LOCAL_ID] - reached[LOCAL_ID]);
        }
        BARRIER;
        run_max = reached[n - 1];
#pragma unroll 8
        for (int i = 0; i < n; i++) {
            float2 out = pair < PAIRS ? ((const float2 *)(first + (wide)i * (HEAD + 2)))[pair] : make_float2(0, 0);
            x = fma(x, old[i], out.x * fresh[i]);
            y = fma(y, old[i], out.y * fresh[i]);
            run_sum = fma(run_sum, old[i], sum[i] * fresh[i]);
        }
    }
    if (pair < PAIRS) ((float2 *)(q + place * HEAD))[pair] = make_float2(x / run_sum, y / run_sum);
}
