/* Attention over keys and values in pages (pages.cl; docs/contract.md, rule 3): spans of 512 positions, each with its own
 * maximum, sum and outputs, put together in order. One query head of one row for each group. */
#define OUTPUTS (MAX_HEAD / GROUP)

/* Group (unit, row): unit < n_kv is a KV head, whose key and value are stored; then come the query heads, which are
 * finished in place. v_is_k: values are the key's projection. cos_at: the first angle of the layer's kind in rows of
 * `angle_width`, cosines of all pairs, then sines. */
KERNEL(GROUP) void finish_heads(GLOBAL float *q, GLOBAL const float *k, GLOBAL const float *v, int n_head, int n_kv,
                         int n_kv_heads, int dim, GLOBAL const float *vectors, int q_norm, int k_norm,
                         GLOBAL const float *angles, int angle_width, int cos_at, GLOBAL const int *rows,
                         GLOBAL const int *tables, int sliding, GLOBAL uchar *pool, wide page_bytes, wide layer_at,
                         float eps) {
    grid_wait();
    grid_release();
    LOCAL float head[MAX_HEAD];
    LOCAL float shared[STAGE];
    int unit = GROUP_X, row = GROUP_Y, pairs = dim / 2, is_kv = unit < n_kv, position = rows[row * 4];
    GLOBAL const float *cosine = angles + (wide)rows[row * 4 + 3] * (wide)angle_width + (wide)cos_at;
    GLOBAL float *own = q + ((wide)row * (wide)n_head + (wide)(is_kv ? 0 : unit - n_kv)) * (wide)dim;
    wide in = ((wide)row * (wide)n_kv_heads + (wide)(is_kv ? unit : 0)) * (wide)dim;
    wide plane = (wide)(PAGE * ROW_BYTES(dim));
    GLOBAL uchar *at = pool + page_row(rows, tables, row, sliding, position, page_bytes) + layer_at +
                       (wide)(position % PAGE * ROW_BYTES(dim));
    float s;
#define OF_V(i) v[in + (wide)(i)]
#define OF_FROM(i) from[i]
    INVERSE_RMS(s, OF_V, dim, eps, shared);
    for (int i = LOCAL_ID; i < dim; i += GROUP) head[i] = v[in + (wide)i] * s;
    BARRIER;
    STORE_HEAD(head, is_kv ? dim : 0, at + (wide)(n_kv_heads + unit) * plane);
    BARRIER;
    GLOBAL const float *from = is_kv ? k + in : (GLOBAL const float *)own;
    int norm = is_kv ? k_norm : q_norm;
    INVERSE_RMS(s, OF_FROM, dim, eps, shared);
    for (int i = LOCAL_ID; i < dim; i += GROUP) head[i] = (from[i] * s) * vectors[norm + i];
    BARRIER;
    for (int i = LOCAL_ID; i < pairs; i += GROUP) {
        float a = head[i], b = head[i + pairs];
        head[i] = a * cosine[i] - b * cosine[pairs + i];
        head[i + pairs] = b * cosine[i] + a * cosine[pairs + i];
    }
    BARRIER;
    STORE_HEAD(head, is_kv ? dim : 0, at + (wide)unit * plane);
    for (int i = LOCAL_ID; i < dim && !is_kv; i += GROUP) own[i] = head[i];
}

/* Group (head + n_head * part, row): one query head over the spans first_span + part, + n_parts, ... With one part
 * the result takes the query's place; with several the parts' spans go to `partial` (outputs, maximum, sum; dim + 2
 * floats each) and attend_merge puts them together: there is then one part for each span. */
KERNEL(GROUP) void attend(GLOBAL float *q, int n_head, int heads_per_kv, int dim, GLOBAL const int *rows,
                   GLOBAL const int *tables, int sliding, int window, GLOBAL const uchar *pool, wide page_bytes,
                   wide layer_at, int n_kv_heads, int first_span, int n_parts, GLOBAL float *partial) {
    grid_wait();
    grid_release();
    LOCAL float query[MAX_HEAD];
    LOCAL float score[SPAN];
    LOCAL float shared[GROUP];
    int head = GROUP_X % n_head, part = GROUP_X / n_head, row = GROUP_Y;
    int position = rows[row * 4], begin = sliding && position + 1 > window ? position + 1 - window : 0;
    wide plane = (wide)(PAGE * ROW_BYTES(dim));
    wide key_at = layer_at + (wide)(head / heads_per_kv) * plane;
    wide value_at = key_at + (wide)n_kv_heads * plane;
    GLOBAL float *own = q + ((wide)row * (wide)n_head + (wide)head) * (wide)dim;
    for (int i = LOCAL_ID; i < dim; i += GROUP) query[i] = own[i];
    BARRIER;
    float out[OUTPUTS], run_max = -INFINITY, run_sum = 0;
    for (int i = 0; i < OUTPUTS; i++) out[i] = 0;
    int span = n_parts > 1 ? first_span + part : begin / SPAN;
    int last_span = n_parts > 1 ? span : position / SPAN;
    for (; span <= last_span; span++) {
        int first = span * SPAN, end = first + SPAN < position + 1 ? first + SPAN : position + 1;
        if (first < begin) first = begin;
        float most = -INFINITY;
        for (int p = first + LOCAL_ID; p < end; p += GROUP) {
            GLOBAL const uchar *key = pool + page_row(rows, tables, row, sliding, p, page_bytes) + key_at +
                                      (wide)(p % PAGE * ROW_BYTES(dim));
            float lanes[16];
#pragma unroll
            for (int k = 0; k < 16; k++) lanes[k] = 0;
            for (int i = 0; i + 15 < dim; i += 16) {
#pragma unroll
                for (int k = 0; k < 16; k++) lanes[k] = fma(query[i + k], stored(key, i + k), lanes[k]);
            }
            for (int i = dim / 16 * 16; i < dim; i++) lanes[i % 16] = fma(query[i], stored(key, i), lanes[i % 16]);
#pragma unroll
            for (int step = 8; step > 0; step /= 2) {
#pragma unroll
                for (int k = 0; k < step; k++) lanes[k] += lanes[k + step];
            }
            float s = lanes[0];
            score[p - span * SPAN] = s;
            most = larger(s, most);
        }
        float span_max, span_sum;
        GROUP_MAX(span_max, most, shared);
        most = span_max + 0.0f;
        for (int p = first + LOCAL_ID; p < end; p += GROUP) {
            float w = score[p - span * SPAN] - most;
            score[p - span * SPAN] = w < -0x1.5d589ep+6f ? 0.0f : exact_exp(w);
        }
        BARRIER;
        float sum = 0;
        for (int i = LOCAL_ID; LOCAL_ID < 16 && i < end - span * SPAN; i += 16) {
            if (i >= first - span * SPAN) sum += score[i];
        }
        SUM_LANES(span_sum, sum, shared);
        sum = span_sum;
        if (first < end) {
            float m = larger(most, run_max), old = exact_exp(run_max - m), fresh = exact_exp(most - m);
            run_max = m;
            run_sum = fma(run_sum, old, sum * fresh);
            float acc[OUTPUTS];
            for (int i = 0; i < OUTPUTS; i++) acc[i] = 0;
            for (int p = first; p < end; p++) {
                GLOBAL const uchar *value = pool + page_row(rows, tables, row, sliding, p, page_bytes) + value_at +
                                            (wide)(p % PAGE * ROW_BYTES(dim));
                float w = score[p - span * SPAN];
                for (int i = 0; i < OUTPUTS; i++) {
                    int j = i * GROUP + LOCAL_ID;
                    if (j < dim) acc[i] = fma(w, stored(value, j), acc[i]);
                }
            }
            for (int i = 0; i < OUTPUTS; i++) out[i] = fma(out[i], old, acc[i] * fresh);
        }
        BARRIER;
    }
    if (n_parts > 1) {
        GLOBAL float *mine = partial + (((wide)row * (wide)n_head + (wide)head) * (wide)n_parts + (wide)part) * (wide)(dim + 2);
        for (int i = 0; i < OUTPUTS; i++) {
            int j = i * GROUP + LOCAL_ID;
            if (j < dim) mine[j] = out[i];
        }
        if (LOCAL_ID == 0) {
            mine[dim] = run_max;
            mine[dim + 1] = run_sum;
        }
    } else {
        for (int i = 0; i < OUTPUTS; i++) {
            int j = i * GROUP + LOCAL_ID;
            if (j < dim) own[j] = out[i] / run_sum;
        }
    }
}

/* Puts the parts of attend together, in order; those that saw nothing are left out. Group (head, row). */
KERNEL(GROUP) void attend_merge(GLOBAL float *q, int n_head, int dim, int n_parts, GLOBAL const float *partial) {
    grid_wait();
    grid_release();
    wide head = (wide)GROUP_Y * (wide)n_head + (wide)GROUP_X;
    for (int j = LOCAL_ID; j < dim; j += GROUP) {
        float out = 0, run_max = -INFINITY, run_sum = 0;
        for (int part = 0; part < n_parts; part++) {
            GLOBAL const float *of = partial + (head * (wide)n_parts + (wide)part) * (wide)(dim + 2);
            float most = of[dim], sum = of[dim + 1];
            if (most == -INFINITY) continue;
            float m = larger(most, run_max), old = exact_exp(run_max - m), fresh = exact_exp(most - m);
            run_max = m;
            run_sum = fma(run_sum, old, sum * fresh);
            out = fma(out, old, of[j] * fresh);
        }
        q[head * (wide)dim + (wide)j] = out / run_sum;
    }
}
