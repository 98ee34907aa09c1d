/* The self-test of what stands between products: codes of activations, norms, gates, experts, adapters. Each kernel
 * is launched on rows of arbitrary numbers and compared with the CPU's functions, or, where these belong to the CPU's
 * pass, with the formulas of the contract. See check.h. */
#include <math.h>
#include <string.h>

#include "backend/gpu/check.h"

/* The first layer there is. */
static const layer_weights *weights_of(const check *c) { return &c->g->w->layers[c->g->options.first]; }
static const gpu_layer *places_of(const check *c) { return &c->g->layers[c->g->options.first]; }

/* n fresh floats, in x and in a buffer. */
static void send(check *c, const gpu_buffer *to, float *x, size_t n, uint64_t stream) {
    check_fill(x, n, stream);
    gpu_write(c->g, to, x, n * sizeof *x);
}

/* ---- codes */

/* By what codes are: d = absmax / 127, no number further from its code than d / 2, sums of sixteen. */
static bool codes_are_right(const float *x, const int8_t *codes, const int16_t *sums, float d, size_t block) {
    float most = 0;
    bool right = true;
    for (size_t i = 0; i < block; i++) most = fmaxf(most, fabsf(x[i]));
    right &= fabsf(d * 127 - most) <= 1e-5f * most;
    for (size_t i = 0; i < block; i++) right &= fabsf(x[i] - d * codes[i]) <= 0.5001f * d;
    for (size_t i = 0; i < block; i += 16) {
        int sum = 0;
        for (size_t k = i; k < i + 16; k++) sum += codes[k];
        right &= sum == sums[i / 16];
    }
    return right;
}

static facet_status check_codes(check *c, rows_input kind, size_t block) {
    gpu *g = c->g;
    const gpu_input *in = &g->input;
    float d;
    if (in->codes[kind].n_bytes < block) return FACET_OK; /* no row is that long */
    send(c, &c->in, c->x, block, 11);
    GPU_LAUNCH(g, g->quantise, 1, 1, g->group, GPU_BUF(c->in), GPU_I(block), GPU_I(block), GPU_BUF(in->codes[kind]),
               GPU_BUF(in->scales[kind]), GPU_BUF(in->sums[kind]));
    gpu_read_at(g, &in->codes[kind], 0, c->got, block / 4);
    gpu_read_at(g, &in->sums[kind], 0, c->want, block / 32);
    gpu_read_at(g, &in->scales[kind], 0, &d, 1);
    FACET_TRY(check_device(c));
    bool right = codes_are_right(c->x, (const int8_t *)c->got, (const int16_t *)c->want, d, block);
    return right ? FACET_OK : check_wrong(c, "codes of activations", 1);
}

/* ---- norms and gates */

/* x += RMSNorm(y; w), x *= scale, then RMSNorm(x; w2) */
static facet_status check_norms(check *c) {
    gpu *g = c->g;
    const layer_weights *w = weights_of(c);
    size_t n = g->h->n_embd;
    const gpu_layer *at = places_of(c);
    float *y = c->x + n;
    send(c, &g->y, y, n, 1);
    send(c, &g->x, c->x, n, 2);
    g->n_rows = 1;
    g->x_now = &g->x;
    gpu_settle(g, gpu_stream(at->post_attention_norm, at->output_scale, at->attn_norm), &c->out);
    cpu_rms_norm_add(g->cpu, y, w->post_attention_norm, g->h->eps, n, c->x);
    if (w->layer_output_scale) cpu_scale(g->cpu, c->x, *w->layer_output_scale, n);
    memcpy(c->want, c->x, n * sizeof *c->x);
    FACET_TRY(check_read(c, "the sum of norms", &g->x, n));
    cpu_rms_norm(g->cpu, c->x, w->attn_norm, g->h->eps, n, c->want);
    return check_read(c, "RMSNorm", &c->out, n);
}

static facet_status check_gates(check *c) {
    gpu *g = c->g;
    size_t n = g->h->n_embd;
    float *up = c->x + n, cap = 30;
    send(c, &c->in, c->x, n, 3);
    send(c, &g->y, up, n, 4);
    GPU_LAUNCH(g, g->gelu_mul, gpu_groups(n, g->group), 1, g->group, GPU_BUF(c->in), GPU_I(n), GPU_BUF(g->y),
               GPU_I(n), GPU_I(0), GPU_BUF(c->out), GPU_I(n));
    cpu_gelu_mul(g->cpu, c->x, up, n, c->want);
    FACET_TRY(check_read(c, "GELU", &c->out, n));
    GPU_LAUNCH(g, g->soft_cap, gpu_groups(n, g->group), 1, g->group, GPU_BUF(c->in), GPU_I(n), GPU_F(cap));
    memcpy(c->want, c->x, n * sizeof *c->x);
    cpu_soft_cap(g->cpu, c->want, cap, n);
    return check_read(c, "tanh", &c->in, n);
}

/* Two rows change places. */
static facet_status check_gather(check *c) {
    gpu *g = c->g;
    size_t n = g->h->n_embd;
    const int32_t index[2] = {1, 0};
    if (g->ubatch < 2) return FACET_OK;
    send(c, &c->in, c->x, 2 * n, 5);
    gpu_write(g, &g->index, index, sizeof index);
    GPU_LAUNCH(g, g->gather_rows, gpu_groups(n, g->group), 2, g->group, GPU_BUF(c->in), GPU_BUF(g->index), GPU_I(0),
               GPU_I(n), GPU_BUF(c->out));
    memcpy(c->want, c->x + n, n * sizeof *c->x);
    memcpy(c->want + n, c->x, n * sizeof *c->x);
    return check_read(c, "the choice of rows", &c->out, 2 * n);
}

/* (a * s + RMSNorm(b * t; w)) / sqrt(2) */
static facet_status check_ple(check *c) {
    gpu *g = c->g;
    size_t n = g->h->n_ple;
    float a_scale = sqrtf((float)n), b_scale = 1.0f / sqrtf((float)g->h->n_embd), *b = c->x + n;
    if (n == 0) return FACET_OK;
    send(c, &c->in, c->x, n, 6);
    send(c, &c->out, b, n, 7);
    GPU_LAUNCH(g, g->ple_combine, 1, 1, g->group, GPU_BUF(c->in), GPU_BUF(c->out), GPU_I(n), GPU_BUF(g->vectors),
               GPU_I(g->ple_norm), GPU_I(n), GPU_F(a_scale), GPU_F(b_scale), GPU_F(g->h->eps));
    cpu_scale(g->cpu, b, b_scale, n);
    cpu_rms_norm(g->cpu, b, g->w->per_layer_proj_norm, g->h->eps, n, c->want);
    for (size_t i = 0; i < n; i++) c->want[i] = (c->x[i] * a_scale + c->want[i]) * 0x1.6a09e6p-1f;
    return check_read(c, "per-layer embeddings", &c->out, n);
}

/* ---- experts */

static facet_status check_router_input(check *c) {
    gpu *g = c->g;
    const layer_weights *w = weights_of(c);
    size_t n = g->h->n_embd;
    float factor = 1.0f / sqrtf((float)n);
    send(c, &c->in, c->x, n, 8);
    GPU_LAUNCH(g, g->router_input, 1, 1, g->group, GPU_BUF(c->in), GPU_BUF(g->vectors),
               GPU_I(places_of(c)->router_scale), GPU_I(places_of(c)->pre_ffw_norm_2), GPU_BUF(c->out), GPU_BUF(g->e),
               GPU_I(n), GPU_F(factor), GPU_F(g->h->eps));
    cpu_rms_norm(g->cpu, c->x, NULL, g->h->eps, n, c->want);
    for (size_t i = 0; i < n; i++) c->want[i] = (c->want[i] * factor) * w->ffn_gate_inp_scale[i];
    FACET_TRY(check_read(c, "the router's input", &c->out, n));
    cpu_rms_norm(g->cpu, c->x, w->pre_ffw_norm_2, g->h->eps, n, c->want);
    return check_read(c, "the experts' input", &g->e, n);
}

/* The largest `used` of the probabilities, ascending in `chosen`; their shares times the experts' scales in want. */
static void choose(check *c, int32_t *chosen, float *p) {
    const gpu *g = c->g;
    const float *scale = weights_of(c)->ffn_down_exps_scale;
    size_t n = g->h->n_expert, used = g->h->n_expert_used, k = 0;
    float sum = 0;
    bool *taken = memset(c->got, 0, n * sizeof *c->got);
    cpu_softmax(g->cpu, p, n);
    for (size_t i = 0; i < used; i++) {
        size_t best = 0;
        while (taken[best]) best++;
        for (size_t e = best + 1; e < n; e++) best = !taken[e] && p[e] > p[best] ? e : best;
        taken[best] = true;
        sum += p[best];
    }
    for (size_t e = 0; e < n; e++) {
        if (!taken[e]) continue;
        chosen[k] = (int32_t)e;
        c->want[k++] = p[e] / sum * (scale ? scale[e] : 1.0f);
    }
}

static facet_status check_choice(check *c) {
    gpu *g = c->g;
    size_t n = g->h->n_expert, used = g->h->n_expert_used;
    int32_t *chosen = (int32_t *)(c->x + n), *got = (int32_t *)c->got;
    send(c, &g->router, c->x, n, 9);
    choose(c, chosen, c->x);
    GPU_LAUNCH(g, g->choose_experts, 1, 1, g->group, GPU_BUF(g->router), GPU_I(n), GPU_I(used), GPU_I(1),
               GPU_BUF(g->vectors), GPU_I(places_of(c)->down_scale), GPU_BUF(g->chosen), GPU_BUF(g->factor));
    FACET_TRY(check_read(c, "the experts' shares", &g->factor, used));
    gpu_read_at(g, &g->chosen, 0, c->got, used);
    FACET_TRY(check_device(c));
    return memcmp(got, chosen, used * sizeof *got) ? check_wrong(c, "the choice of experts", 1) : FACET_OK;
}

/* RMSNorm(y; w1) + RMSNorm(sum of factor_k * slot_k; w2) */
static facet_status check_mixture(check *c) {
    gpu *g = c->g;
    const layer_weights *w = weights_of(c);
    size_t n = g->h->n_embd, used = g->h->n_expert_used;
    float *slots = c->x + n, *sum = c->got;
    send(c, &g->y, c->x, n, 10);
    send(c, &g->slot_out, slots, used * n, 12);
    send(c, &g->factor, c->want, used, 13);
    GPU_LAUNCH(g, g->combine_experts, 1, 1, g->group, GPU_BUF(g->y), GPU_BUF(g->slot_out), GPU_BUF(g->factor),
               GPU_I(used), GPU_BUF(g->vectors), GPU_I(places_of(c)->post_ffw_norm_1),
               GPU_I(places_of(c)->post_ffw_norm_2), GPU_BUF(g->e), GPU_I(n), GPU_F(g->h->eps));
    memset(sum, 0, n * sizeof *sum);
    for (size_t k = 0; k < used; k++) cpu_add_scaled(g->cpu, sum, slots + k * n, c->want[k], n);
    cpu_rms_norm(g->cpu, c->x, w->post_ffw_norm_1, g->h->eps, n, c->want);
    cpu_rms_norm_add(g->cpu, sum, w->post_ffw_norm_2, g->h->eps, n, c->want);
    return check_read(c, "the mixture of experts", &g->y, n);
}

static facet_status check_experts(check *c) {
    if (c->g->h->n_expert == 0) return FACET_OK;
    FACET_TRY(check_router_input(c));
    FACET_TRY(check_choice(c));
    return check_mixture(c);
}

/* ---- adapters */

/* y += s B (A x), of rank 4: A is in g->x, B in c->out. */
static facet_status check_adapter(check *c) {
    enum { RANK = 4 };
    gpu *g = c->g;
    size_t n = g->h->n_embd / RANK; /* all of B is a row of n_embd */
    float *a = c->x, *b = a + RANK * n, *x = b + RANK * n, low[RANK] = {0}, s = 0.75f;
    send(c, &g->x, a, RANK * n, 14);
    send(c, &c->out, b, RANK * n, 15);
    send(c, &c->in, x, n, 16);
    send(c, &g->y, c->want, n, 17);
    GPU_LAUNCH(g, g->lora_low, 1, 1, g->group, GPU_BUF(g->x), GPU_I(RANK), GPU_I(n), GPU_BUF(c->in), GPU_I(0),
               GPU_I(0), GPU_BUF(c->in), GPU_I(1), GPU_BUF(g->normed));
    GPU_LAUNCH(g, g->lora_add, gpu_groups(n, g->group), 1, g->group, GPU_BUF(c->out), GPU_I(RANK), GPU_I(0), GPU_I(n),
               GPU_I(n), GPU_BUF(g->normed), GPU_F(s), GPU_I(0), GPU_I(0), GPU_BUF(c->in), GPU_BUF(g->y), GPU_I(n));
    for (size_t r = 0; r < RANK; r++) {
        for (size_t i = 0; i < n; i++) low[r] += a[r * n + i] * x[i];
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < RANK; r++) c->want[i] += s * b[i * RANK + r] * low[r];
    }
    return check_read(c, "adapters", &g->y, n);
}

facet_status check_steps(check *c) {
    FACET_TRY(check_codes(c, ROWS_CODES_256, 256));
    FACET_TRY(check_codes(c, ROWS_CODES_32, 32));
    FACET_TRY(check_norms(c));
    FACET_TRY(check_gates(c));
    FACET_TRY(check_gather(c));
    FACET_TRY(check_ple(c));
    FACET_TRY(check_experts(c));
    return check_adapter(c);
}
