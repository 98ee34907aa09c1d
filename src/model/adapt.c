/* Adapters in the forward pass: y = fmaf(s, B (A x), y) behind a product y = W x, adapter after adapter (contract,
 * rule 5). Tokens of one batch may have different adapters.
 *
 * A product is adapted in two steps. Before it, t = A x of all its tokens is computed by all threads, rank x tokens
 * numbers; then whoever computes rows of W adds the same rows of B to them while they are in the cache. Without
 * adapters both steps cost one look at a flag. */
#include "model/pass.h"

#include "lora/lora.h"

/* Consecutive tokens of a product and one adapter of theirs. */
typedef struct part {
    const lora_pair *pair;
    float factor;
    size_t first, n; /* tokens */
    float *low;      /* [n][rank] */
} part;

/* A walk over all parts of a product: runs of tokens with the same adapters, each with one adapter after another. */
typedef struct parts {
    const forward *f;
    const pass_product *p;
    const lora_set *set; /* of tokens [first, end) */
    size_t first, end;
    size_t next_use;
    float *low;
} parts;

static const lora_set *adapters_of(const forward *f, const pass_product *p, size_t token) {
    size_t row = p->rows ? p->rows[token] : token;
    return f->segments[f->rows[row].segment].adapters;
}

static parts all_parts(const forward *f, const pass_product *p) { return (parts){.f = f, .p = p, .low = p->low}; }

static bool next_run(parts *w) {
    if (w->end == w->p->n_tokens) return false;
    w->first = w->end;
    w->set = adapters_of(w->f, w->p, w->first);
    w->next_use = 0;
    do w->end++;
    while (w->end < w->p->n_tokens && adapters_of(w->f, w->p, w->end) == w->set);
    return true;
}

static bool next_part(parts *w, part *out) {
    for (;;) {
        if (!w->set || w->next_use == w->set->n) {
            if (!next_run(w)) return false;
            continue;
        }
        const lora_use *use = &w->set->uses[w->next_use++];
        const lora_pair *pair = &use->adapter->pairs[w->p->w->index];
        if (!pair->a.format) continue;
        size_t rank = pair->a.n_rows, n = w->end - w->first;
        *out = (part){.pair = pair, .factor = lora_factor(use, rank), .first = w->first, .n = n, .low = w->low};
        w->low += n * rank;
        return true;
    }
}

static matrix expert_of(matrix m, uint32_t expert) {
    m.data += (size_t)expert * m.n_rows * m.row_bytes;
    return m;
}

/* ---- t = A x */

static const float *token_row(const pass_product *p, size_t token) {
    return p->x + (p->x_by_row ? p->rows[token] : token) * p->w->m.n_cols;
}

/* One token whose row must be copied first, or is not beside its neighbours. */
static void low_token(const forward *f, const pool_worker *t, const matrix *a, size_t r0, size_t r1, const float *x,
                      float *low) {
    const void *input = x;
    if (!cpu_input_in_place(f->cpu, CPU_INPUT_F32, a->n_cols)) {
        size_t bytes = cpu_input_bytes(f->cpu, CPU_INPUT_F32, a->n_cols, 1);
        float *copy = f->low_row + (size_t)t->index * (bytes / sizeof *copy);
        cpu_input_prepare(f->cpu, CPU_INPUT_F32, x, a->n_cols, NULL, a->n_cols, 1, 0, 1, copy);
        input = copy;
    }
    cpu_matmul(f->cpu, a, r0, r1, input, 1, low, a->n_rows, f->thread[t->index].scratch);
}

static void low_rows(const forward *f, const pool_worker *t, const pass_product *p, const part *q, size_t r0,
                     size_t r1) {
    matrix a = expert_of(q->pair->a, p->expert);
    if (!p->x_by_row && cpu_input_in_place(f->cpu, CPU_INPUT_F32, a.n_cols)) {
        cpu_matmul(f->cpu, &a, r0, r1, token_row(p, q->first), q->n, q->low, a.n_rows, f->thread[t->index].scratch);
        return;
    }
    for (size_t i = 0; i < q->n; i++) low_token(f, t, &a, r0, r1, token_row(p, q->first + i), q->low + i * a.n_rows);
}

static size_t count_low_rows(const forward *f, const pass_product *p) {
    size_t n = 0;
    part q;
    for (parts w = all_parts(f, p); next_part(&w, &q);) n += q.pair->a.n_rows;
    return n;
}

/* Rows [begin, end) of the A matrices of all parts, one after the other. */
static void low_range(const forward *f, const pool_worker *t, const pass_product *p, size_t begin, size_t end) {
    size_t at = 0;
    part q;
    for (parts w = all_parts(f, p); next_part(&w, &q); at += q.pair->a.n_rows) {
        size_t rank = q.pair->a.n_rows, r0 = begin > at ? begin - at : 0, r1 = end > at ? end - at : 0;
        if (r1 > rank) r1 = rank;
        if (r0 < r1) low_rows(f, t, p, &q, r0, r1);
    }
}

float *adapt_place(const forward *f, size_t place, size_t slot) {
    bool any = f->adapted && f->low; /* adapters of embeddings alone reserve nothing */
    return any ? f->low + (place * f->low_slots + slot) * f->low_rank : NULL;
}

void forward_watch(forward *f, forward_watcher fn, void *ctx) {
    f->watcher = fn;
    f->watcher_ctx = ctx;
}

static void watch(const forward *f, const pass_product *p) {
    f->watcher(f->watcher_ctx, p->w, p->expert, p->x, p->x_by_row ? p->rows : NULL, p->n_tokens);
}

void adapt_products(const pool_worker *t, forward *f, pass_product *products, size_t n) {
    enum { ROWS = 4 }; /* that one thread takes at once */
    if (f->watcher) {
        for (size_t i = 0; t->index == 0 && i < n; i++) watch(f, &products[i]);
        pool_sync(t); /* results may take the place of inputs */
    }
    if (!f->adapted) return;
    size_t total = 0, begin, end;
    for (size_t i = 0; i < n; i++) {
        products[i].low = adapt_place(f, i, 0);
        total += count_low_rows(f, &products[i]);
    }
    if (total == 0) return;
    while (pool_next(t, total, ROWS, &begin, &end)) {
        size_t at = 0;
        for (size_t i = 0; i < n; i++) {
            size_t rows = count_low_rows(f, &products[i]);
            if (begin < at + rows && end > at) low_range(f, t, &products[i], begin > at ? begin - at : 0, end - at);
            at += rows;
        }
    }
    pool_sync(t);
}

void adapt_one(const pool_worker *t, const forward *f, const pass_product *p) {
    if (f->watcher) watch(f, p);
    if (p->low) low_range(f, t, p, 0, SIZE_MAX);
}

/* ---- y += s B t */

void adapt_rows(const forward *f, const pass_product *p, size_t r0, size_t r1, float *out) {
    part q;
    if (!p->low) return;
    for (parts w = all_parts(f, p); next_part(&w, &q);) {
        matrix b = expert_of(q.pair->b, p->expert);
        cpu_lora_add(f->cpu, &b, p->first_row + r0, r1 - r0, q.low, q.n, q.factor, out + q.first * p->ldo, p->ldo);
    }
}

/* ---- embeddings */

static void add_row(const forward *f, const lora_use *use, const lora_rows *rows, size_t token, size_t first,
                    size_t n, float *x) {
    float t[LORA_MAX_RANK];
    if (!rows->rows.format) return;
    cpu_row(&rows->rows, token, t);
    cpu_lora_add(f->cpu, &rows->columns, first, n, t, 1, lora_factor(use, rows->rows.n_cols), x, n);
}

void adapt_embedding(const forward *f, size_t row, float *x) {
    const lora_set *set = f->segments[f->rows[row].segment].adapters;
    for (size_t i = 0; set && i < set->n; i++) {
        const lora_rows *rows = &set->uses[i].adapter->token_embd;
        add_row(f, &set->uses[i], rows, (size_t)f->rows[row].token, 0, f->h->n_embd, x);
    }
}

void adapt_ple_slice(const forward *f, size_t row, uint32_t layer, float *slice) {
    const lora_set *set = f->segments[f->rows[row].segment].adapters;
    size_t n = f->h->n_ple;
    for (size_t i = 0; set && i < set->n; i++) {
        const lora_rows *rows = &set->uses[i].adapter->per_layer_token_embd;
        add_row(f, &set->uses[i], rows, (size_t)f->rows[row].token, layer * n, n, slice);
    }
}
