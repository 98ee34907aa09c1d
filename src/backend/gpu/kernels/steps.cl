/* The steps between products: norms, quantising, gates, experts. Formulas and the order of every sum: docs/contract.md.
 * So where a device rounds divisions and square roots as IEEE has it, its results are the CPU's, bit for bit. */

/* x += RMSNorm(y; w1), where w1 >= 0; x *= vectors[scale], where scale >= 0; out = RMSNorm(x; w2), where w2 >= 0.
 * w1, w2, scale are places in `vectors`. One group a row. */
KERNEL(GROUP) void residual_norm(GLOBAL float *x, GLOBAL const float *y, GLOBAL const float *vectors, int w1, int scale,
                          int w2, GLOBAL float *out, int n, float eps) {
    grid_wait();
    grid_release();
    LOCAL float shared[STAGE];
    wide row = (wide)GROUP_X * (wide)n;
    x += row;
    y += row;
    out += row;
    float s, factor = scale >= 0 ? vectors[scale] : 1.0f;
#define OF_Y(i) y[i]
#define OF_X(i) x[i]
    INVERSE_RMS(s, OF_Y, w1 >= 0 ? n : 0, eps, shared);
    for (int i = LOCAL_ID; i < n; i += GROUP) {
        float v = x[i];
        if (w1 >= 0) v += (y[i] * s) * vectors[w1 + i];
        x[i] = v * factor;
    }
    INVERSE_RMS(s, OF_X, w2 >= 0 ? n : 0, eps, shared); /* every work item reads back what it wrote itself */
    for (int i = LOCAL_ID; i < n && w2 >= 0; i += GROUP) out[i] = (x[i] * s) * vectors[w2 + i];
}

/* Codes of activations in blocks of `block` (32 or 256) by the contract's rule 1: d = absmax / 127, q = rint(x / d).
 * Each work item has eight elements of a row; GROUP_Y is the row. */
KERNEL(GROUP) void quantise(GLOBAL const float *x, int n_cols, int block, GLOBAL uint *codes, GLOBAL float *scales,
                     GLOBAL short *sums) {
    grid_wait();
    grid_release();
    LOCAL uint most[GROUP];
    LOCAL int part[GROUP];
    int at = (GROUP_X * GROUP + LOCAL_ID) * 8, per_block = block / 8, first = LOCAL_ID / per_block * per_block;
    wide row = (wide)GROUP_Y * (wide)n_cols;
    float v[8];
    uint bits = 0; /* of the block's largest */
    for (int i = 0; i < 8; i++) {
        v[i] = at < n_cols ? x[row + (wide)(at + i)] : 0.0f;
        if (magnitude(v[i]) > bits) bits = magnitude(v[i]);
    }
    most[LOCAL_ID] = bits;
    BARRIER;
    for (int i = 0; i < per_block; i++) {
        if (most[first + i] > bits) bits = most[first + i];
    }
    int sum = 0;
    uint low = code_word(v[0], v[1], v[2], v[3], bits, &sum), high = code_word(v[4], v[5], v[6], v[7], bits, &sum);
    part[LOCAL_ID] = sum;
    BARRIER;
    if (at >= n_cols) return;
    wide word = (row + (wide)at) / 4;
    codes[word] = low;
    codes[word + 1] = high;
    if (LOCAL_ID % 2 == 0) sums[(row + (wide)at) / 16] = (short)(sum + part[LOCAL_ID + 1]);
    if (LOCAL_ID == first) scales[(row + (wide)at) / (wide)block] = step_of(bits);
}

/* out = gelu(gate) * up, rows of n; gate's and up's lie in rows of gate_width and up_width, up's at up_at. */
KERNEL(GROUP) void gelu_mul(GLOBAL const float *gate, int gate_width, GLOBAL const float *up, int up_width, int up_at,
                     GLOBAL float *out, int n) {
    grid_wait();
    grid_release();
    int i = GROUP_X * GROUP + LOCAL_ID;
    wide row = (wide)GROUP_Y;
    if (i >= n) return;
    out[row * (wide)n + (wide)i] =
        gelu(gate[row * (wide)gate_width + (wide)i]) * up[row * (wide)up_width + (wide)(up_at + i)];
}

/* x = cap * tanh(x / cap) */
KERNEL(GROUP) void soft_cap(GLOBAL float *x, int n, float cap) {
    grid_wait();
    grid_release();
    int i = GROUP_X * GROUP + LOCAL_ID;
    wide at = (wide)GROUP_Y * (wide)n + (wide)i;
    if (i < n) x[at] = cap * exact_tanh(x[at] / cap);
}

/* Rows of `width` floats: out's row i is in's row index[first + i]. */
KERNEL(GROUP) void gather_rows(GLOBAL const float *in, GLOBAL const int *index, int first, int width, GLOBAL float *out) {
    grid_wait();
    grid_release();
    int i = GROUP_X * GROUP + LOCAL_ID;
    if (i >= width) return;
    out[(wide)GROUP_Y * (wide)width + (wide)i] = in[(wide)index[first + GROUP_Y] * (wide)width + (wide)i];
}

/* The per-layer embeddings' two parts: b = (a * a_scale + RMSNorm(b * b_scale; w)) / sqrt 2, for slices of n in rows of
 * `width`. Group (slice, row). */
KERNEL(GROUP) void ple_combine(GLOBAL const float *a, GLOBAL float *b, int width, GLOBAL const float *vectors, int w, int n,
                        float a_scale, float b_scale, float eps) {
    grid_wait();
    grid_release();
    LOCAL float shared[STAGE];
    wide at = (wide)GROUP_Y * (wide)width + (wide)GROUP_X * (wide)n;
    a += at;
    b += at;
    float s;
#define OF_B(i) (b[i] * b_scale)
    INVERSE_RMS(s, OF_B, n, eps, shared);
    for (int i = LOCAL_ID; i < n; i += GROUP) {
        float v = ((b[i] * b_scale) * s) * vectors[w + i];
        b[i] = (a[i] * a_scale + v) * 0x1.6a09e6p-1f;
    }
}

/* ---- experts */

/* What the router sees, r = x / rms(x) * factor * w, and what the experts see, e = RMSNorm(x; w2). */
KERNEL(GROUP) void router_input(GLOBAL const float *x, GLOBAL const float *vectors, int w, int w2, GLOBAL float *r,
                         GLOBAL float *e, int n, float factor, float eps) {
    grid_wait();
    grid_release();
    LOCAL float shared[STAGE];
    wide row = (wide)GROUP_X * (wide)n;
    x += row;
    float s;
    INVERSE_RMS(s, OF_X, n, eps, shared);
    for (int i = LOCAL_ID; i < n; i += GROUP) {
        float v = x[i] * s;
        r[row + (wide)i] = (v * factor) * vectors[w + i];
        e[row + (wide)i] = v * vectors[w2 + i];
    }
}

/* Softmax over a row's n scores, its `used` largest (ties to the lower), divided by their sum: experts ascending in
 * `chosen`, their weights times vectors[scale_at + expert] (where >= 0) in `factor`. A row is a work item. */
KERNEL(GROUP) void choose_experts(GLOBAL float *scores, int n, int used, int n_rows, GLOBAL const float *vectors,
                           int scale_at, GLOBAL int *chosen, GLOBAL float *factor) {
    grid_wait();
    grid_release();
    int row = GROUP_X * GROUP + LOCAL_ID;
    if (row >= n_rows) return;
    GLOBAL float *p = scores + (wide)row * (wide)n;
    GLOBAL int *c = chosen + (wide)row * (wide)used;
    GLOBAL float *f = factor + (wide)row * (wide)used;
    float most = -INFINITY, sum = 0, lanes[16];
    for (int i = 0; i < 16; i++) lanes[i] = 0;
    for (int i = 0; i < n; i++) most = larger(p[i], most);
    for (int i = 0; i < n; i += 16) {
        for (int k = 0; k < 16 && i + k < n; k++) {
            p[i + k] = exact_exp(p[i + k] - most);
            lanes[k] += p[i + k];
        }
    }
    for (int step = 8; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) lanes[i] += lanes[i + step];
    }
    for (int i = 0; i < n; i++) p[i] /= lanes[0];
    for (int k = 0; k < used; k++) {
        int best = 0, at = k;
        for (int i = 1; i < n; i++) {
            if (p[i] > p[best]) best = i;
        }
        float v = p[best];
        p[best] = -1.0f;
        sum += v;
        for (; at > 0 && c[at - 1] > best; at--) {
            c[at] = c[at - 1];
            f[at] = f[at - 1];
        }
        c[at] = best;
        f[at] = v;
    }
    for (int k = 0; k < used; k++) {
        f[k] = f[k] / sum;
        if (scale_at >= 0) f[k] *= vectors[scale_at + c[k]];
    }
}

/* y = RMSNorm(y; w1) + RMSNorm(sum of factor_k * out_k; w2), the row's slots in order. `work` has a row for the sum. */
KERNEL(GROUP) void combine_experts(GLOBAL float *y, GLOBAL const float *slots, GLOBAL const float *factor, int used,
                            GLOBAL const float *vectors, int w1, int w2, GLOBAL float *work, int n, float eps) {
    grid_wait();
    grid_release();
    LOCAL float shared[STAGE];
    wide row = (wide)GROUP_X * (wide)n;
    y += row;
    work += row;
    for (int i = LOCAL_ID; i < n; i += GROUP) {
        float acc = 0;
        for (int k = 0; k < used; k++) {
            wide slot = (wide)(GROUP_X * used + k);
            acc = fma(factor[slot], slots[slot * (wide)n + (wide)i], acc);
        }
        work[i] = acc;
    }
    float s1, s2;
#define OF_WORK(i) work[i]
    INVERSE_RMS(s1, OF_Y, n, eps, shared);
    INVERSE_RMS(s2, OF_WORK, n, eps, shared);
    for (int i = LOCAL_ID; i < n; i += GROUP)
        y[i] = (y[i] * s1) * vectors[w1 + i] + (work[i] * s2) * vectors[w2 + i];
}

/* ---- adapters: y += s B (A x), both matrices floats, row by row */

/* low[t][r] = row r of a . x of token first + t; a group a token, work items take rows. Slots of experts: the matrix
 * is that of expert chosen[slot], x is row slot / per_row. `experts` 0: neither. */
KERNEL(GROUP) void lora_low(GLOBAL const float *a, int rank, int n_cols, GLOBAL const float *x, int first, int experts,
                     GLOBAL const int *chosen, int per_row, GLOBAL float *low) {
    grid_wait();
    grid_release();
    int token = first + GROUP_Y, r = GROUP_X * GROUP + LOCAL_ID;
    if (r >= rank) return;
    wide matrix_row = (wide)r;
    if (experts) matrix_row += (wide)chosen[token] * (wide)rank;
    a += matrix_row * (wide)n_cols;
    x += (wide)(experts ? token / per_row : token) * (wide)n_cols;
    float sum[16];
    for (int i = 0; i < 16; i++) sum[i] = 0;
    for (int i = 0; i < n_cols; i += 16) {
        for (int k = 0; k < 16 && i + k < n_cols; k++) sum[k] = fma(a[i + k], x[i + k], sum[k]);
    }
    for (int step = 8; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) sum[i] += sum[i + step];
    }
    low[(wide)GROUP_Y * (wide)rank + (wide)r] = sum[0];
}

KERNEL(GROUP) void lora_add(GLOBAL const float *b, int rank, int first_row, int n_rows, int total_rows,
                     GLOBAL const float *low, float s, int first, int experts, GLOBAL const int *chosen,
                     GLOBAL float *y, int ldy) {
    grid_wait();
    grid_release();
    int token = first + GROUP_Y, r = GROUP_X * GROUP + LOCAL_ID;
    if (r >= n_rows) return;
    wide matrix_row = (wide)(first_row + r);
    if (experts) matrix_row += (wide)chosen[token] * (wide)total_rows;
    b += matrix_row * (wide)rank;
    low += (wide)GROUP_Y * (wide)rank;
    float acc = 0;
    for (int i = 0; i < rank; i++) acc = fma(b[i], low[i], acc);
    wide at = (wide)token * (wide)ldy + (wide)r;
    y[at] = fma(s, acc, y[at]);
}
