/* The buffers of the forward pass: carved from one block whose size is known before it is reserved. */
#include "model/pass.h"

#include <stdlib.h>
#include <string.h>

#include "os/system.h"

/* The kinds of input that the model's matrices want, all together: buffers exist for these only. */
static unsigned all_kinds(const forward *f) {
    unsigned kinds = 0;
    for (uint32_t i = 0; i < f->h->n_layer; i++) {
        const layer_weights *l = &f->w->layers[i];
        kinds |= pass_kinds(f,
                            (const weight *[]){&l->attn_q, &l->attn_k, &l->attn_v, &l->attn_output, &l->ffn_gate,
                                               &l->ffn_up, &l->ffn_down, &l->inp_gate, &l->proj, &l->ffn_gate_inp},
                            10);
    }
    return kinds | pass_kinds(f, (const weight *[]){&f->w->output}, 1);
}

static size_t max_of(size_t a, size_t b) { return a > b ? a : b; }

static void carve_input(forward *f, arena *a, pass_input *in, unsigned kinds, size_t n_cols, size_t n_rows) {
    for (int kind = 0; kind < CPU_N_INPUTS; kind++) {
        if (!(kinds >> kind & 1)) continue;
        size_t bytes = 0; /* small batches may be laid out less tightly than large ones */
        for (size_t n = 1; n <= n_rows; n = n < 32 ? n + 1 : n_rows > n ? n_rows : n + 1) {
            bytes = max_of(bytes, cpu_input_bytes(f->cpu, (cpu_input)kind, n_cols, n));
        }
        in->kinds[kind] = arena_take(a, bytes, 1);
    }
}

static void carve_threads(forward *f, arena *a) {
    const hparams *h = f->h;
    size_t head_dim = hparams_max_head_dim(h), head = max_of(head_dim, h->n_ple + 2 * 256);
    size_t max_cols = max_of(max_of(h->n_embd, hparams_max_ff(h)), max_of(hparams_max_q(h), h->n_ff_expert));
    f->up_floats = max_of(64 * f->ubatch, 8192);
    for (int i = 0; i < f->n_threads; i++) {
        pass_thread own = {.scratch = arena_take(a, cpu_scratch_bytes(f->cpu, max_of(max_cols, h->n_ple)), 1),
                           .up = arena_take(a, f->up_floats, sizeof(float)),
                           .head = arena_take(a, head, sizeof(float)),
                           .span_out = arena_take(a, CPU_SPAN_QUERIES * head_dim, sizeof(float)),
                           .run_out = arena_take(a, CPU_SPAN_QUERIES * head_dim, sizeof(float))};
        if (f->thread) f->thread[i] = own;
    }
}

static void carve_attention(forward *f, arena *a) {
    size_t head_dim = hparams_max_head_dim(f->h), items = 2 * (size_t)f->n_threads;
    f->n_partials = 2 * items;
    f->partial_out = arena_take(a, f->n_partials * CPU_SPAN_QUERIES * head_dim, sizeof(float));
    f->partial_max = arena_take(a, f->n_partials * CPU_SPAN_QUERIES, sizeof(float));
    f->partial_sum = arena_take(a, f->n_partials * CPU_SPAN_QUERIES, sizeof(float));
    f->merged_out = arena_take(a, items * CPU_SPAN_QUERIES * head_dim, sizeof(float));
    f->merged_max = arena_take(a, items * CPU_SPAN_QUERIES, sizeof(float));
    f->merged_sum = arena_take(a, items * CPU_SPAN_QUERIES, sizeof(float));
}

/* Prepared inputs of all slots, however they fall on the experts: each expert may round up to a tile of its own. */
static size_t slot_input_bytes(const forward *f, cpu_input kind, size_t n_cols, size_t n_slots) {
    size_t active = f->h->n_expert < n_slots ? f->h->n_expert : n_slots;
    return cpu_input_bytes(f->cpu, kind, n_cols, n_slots) + active * cpu_input_bytes(f->cpu, kind, n_cols, 16);
}

static void carve_experts(forward *f, arena *a) {
    const hparams *h = f->h;
    if (h->n_expert == 0) return;
    size_t slots = f->ubatch * h->n_expert_used;
    f->router = arena_take(a, f->ubatch * h->n_expert, sizeof(float));
    f->e = arena_take(a, f->ubatch * h->n_embd, sizeof(float));
    f->slot_mid = arena_take(a, slots * h->n_ff_expert, sizeof(float));
    f->slot_out = arena_take(a, slots * h->n_embd, sizeof(float));
    unsigned in_kinds = 0;
    size_t mid_bytes = 0;
    for (uint32_t i = 0; i < h->n_layer; i++) {
        const layer_weights *l = &f->w->layers[i];
        in_kinds |= pass_kinds(f, (const weight *[]){&l->ffn_gate_up_exps, &l->ffn_gate_exps, &l->ffn_up_exps}, 3);
        cpu_input kind = cpu_input_for(f->cpu, l->ffn_down_exps.m.format->type);
        mid_bytes = max_of(mid_bytes, slot_input_bytes(f, kind, h->n_ff_expert, slots));
    }
    for (int kind = 0; kind < CPU_N_INPUTS; kind++) {
        f->plan.input_at[kind] = arena_take(a, h->n_expert, sizeof(size_t));
        if (!(in_kinds >> kind & 1)) continue;
        f->expert_in[kind] = arena_take(a, slot_input_bytes(f, (cpu_input)kind, h->n_embd, slots), 1);
    }
    f->expert_mid = arena_take(a, mid_bytes, 1);
    f->plan.mid_at = arena_take(a, h->n_expert, sizeof(size_t));
    f->plan.first = arena_take(a, h->n_expert + 1, sizeof(uint32_t));
    f->plan.active = arena_take(a, h->n_expert, sizeof(uint32_t));
    f->plan.tokens = arena_take(a, slots, sizeof(uint32_t));
    f->plan.slot_of = arena_take(a, slots, sizeof(uint32_t));
    f->plan.chosen = arena_take(a, slots, sizeof(uint32_t));
    f->plan.factor = arena_take(a, slots, sizeof(float));
}

static void carve_rope(forward *f, arena *a) {
    for (uint32_t i = 0; i < f->h->n_layer; i++) f->pairs[f->h->layers[i].sliding] = f->h->layers[i].head_dim / 2;
    for (int kind = 0; kind < 2; kind++) {
        f->inv_freq[kind] = arena_take(a, f->pairs[kind], sizeof(float));
        f->cosine[kind] = arena_take(a, f->ubatch * f->pairs[kind], sizeof(float));
        f->sine[kind] = arena_take(a, f->ubatch * f->pairs[kind], sizeof(float));
    }
}

static void carve_ple(forward *f, arena *a) {
    const hparams *h = f->h;
    if (h->n_ple == 0) return;
    f->x0 = arena_take(a, f->ubatch * h->n_embd, sizeof(float));
    f->ple_gate = arena_take(a, f->ubatch * h->n_ple, sizeof(float));
    f->ple_b = arena_take(a, f->ubatch * h->n_ple, sizeof(float));
    carve_input(f, a, &f->in_x0, pass_kinds(f, (const weight *[]){&f->w->per_layer_model_proj}, 1), h->n_embd,
                f->ubatch);
}

static void carve(forward *f, arena *a) {
    const hparams *h = f->h;
    size_t n = f->ubatch, n_cols = max_of(max_of(h->n_embd, hparams_max_ff(h)), max_of(hparams_max_q(h), h->n_ple));
    f->thread = arena_take(a, (size_t)f->n_threads, sizeof *f->thread);
    f->rows = arena_take(a, n, sizeof *f->rows);
    f->segments = arena_take(a, n, sizeof *f->segments);
    f->x = arena_take(a, n * h->n_embd, sizeof(float));
    f->normed = arena_take(a, n * h->n_embd, sizeof(float));
    f->y = arena_take(a, n * h->n_embd, sizeof(float));
    f->hidden = arena_take(a, n * h->n_embd, sizeof(float));
    f->q = arena_take(a, n * hparams_max_q(h), sizeof(float));
    f->k = arena_take(a, n * hparams_max_kv(h), sizeof(float));
    f->v = arena_take(a, n * hparams_max_kv(h), sizeof(float));
    f->ff = arena_take(a, n * hparams_max_ff(h), sizeof(float));
    carve_input(f, a, &f->in, all_kinds(f), n_cols, n);
    carve_rope(f, a);
    carve_ple(f, a);
    carve_experts(f, a);
    carve_attention(f, a);
    carve_threads(f, a);
}

facet_status forward_plan(const hparams *h, const weights *w, const cpu_table *cpu, size_t ubatch, int n_threads,
                          size_t *bytes, facet_error *err) {
    forward f = {.h = h, .w = w, .cpu = cpu, .n_threads = n_threads, .ubatch = ubatch};
    arena a = {0};
    carve(&f, &a);
    *bytes = a.n_bytes;
    return a.overflow ? error_set(err, FACET_ERROR_BUDGET, "a ubatch of %zu tokens needs too much memory", ubatch)
                      : FACET_OK;
}

facet_status forward_new(forward **out, const hparams *h, const weights *w, const cpu_table *cpu, pool *threads,
                         size_t ubatch, facet_error *err) {
    *out = NULL;
    size_t bytes;
    FACET_TRY(forward_plan(h, w, cpu, ubatch, pool_size(threads), &bytes, err));
    forward *f = calloc(1, sizeof *f);
    if (!f) return error_memory(err, sizeof *f);
    *f = (forward){.h = h,
                   .w = w,
                   .cpu = cpu,
                   .threads = threads,
                   .n_threads = pool_size(threads),
                   .ubatch = ubatch,
                   .memory = os_pages_new(bytes),
                   .memory_bytes = bytes};
    if (!f->memory) {
        free(f);
        return error_memory(err, bytes);
    }
    arena a = {.memory = f->memory};
    carve(f, &a);
    for (int kind = 0; kind < 2; kind++) {
        if (f->pairs[kind]) rope_frequencies(h, w->rope_freqs, kind, f->inv_freq[kind]);
    }
    *out = f;
    return FACET_OK;
}

/* ---- adapters */

static void carve_low(const forward *f, arena *a, size_t slots, size_t rank, float **low, float **low_row) {
    const hparams *h = f->h;
    size_t n_cols = max_of(max_of(h->n_embd, hparams_max_ff(h)), max_of(hparams_max_q(h), h->n_ff_expert));
    *low = arena_take(a, ADAPT_PRODUCTS * slots, rank * sizeof(float));
    *low_row = arena_take(a, (size_t)f->n_threads * cpu_input_bytes(f->cpu, CPU_INPUT_F32, n_cols, 1), 1);
}

facet_status forward_reserve(forward *f, size_t rank, facet_error *err) {
    if (rank <= f->low_rank) return FACET_OK;
    size_t slots = max_of(f->ubatch * max_of(1, f->h->n_expert_used), FORWARD_HEAD_ROWS);
    float *low, *low_row;
    arena plan = {0};
    carve_low(f, &plan, slots, rank, &low, &low_row);
    if (plan.overflow) return error_set(err, FACET_ERROR_BUDGET, "adapters of rank %zu need too much memory", rank);
    arena a = {.memory = os_pages_new(plan.n_bytes)};
    if (!a.memory) return error_memory(err, plan.n_bytes);
    os_pages_free(f->low, f->low_bytes);
    carve_low(f, &a, slots, rank, &f->low, &f->low_row);
    f->low_slots = slots;
    f->low_rank = rank;
    f->low_bytes = plan.n_bytes;
    return FACET_OK;
}

void forward_free(forward *f) {
    if (!f) return;
    os_pages_free(f->low, f->low_bytes);
    os_pages_free(f->memory, f->memory_bytes);
    free(f);
}
