/* Attention of a prompt on CUDA, behind attention.cu: sixteen queries, the heads of one KV head of neighbouring rows of
 * one sequence, share every key and value that is read. A span's scores lie in local memory between the two halves of
 * the work, q . k and p . v.
 *
 * Keys are taken 32 at a time, all in one page, whether a query sees them or not: scores that it does not see are
 * computed and left alone. A key's elements beyond what the sequence has written may be anything, NaNs included; they
 * stand in no sum but those. Values are taken AHEAD at a time; where not all queries see all of them, each product is
 * made for those who do only: a weight of zero would not do (0 * infinity, and -0 + 0). */
#define TILE      16
#define KEY_TILE  32
#define DEPTH     (HEAD % 64 == 0 ? 4 : 2) /* steps of sixteen elements that are staged at once */
#define SCORES    (SPAN + 8)               /* a query's row: 32 bytes on in the banks */
#define OUT_PAIRS ((PAIRS + 63) / 64)      /* pairs of outputs of a thread, for eight queries */
#define AHEAD     (OUT_PAIRS > 2 ? 2 : 4)  /* positions whose values are read together: as many as registers allow */

/* Elements lane, lane + 16, ... of a row: one lane's of DEPTH steps. */
struct alignas(4 * DEPTH) lane_steps {
    float x[DEPTH];
};
struct alignas(16) four {
    float x[4];
};
struct alignas(4 * AHEAD) weights {
    float x[AHEAD];
};

/* What all threads of a tile know of it. */
struct tile {
    int first_row, n_queries, heads, head; /* query i is head `head` + i % heads of row first_row + i / heads */
    int begin, end;                        /* positions that some query sees */
};

FN wide place_of(const tile *t, int n_head, int query) {
    return (wide)(t->first_row + query / t->heads) * (wide)n_head + (wide)(t->head + query % t->heads);
}

/* ---- scores */

/* The bits of queries and keys that a thread brings for DEPTH steps: two of each, a query's by lanes, a key's by pairs. */
struct bits {
    lane_steps query[2];
    kv_pair key[2][DEPTH];
};

FN void fetch_bits(bits *b, const float *q, const uint *query, const uchar *key, int element) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            b->query[r].x[d] = q[query[r] + element + 16 * d];
            b->key[r][d] = fetch_pair(key + r * (GROUP / 8) * ROW_BYTES(HEAD), element / 2 + 8 * d + LOCAL_ID % 8);
        }
    }
}

FN void stage_bits(const bits *b, lane_steps *queries, lane_steps *keys) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        lane_steps even, odd;
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            float2 x = pair_floats(b->key[r][d]);
            even.x[d] = x.x;
            odd.x[d] = x.y;
        }
        lane_steps *to = keys + (LOCAL_ID / 8 + r * (GROUP / 8)) * 16 + LOCAL_ID % 8 * 2;
        to[0] = even;
        to[1] = odd;
        queries[LOCAL_ID + r * GROUP] = b->query[r];
    }
}

/* 8 x 8 inner products of sixteen lanes, the lane's own elements: sum[8 * query + key]. */
FN void add_products(float *sum, const lane_steps *query, const lane_steps *key) {
    lane_steps q[8];
#pragma unroll
    for (int i = 0; i < 8; i++) q[i] = query[16 * i];
#pragma unroll
    for (int k = 0; k < 8; k++) {
        lane_steps x = key[16 * k];
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
#pragma unroll
            for (int i = 0; i < 8; i++) sum[8 * i + k] = fma(q[i].x[d], x.x[d], sum[8 * i + k]);
        }
    }
}

/* All queries with KEY_TILE keys, to `score`, the place of the first key. This thread brings elements of the queries from
 * q[query[0]] and q[query[1]] on, and of the key whose row is `key` and the one 16 on. */
FN void score_tile(const float *q, const uint *query, const uchar *key, lane_steps *queries, lane_steps *keys,
                   float *score) {
    int lane = LOCAL_ID % 16, group = LOCAL_ID / 16, first_query = group / 4 * 8, first_key = group % 4 * 8;
    float sum[64];
    bits next;
    fetch_bits(&next, q, query, key, 0);
#pragma unroll
    for (int i = 0; i < 64; i++) sum[i] = 0;
#pragma unroll 1
    for (int element = 0; element < HEAD; element += 16 * DEPTH) {
        BARRIER;
        stage_bits(&next, queries, keys);
        if (element + 16 * DEPTH < HEAD) fetch_bits(&next, q, query, key, element + 16 * DEPTH);
        BARRIER;
        add_products(sum, queries + first_query * 16 + lane, keys + first_key * 16 + lane);
    }
    fold<64, 1>(sum, 8);
    fold<32, 1>(sum, 4);
    fold<16, 1>(sum, 2);
    fold<8, 1>(sum, 1);
    four mine = {{sum[0], sum[1], sum[2], sum[3]}};
    *(four *)(score + (first_query + lane / 2) * SCORES + first_key + lane % 2 * 4) = mine;
}

/* ---- weights */

/* A tile's queries in the span at hand, and what the spans before gave. */
struct tile_state {
    int first[TILE], end[TILE]; /* positions that a query sees, from the span's beginning; none: 0, 0 */
    float old[TILE], fresh[TILE], run_max[TILE], run_sum[TILE], most[TILE], sum[TILE];
};

/* A span joins those before, as far as that does not concern the outputs. */
FN void join_weights(tile_state *s, int query, float most, float sum) {
    float m = larger(most, s->run_max[query]), old = exact_exp(s->run_max[query] - m), fresh = exact_exp(most - m);
    s->old[query] = old;
    s->fresh[query] = fresh;
    s->run_sum[query] = fma(s->run_sum[query], old, sum * fresh);
    s->run_max[query] = m;
    s->most[query] = most;
    s->sum[query] = sum;
}

/* Sixteen lanes a query, as weigh in attention.cu, in place. */
FN void weigh_tile(float *score, tile_state *s) {
    int lane = LOCAL_ID % 16;
    for (int query = LOCAL_ID / 16; query < TILE; query += GROUP / 16) {
        float *own = score + query * SCORES, most = -INFINITY, sum = 0;
        int first = s->first[query], end = s->end[query];
        for (int p = first / 16 * 16 + lane; p < end; p += 16) most = p >= first ? larger(own[p], most) : most;
        most = max_lanes(most) + 0.0f;
        for (int p = first / 16 * 16 + lane; p < end; p += 16) {
            if (p < first) continue;
            float x = own[p] - most, w = x < WEIGHT_MIN ? 0.0f : exact_exp(x);
            own[p] = w;
            sum += w;
        }
        sum = sum_lanes(sum);
        if (lane == 0 && first < end) join_weights(s, query, most, sum);
    }
}

/* ---- values */

FN void fetch_ahead(kv_pair *out, const kv_plane *values, int position, int pair) {
    const uchar *row = kv_row(values, position);
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
#pragma unroll
        for (int j = 0; j < OUT_PAIRS; j++)
            if (pair + 64 * j < PAIRS) out[k * OUT_PAIRS + j] = fetch_pair(row + k * ROW_BYTES(HEAD), pair + 64 * j);
    }
}

/* Which of eight queries see AHEAD positions from p on: bit i + 8 k for query i and position p + k. */
FN uint seen_by(const int *first, const int *end, int p) {
    uint seen = 0;
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < AHEAD; k++) seen |= (uint)(p + k >= first[i] && p + k < end[i]) << (i + 8 * k);
    }
    return seen;
}

/* AHEAD positions, from the one on whose weight for the first query is *weight; MASKED: for the queries in `seen`. */
template <bool MASKED> FN void add_values(float2 *acc, const float2 *v, const float *weight, uint seen) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
        weights w = *(const weights *)(weight + i * SCORES);
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (MASKED && !(seen >> (i + 8 * k) & 1)) continue;
#pragma unroll
            for (int j = 0; j < OUT_PAIRS; j++) {
                float2 *to = acc + i * OUT_PAIRS + j;
                to->x = fma(w.x[k], v[k * OUT_PAIRS + j].x, to->x);
                to->y = fma(w.x[k], v[k * OUT_PAIRS + j].y, to->y);
            }
        }
    }
}

/* acc = the weighted values of a span for eight queries: positions [begin, end) from the span's beginning `at`. */
FN void add_span(float2 *acc, const kv_plane *values, const float *weight, const int *first, const int *last, int at,
                 int begin, int end, int pair) {
    int all_first = 0, all_end = SPAN; /* what all of them see, those that see nothing apart */
    kv_pair next[AHEAD * OUT_PAIRS];
    float2 v[AHEAD * OUT_PAIRS];
    for (int i = 0; i < 8; i++) {
        if (first[i] >= last[i]) continue;
        if (first[i] > all_first) all_first = first[i];
        if (last[i] < all_end) all_end = last[i];
    }
#pragma unroll
    for (int i = 0; i < 8 * OUT_PAIRS; i++) acc[i] = make_float2(0, 0);
    fetch_ahead(next, values, at + begin / AHEAD * AHEAD, pair);
#pragma unroll 1
    for (int p = begin / AHEAD * AHEAD; p < end; p += AHEAD) {
#pragma unroll
        for (int i = 0; i < AHEAD * OUT_PAIRS; i++) v[i] = pair_floats(next[i]);
        if (p + AHEAD < end) fetch_ahead(next, values, at + p + AHEAD, pair);
        if (p >= all_first && p + AHEAD <= all_end)
            add_values<false>(acc, v, weight + p, 0);
        else
            add_values<true>(acc, v, weight + p, seen_by(first, last, p));
    }
}

/* A thread's outputs to local memory, where the eight queries' scores were. */
FN void put_outputs(const float2 *acc, float *to, int pair) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int j = 0; j < OUT_PAIRS; j++)
            if (pair + 64 * j < PAIRS) ((float2 *)(to + i * SCORES))[pair + 64 * j] = acc[i * OUT_PAIRS + j];
    }
}

/* A span's outputs of one query join those before, which lie in `run` unless it is the first; the last goes to `q`. */
FN void join_span(const float2 *out, const tile_state *s, int query, bool is_first, bool is_last, float2 *run, float2 *q) {
    float old = s->old[query], fresh = s->fresh[query], sum = s->run_sum[query];
    for (int pair = LOCAL_ID; pair < PAIRS; pair += GROUP) {
        float2 x = is_first ? make_float2(0, 0) : run[pair], y = out[pair];
        x.x = fma(x.x, old, y.x * fresh);
        x.y = fma(x.y, old, y.y * fresh);
        if (is_last)
            q[pair] = make_float2(x.x / sum, x.y / sum);
        else
            run[pair] = x;
    }
}

/* A span's outputs of one query as they are, for merge_parts. */
FN void store_part(const float2 *out, const tile_state *s, int query, float *mine) {
    for (int pair = LOCAL_ID; pair < PAIRS; pair += GROUP) ((float2 *)mine)[pair] = out[pair];
    if (LOCAL_ID != 0) return;
    mine[HEAD] = s->most[query];
    mine[HEAD + 1] = s->sum[query];
}

/* ---- a tile */

/* What its queries see of the span that begins at `at`. */
FN void note_ranges(tile_state *s, const tile *t, const int *rows, int sliding, int window, int at) {
    if (LOCAL_ID >= TILE) return;
    int position = LOCAL_ID < t->n_queries ? rows[(t->first_row + LOCAL_ID / t->heads) * 4] : at - 1;
    int first = first_seen(position, sliding, window) - at, end = position + 1 - at;
    first = first > 0 ? first : 0;
    end = end < SPAN ? end : SPAN;
    s->first[LOCAL_ID] = first < end ? first : 0;
    s->end[LOCAL_ID] = first < end ? end : 0;
}

/* Group (KV head with up to TILE of its heads, part; tile). A tile is two ints from tiles_at on in `rows`: its first
 * row, how many there are. Spans and parts are as in attend; with one part, outputs between spans are kept in `partial`. */
KERNEL_BESIDE(3) void attend_tiles(float *q, int n_head, int heads_per_kv, const int *rows, const int *tables, int sliding,
                                int window, const uchar *pool, wide page_bytes, wide layer_at, int n_kv_heads,
                                int tiles_at, int first_span, int n_parts, float *partial) {
    LOCAL four score_rows[TILE * SCORES / 4];
    LOCAL lane_steps queries[TILE * 16], keys[KEY_TILE * 16];
    LOCAL tile t;
    LOCAL tile_state state;
    grid_wait();
    grid_release();
    int sets = (heads_per_kv + TILE - 1) / TILE, set = GROUP_X % sets, kv_head = GROUP_X / sets % n_kv_heads;
    int part = GROUP_X / sets / n_kv_heads, left = heads_per_kv - set * TILE, pair = LOCAL_ID % 64;
    int first_query = LOCAL_ID / 64 * 8; /* of the eight whose outputs this thread has */
    float *score = (float *)score_rows;
    if (LOCAL_ID == 0) {
        int n = rows[tiles_at + 2 * GROUP_Y + 1];
        t.first_row = rows[tiles_at + 2 * GROUP_Y];
        t.heads = left < TILE ? left : TILE;
        t.n_queries = n * t.heads;
        t.head = kv_head * heads_per_kv + set * TILE;
        t.begin = first_seen(rows[t.first_row * 4], sliding, window);
        t.end = rows[(t.first_row + n - 1) * 4] + 1;
    }
    if (LOCAL_ID < TILE) {
        state.run_max[LOCAL_ID] = -INFINITY;
        state.run_sum[LOCAL_ID] = 0;
    }
    BARRIER;
    uint query[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int i = LOCAL_ID / 16 + r * (GROUP / 16);
        query[r] = (uint)place_of(&t, n_head, i < t.n_queries ? i : t.n_queries - 1) * HEAD + LOCAL_ID % 16;
    }
    int span = n_parts > 1 ? first_span + part : t.begin / SPAN, last = n_parts > 1 ? span : (t.end - 1) / SPAN;
    for (; span <= last; span++) {
        int at = span * SPAN, begin = t.begin > at ? t.begin - at : 0, end = t.end - at < SPAN ? t.end - at : SPAN;
        float2 acc[8 * OUT_PAIRS];
        BARRIER;
        note_ranges(&state, &t, rows, sliding, window, at);
        kv_plane plane = plane_of(pool, page_bytes, layer_at, rows, tables, t.first_row, sliding, kv_head);
        for (int p = begin / KEY_TILE * KEY_TILE; p < end; p += KEY_TILE) {
            const uchar *key = kv_row(&plane, at + p) + LOCAL_ID / 8 * ROW_BYTES(HEAD);
            score_tile(q, query, key, queries, keys, score + p);
        }
        BARRIER;
        weigh_tile(score, &state);
        BARRIER;
        if (begin < end) {
            plane = plane_of(pool, page_bytes, layer_at, rows, tables, t.first_row, sliding, n_kv_heads + kv_head);
            add_span(acc, &plane, score + first_query * SCORES, state.first + first_query, state.end + first_query, at,
                     begin, end, pair);
            BARRIER;
            put_outputs(acc, score + first_query * SCORES, pair);
            BARRIER;
        }
#pragma unroll 1
        for (int i = 0; i < t.n_queries; i++) {
            int position = rows[(t.first_row + i / t.heads) * 4];
            const float2 *out = (const float2 *)(score + i * SCORES);
            wide place = place_of(&t, n_head, i);
            float *mine = partial + (place * (wide)n_parts + (wide)part) * (HEAD + 2);
            if (state.first[i] >= state.end[i]) continue;
            if (n_parts > 1)
                store_part(out, &state, i, mine);
            else
                join_span(out, &state, i, span == first_seen(position, sliding, window) / SPAN, span == position / SPAN,
                          (float2 *)mine, (float2 *)(q + place * HEAD));
        }
    }
}
