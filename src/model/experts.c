/* The mixture of experts beside the dense feed-forward.
 *   router: r = x / rms(x) / sqrt(n) * ffn_gate_inp.scale, p = softmax(ffn_gate_inp @ r), the largest `used` of them
 *   (ties to the lower expert), divided by their sum
 *   e = RMSNorm(x; pre_ffw_norm_2); expert i gives y_i = down_i @ (gelu(gate_i @ e) * (up_i @ e))
 *   u = sum of p_i * scale_i * y_i, experts ascending
 *   y = RMSNorm(dense; post_ffw_norm_1) + RMSNorm(u; post_ffw_norm_2)
 * Tokens are grouped by expert, so that each expert's weights are read once a step. */
#include <math.h>
#include <string.h>

#include "model/pass.h"

/* ---- routing */

static void router_input(forward *f, const layer_weights *w, size_t i) {
    size_t n = f->h->n_embd;
    const float *x = f->x + i * n;
    float *r = f->normed + i * n, factor = 1.0f / sqrtf((float)n);
    cpu_rms_norm(f->cpu, x, NULL, f->h->eps, n, r);
    for (size_t j = 0; j < n; j++) r[j] = (r[j] * factor) * w->ffn_gate_inp_scale[j];
    cpu_rms_norm(f->cpu, x, w->pre_ffw_norm_2, f->h->eps, n, f->e + i * n);
}

static void route_inputs(const pool_worker *t, forward *f, const layer_weights *w) {
    unsigned kinds = pass_kinds(f, (const weight *[]){&w->ffn_gate_inp}, 1);
    size_t t0, t1;
    while (pool_next(t, f->n_rows, pass_group(f, kinds, f->n_rows), &t0, &t1)) {
        for (size_t i = t0; i < t1; i++) router_input(f, w, i);
        pass_prepare_rows(f, &f->in, kinds, f->normed, f->h->n_embd, f->n_rows, t0, t1);
    }
    pool_sync(t);
}

static uint32_t best_left(const float *p, size_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (p[i] > p[best]) best = i;
    }
    return best;
}

/* The row's experts in ascending order, and their factors. Consumes the row's probabilities. */
static void choose_experts(forward *f, const layer_weights *w, size_t i) {
    size_t n_expert = f->h->n_expert, used = f->h->n_expert_used;
    float *p = f->router + i * n_expert, sum = 0;
    uint32_t *chosen = f->plan.chosen + i * used;
    float *factor = f->plan.factor + i * used;
    cpu_softmax(f->cpu, p, n_expert);
    for (size_t k = 0; k < used; k++) {
        uint32_t best = best_left(p, n_expert);
        float probability = p[best];
        p[best] = -INFINITY;
        sum += probability;
        size_t at = k; /* insertion keeps the experts ascending */
        for (; at > 0 && chosen[at - 1] > best; at--) {
            chosen[at] = chosen[at - 1];
            factor[at] = factor[at - 1];
        }
        chosen[at] = best;
        factor[at] = probability;
    }
    for (size_t k = 0; k < used; k++) {
        factor[k] = factor[k] / sum;
        if (w->ffn_down_exps_scale) factor[k] *= w->ffn_down_exps_scale[chosen[k]];
    }
}

/* Where each expert's prepared inputs lie. */
static void place_inputs(forward *f, const layer_weights *w) {
    expert_plan *p = &f->plan;
    cpu_input down_kind = cpu_input_for(f->cpu, w->ffn_down_exps.m.format->type);
    size_t in_at[CPU_N_INPUTS] = {0}, mid_at = 0;
    p->n_active = 0;
    for (uint32_t e = 0; e < f->h->n_expert; e++) {
        uint32_t count = p->first[e + 1] - p->first[e];
        if (count == 0) continue;
        size_t a = p->n_active++;
        p->active[a] = e;
        p->mid_at[a] = mid_at;
        mid_at += cpu_input_bytes(f->cpu, down_kind, f->h->n_ff_expert, count);
        for (int kind = 0; kind < CPU_N_INPUTS; kind++) {
            p->input_at[kind][a] = in_at[kind];
            in_at[kind] += cpu_input_bytes(f->cpu, (cpu_input)kind, f->h->n_embd, count);
        }
    }
}

/* One thread: slots by counting, so that an expert's tokens lie together, rows ascending. */
static void make_plan(forward *f, const layer_weights *w) {
    expert_plan *p = &f->plan;
    size_t n_expert = f->h->n_expert, used = f->h->n_expert_used, n_slots = f->n_rows * used;
    memset(p->first, 0, (n_expert + 1) * sizeof *p->first);
    for (size_t s = 0; s < n_slots; s++) p->first[p->chosen[s] + 1]++;
    for (size_t e = 0; e < n_expert; e++) p->first[e + 1] += p->first[e];
    place_inputs(f, w);
    for (size_t s = 0; s < n_slots; s++) { /* first[e] runs to the end of e's slots, and is put back below */
        uint32_t slot = p->first[p->chosen[s]]++;
        p->tokens[slot] = (uint32_t)(s / used);
        p->slot_of[s] = slot;
    }
    memmove(p->first + 1, p->first, n_expert * sizeof *p->first);
    p->first[0] = 0;
}

static void route(const pool_worker *t, forward *f, const layer_weights *w) {
    size_t begin, end;
    route_inputs(t, f, w);
    pass_product z = {.w = &w->ffn_gate_inp,
                      .in = &f->in,
                      .x = f->normed,
                      .n_tokens = f->n_rows,
                      .out = f->router,
                      .ldo = f->h->n_expert};
    pass_products(t, f, &z, 1);
    while (pool_next(t, f->n_rows, 1, &begin, &end)) choose_experts(f, w, begin);
    pool_sync(t);
    if (t->index == 0) make_plan(f, w);
    pool_sync(t);
}

/* ---- the experts' products */

static size_t slot_count(const expert_plan *p, size_t active) {
    uint32_t e = p->active[active];
    return p->first[e + 1] - p->first[e];
}

static pass_input input_of(const forward *f, size_t active) {
    pass_input in = {{NULL}};
    for (int kind = 0; kind < CPU_N_INPUTS; kind++) {
        if (f->expert_in[kind]) in.kinds[kind] = f->expert_in[kind] + f->plan.input_at[kind][active];
    }
    return in;
}

/* The products of an expert. `out` of the second factor is its thread's. */
static pass_product up_of(const forward *f, const layer_weights *w, size_t active, const pass_input *in) {
    uint32_t e = f->plan.active[active];
    bool merged = w->ffn_gate_up_exps.m.format != NULL; /* then up shares gate's adapters */
    return (pass_product){.w = merged ? &w->ffn_gate_up_exps : &w->ffn_up_exps,
                          .expert = e,
                          .in = in,
                          .n_tokens = slot_count(&f->plan, active),
                          .x = f->e,
                          .x_by_row = true,
                          .rows = f->plan.tokens + f->plan.first[e],
                          .low = adapt_place(f, merged ? 0 : 1, f->plan.first[e])};
}

static pass_product gate_of(const forward *f, const layer_weights *w, size_t active, const pass_input *in) {
    pass_product p = up_of(f, w, active, in);
    if (!w->ffn_gate_up_exps.m.format) p.w = &w->ffn_gate_exps;
    p.low = adapt_place(f, 0, f->plan.first[p.expert]);
    p.out = f->slot_mid + (size_t)f->plan.first[p.expert] * f->h->n_ff_expert;
    p.ldo = f->h->n_ff_expert;
    return p;
}

static pass_product down_of(const forward *f, const layer_weights *w, size_t active, const pass_input *in) {
    pass_product p = up_of(f, w, active, in);
    size_t slot = f->plan.first[p.expert];
    p.w = &w->ffn_down_exps;
    p.x = f->slot_mid + slot * f->h->n_ff_expert;
    p.x_by_row = false;
    p.low = adapt_place(f, 0, slot);
    p.out = f->slot_out + slot * f->h->n_embd;
    p.ldo = f->h->n_embd;
    return p;
}

static void prepare_inputs(const pool_worker *t, forward *f, const layer_weights *w) {
    const expert_plan *p = &f->plan;
    size_t a, end, n = f->h->n_embd;
    unsigned kinds = pass_kinds(f, (const weight *[]){&w->ffn_gate_up_exps, &w->ffn_gate_exps, &w->ffn_up_exps}, 3);
    while (pool_next(t, p->n_active, 1, &a, &end)) {
        pass_input in = input_of(f, a);
        pass_product gate = gate_of(f, w, a, &in), up = up_of(f, w, a, &in);
        for (int kind = 0; kind < CPU_N_INPUTS; kind++) {
            if (!(kinds >> kind & 1)) continue;
            cpu_input_prepare(f->cpu, (cpu_input)kind, f->e, n, gate.rows, n, gate.n_tokens, 0, gate.n_tokens,
                              in.kinds[kind]);
        }
        adapt_one(t, f, &gate);
        if (up.w != gate.w) adapt_one(t, f, &up);
    }
    pool_sync(t);
}

/* Work items are (expert, chunk of rows); `run` computes one. */
typedef void (*expert_chunk_fn)(const pool_worker *t, forward *f, const layer_weights *w, size_t active, size_t r0,
                                size_t r1);

static void for_chunks(const pool_worker *t, forward *f, const layer_weights *w, size_t n_rows, expert_chunk_fn run) {
    size_t most = f->up_floats / f->n_rows, chunk = n_rows / 4 / 16 * 16, item, end;
    if (chunk < 16) chunk = 16;
    if (chunk > most) chunk = most;
    size_t chunks = (n_rows + chunk - 1) / chunk;
    while (pool_next(t, f->plan.n_active * chunks, 1, &item, &end)) {
        size_t r0 = item % chunks * chunk;
        run(t, f, w, item / chunks, r0, r0 + chunk < n_rows ? r0 + chunk : n_rows);
    }
    pool_sync(t);
}

static void gate_up_chunk(const pool_worker *t, forward *f, const layer_weights *w, size_t active, size_t r0,
                          size_t r1) {
    pass_input in = input_of(f, active);
    pass_product gate = gate_of(f, w, active, &in), up = up_of(f, w, active, &in);
    size_t second = up.w == gate.w ? f->h->n_ff_expert : 0; /* up is the second half of a merged matrix */
    up.out = f->thread[t->index].up;
    up.ldo = r1 - r0;
    pass_product_rows(f, t, &gate, r0, r1);
    pass_product_part(f, t, &up, second + r0, second + r1);
    for (size_t i = 0; i < gate.n_tokens; i++) {
        float *g = gate.out + i * gate.ldo + r0;
        cpu_gelu_mul(f->cpu, g, up.out + i * up.ldo, r1 - r0, g);
    }
}

static void prepare_mid(const pool_worker *t, forward *f, const layer_weights *w) {
    cpu_input kind = cpu_input_for(f->cpu, w->ffn_down_exps.m.format->type);
    size_t a, end, ffe = f->h->n_ff_expert;
    while (pool_next(t, f->plan.n_active, 1, &a, &end)) {
        pass_product down = down_of(f, w, a, NULL);
        cpu_input_prepare(f->cpu, kind, down.x, ffe, NULL, ffe, down.n_tokens, 0, down.n_tokens,
                          f->expert_mid + f->plan.mid_at[a]);
        adapt_one(t, f, &down);
    }
    pool_sync(t);
}

static void down_chunk(const pool_worker *t, forward *f, const layer_weights *w, size_t active, size_t r0,
                       size_t r1) {
    pass_input in = {{NULL}};
    pass_product down = down_of(f, w, active, &in);
    in.kinds[cpu_input_for(f->cpu, w->ffn_down_exps.m.format->type)] = f->expert_mid + f->plan.mid_at[active];
    pass_product_rows(f, t, &down, r0, r1);
}

static void combine_row(forward *f, const layer_weights *w, size_t i) {
    size_t n = f->h->n_embd, used = f->h->n_expert_used;
    float *sum = f->e + i * n, *y = f->y + i * n;
    memset(sum, 0, n * sizeof *sum);
    for (size_t k = 0; k < used; k++) {
        const float *out = f->slot_out + (size_t)f->plan.slot_of[i * used + k] * n;
        cpu_add_scaled(f->cpu, sum, out, f->plan.factor[i * used + k], n);
    }
    cpu_rms_norm(f->cpu, sum, w->post_ffw_norm_2, f->h->eps, n, sum);
    cpu_rms_norm(f->cpu, y, w->post_ffw_norm_1, f->h->eps, n, y);
    cpu_add(f->cpu, y, sum, n);
}

void experts_compute(const pool_worker *t, forward *f, uint32_t layer) {
    const layer_weights *w = &f->w->layers[layer];
    size_t begin, end;
    route(t, f, w);
    prepare_inputs(t, f, w);
    for_chunks(t, f, w, f->h->n_ff_expert, gate_up_chunk);
    prepare_mid(t, f, w);
    for_chunks(t, f, w, f->h->n_embd, down_chunk);
    while (pool_next(t, f->n_rows, 1, &begin, &end)) combine_row(f, w, begin);
    pool_sync(t);
}
