/* Adapters on a device: y += s B (A x) behind a product, adapter after adapter, for the rows that have them. Their
 * matrices are turned to floats when a step first needs them and stay as long as there is memory. See parts.h. */
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/parts.h"

/* Copies of one adapter's pairs. */
struct gpu_adapter {
    gpu_adapter *next;
    uint64_t serial;
    uint64_t stamp;    /* when it was last used */
    gpu_buffer *a, *b; /* [n_matrices] */
    uint64_t bytes;
};

static void adapter_free(gpu *g, gpu_adapter *x) {
    for (size_t i = 0; i < g->w->n_matrices; i++) {
        if (x->a) g->device->driver->buffer_free(g->device, &x->a[i]);
        if (x->b) g->device->driver->buffer_free(g->device, &x->b[i]);
    }
    g->bytes -= x->bytes;
    free(x->a);
    free(x->b);
    free(x);
}

void gpu_adapters_close(gpu *g) {
    while (g->adapters) {
        gpu_adapter *x = g->adapters;
        g->adapters = x->next;
        adapter_free(g, x);
    }
    g->device->driver->buffer_free(g->device, &g->low);
}

/* Gives up what no step has used for longest, but nothing of the present one. */
static bool forget_oldest(gpu *g) {
    gpu_adapter **oldest = NULL;
    for (gpu_adapter **x = &g->adapters; *x; x = &(*x)->next) {
        if ((*x)->stamp != g->step && (!oldest || (*x)->stamp < (*oldest)->stamp)) oldest = x;
    }
    if (!oldest) return false;
    gpu_adapter *x = *oldest;
    *oldest = x->next;
    adapter_free(g, x);
    return true;
}

/* A matrix of every expert, or one, as floats row by row. */
static facet_status send_matrix(gpu *g, gpu_adapter *x, gpu_buffer *out, const matrix *m, size_t n_experts) {
    size_t n = m->n_rows * (n_experts ? n_experts : 1), row = m->n_cols;
    float *data = malloc(n * row * sizeof *data);
    if (!data) return error_memory(&g->error, n * row * sizeof *data);
    for (size_t i = 0; i < n; i++) {
        m->format->dequantise(m->data + i * m->row_bytes, data + i * row, row / m->format->block);
    }
    uint64_t before = g->bytes;
    facet_status status = gpu_take(g, out, n * row * sizeof *data, false, &g->error);
    while (status == FACET_ERROR_MEMORY && forget_oldest(g)) {
        g->bytes = before;
        status = gpu_take(g, out, n * row * sizeof *data, false, &g->error);
    }
    x->bytes += n * row * sizeof *data;
    if (status == FACET_OK) {
        status = g->device->driver->write(g->device, out, 0, data, n * row * sizeof *data, &g->error);
    }
    free(data);
    return status;
}

static facet_status send_pairs(gpu *g, gpu_adapter *x, const lora_adapter *of) {
    for (size_t i = 0; i < of->n_matrices && i < g->w->n_matrices; i++) {
        const lora_pair *pair = &of->pairs[i];
        const weight *w = g->matrices[i].of;
        if (!pair->a.format || !w) continue;
        FACET_TRY(send_matrix(g, x, &x->a[i], &pair->a, w->n_experts));
        FACET_TRY(send_matrix(g, x, &x->b[i], &pair->b, w->n_experts));
    }
    return FACET_OK;
}

static gpu_adapter *find(gpu *g, uint64_t serial) {
    gpu_adapter *x = g->adapters;
    while (x && x->serial != serial) x = x->next;
    return x;
}

static facet_status open_adapter(gpu *g, const lora_adapter *of) {
    gpu_adapter *x = find(g, of->serial);
    if (!x) {
        x = calloc(1, sizeof *x);
        if (!x) return error_memory(&g->error, sizeof *x);
        *x = (gpu_adapter){.next = g->adapters, .serial = of->serial, .stamp = g->step};
        g->adapters = x;
        x->a = calloc(g->w->n_matrices, sizeof *x->a);
        x->b = calloc(g->w->n_matrices, sizeof *x->b);
        if (!x->a || !x->b) return error_memory(&g->error, g->w->n_matrices * sizeof *x->a);
        FACET_TRY(send_pairs(g, x, of));
    }
    x->stamp = g->step;
    return FACET_OK;
}

/* Room for A x of the widest adapter so far. */
static facet_status open_low(gpu *g, size_t rank) {
    if (rank <= g->low_rank) return FACET_OK;
    size_t slots = g->ubatch * (g->h->n_expert_used ? g->h->n_expert_used : 1);
    if (slots < FORWARD_HEAD_ROWS) slots = FORWARD_HEAD_ROWS;
    g->device->driver->buffer_free(g->device, &g->low);
    g->low_rank = 0;
    FACET_TRY(gpu_take(g, &g->low, (uint64_t)slots * rank * sizeof(float), false, &g->error));
    g->low_rank = rank;
    return FACET_OK;
}

void gpu_adapters_begin(gpu *g, const lora_set *const *sets, size_t n) {
    g->step++;
    for (size_t i = 0; i < n && g->status == FACET_OK; i++) {
        for (size_t k = 0; sets[i] && k < sets[i]->n && g->status == FACET_OK; k++) {
            const lora_adapter *of = sets[i]->uses[k].adapter;
            g->status = open_low(g, of->rank);
            if (g->status == FACET_OK) g->status = open_adapter(g, of);
        }
    }
}

/* One adapter's part of a product, for tokens [first, first + n). */
static void add_one(gpu *g, const gpu_product_call *p, const lora_use *use, size_t first, size_t n) {
    const lora_adapter *of = use->adapter;
    const lora_pair *pair = &of->pairs[p->w->index];
    const gpu_adapter *x = find(g, of->serial);
    if (g->status != FACET_OK || !pair->a.format || !x) return;
    size_t rank = pair->a.n_rows, experts = p->w->n_experts > 0;
    const gpu_buffer *chosen = experts ? &g->chosen : p->out;
    GPU_LAUNCH(g, g->lora_low, gpu_groups(rank, g->group), n, g->group, GPU_BUF(x->a[p->w->index]), GPU_I(rank),
               GPU_I(pair->a.n_cols), GPU_PTR(g->input.x), GPU_I(first), GPU_I(experts), GPU_PTR(chosen),
               GPU_I(p->per_row), GPU_BUF(g->low));
    GPU_LAUNCH(g, g->lora_add, gpu_groups(p->n_rows, g->group), n, g->group, GPU_BUF(x->b[p->w->index]), GPU_I(rank),
               GPU_I(p->first_row), GPU_I(p->n_rows), GPU_I(pair->b.n_rows), GPU_BUF(g->low),
               GPU_F(lora_factor(use, rank)), GPU_I(first), GPU_I(experts), GPU_PTR(chosen), GPU_PTR(p->out),
               GPU_I(p->ldo));
}

bool gpu_adapted(const gpu *g) {
    for (size_t i = 0; g->row_sets && i < g->n_row_sets; i++) {
        if (g->row_sets[i] && g->row_sets[i]->n) return true;
    }
    return false;
}

void gpu_adapt(gpu *g, const gpu_product_call *p) {
    const lora_set *const *sets = g->row_sets;
    size_t per_row = p->n_tokens / (g->n_row_sets ? g->n_row_sets : 1); /* slots of a row */
    for (size_t first = 0, end; sets && first < g->n_row_sets; first = end) {
        for (end = first + 1; end < g->n_row_sets && sets[end] == sets[first]; end++) continue;
        for (size_t k = 0; sets[first] && k < sets[first]->n; k++) {
            add_one(g, p, &sets[first]->uses[k], first * per_row, (end - first) * per_row);
        }
    }
}
