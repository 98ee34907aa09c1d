/* A step on a device: what the host prepares for it, and what comes back. See gpu.h. */
#include <string.h>

#include "backend/gpu/parts.h"

static void send_ints(gpu *g, const gpu_buffer *to, size_t n) { gpu_write(g, to, g->host_ints, n * sizeof(int32_t)); }

/* The pages of every sequence of the step: its full ones, then its sliding ones. Returns where each begins. */
static facet_status send_tables(gpu *g, const forward *f, facet_error *err) {
    size_t at = 0;
    for (size_t s = 0; s < f->n_segments; s++) {
        const kv_sequence *kv = f->segments[s].kv;
        size_t n = (kv_sequence_length(kv) + CPU_PAGE - 1) / CPU_PAGE;
        if (at + 2 * n > g->tables_capacity) {
            return error_set(err, FACET_ERROR_BUDGET, "a step holds more than %zu pages", g->tables_capacity / 2);
        }
        g->table_at[s] = (uint32_t)at;
        for (int kind = 0; kind < KV_KINDS; kind++) {
            for (size_t i = 0; i < n; i++) {
                g->host_ints[at++] = gpu_page_number(g, kind, kv_sequence_page(kv, kind, i));
            }
        }
    }
    send_ints(g, &g->tables, at);
    return FACET_OK;
}

/* A row: its position, its page tables, its angles. All rows, or those that stay to the end. */
static void send_rows(gpu *g, const forward *f, int part) {
    size_t n = 0;
    for (size_t i = 0; i < f->n_rows; i++) {
        const pass_row *row = &f->rows[i];
        if (part == 1 && !row->wanted) continue;
        size_t pages = (kv_sequence_length(f->segments[row->segment].kv) + CPU_PAGE - 1) / CPU_PAGE;
        int32_t *out = g->host_ints + 4 * n++;
        out[0] = row->position;
        out[1] = (int32_t)g->table_at[row->segment];
        out[2] = (int32_t)(g->table_at[row->segment] + pages);
        out[3] = (int32_t)i;
    }
    gpu_send_rows(g, part, n);
    if (part == 0) return;
    g->n_wanted = n;
    for (size_t i = 0; i < n; i++) g->host_ints[i] = g->host_ints[4 * i + 3];
    send_ints(g, &g->index, n);
}

static void send_angles(gpu *g, const forward *f) {
    float *out = g->host_floats;
    for (size_t i = 0; i < f->n_rows; i++) {
        for (int kind = 0; kind < 2; kind++) {
            size_t n = g->pairs[kind];
            if (n == 0) continue;
            memcpy(out, f->cosine[kind] + i * n, n * sizeof *out);
            memcpy(out + n, f->sine[kind] + i * n, n * sizeof *out);
            out += 2 * n;
        }
    }
    gpu_write(g, &g->angles, g->host_floats, f->n_rows * g->angle_width * sizeof *out);
}

/* The tokens' slices of the per-layer embeddings, for the layers that each of them passes. */
static void send_ple(gpu *g, forward *f) {
    if (g->h->n_ple == 0) return;
    gpu_write(g, &g->x0, f->x0, f->n_rows * g->h->n_embd * sizeof(float));
    for (int part = 0; part < 2; part++) {
        size_t width = (g->part_end[part] - g->part_first[part]) * g->h->n_ple;
        size_t n = part ? g->n_wanted : f->n_rows;
        if (width == 0 || n == 0) continue;
        ple_slices(f, g->part_first[part], g->part_end[part], part == 1, g->host_floats);
        gpu_write(g, &g->ple_a[part], g->host_floats, n * width * sizeof(float));
    }
}

/* Who has which adapters: of all rows, and of those that stay. */
static void note_adapters(gpu *g, const forward *f) {
    size_t n = 0;
    for (size_t i = 0; i < f->n_rows; i++) {
        g->all_sets[i] = f->segments[f->rows[i].segment].adapters;
        if (f->rows[i].wanted) g->hidden_sets[n++] = g->all_sets[i];
    }
    gpu_adapters_begin(g, g->all_sets, f->adapted ? f->n_rows : 0);
    g->row_sets = f->adapted ? g->all_sets : NULL;
    g->n_row_sets = f->n_rows;
}

facet_status gpu_step(gpu *g, forward *f, const float **hidden, size_t *n_hidden, facet_error *err) {
    size_t n_embd = g->h->n_embd;
    bool to_end = g->options.end == g->h->n_layer;
    g->n_rows = f->n_rows;
    FACET_TRY(send_tables(g, f, err));
    send_rows(g, f, 0);
    send_rows(g, f, 1);
    send_angles(g, f);
    send_ple(g, f);
    note_adapters(g, f);
    gpu_write(g, &g->x, f->x, f->n_rows * n_embd * sizeof(float));
    gpu_begin(g);
    gpu_layers(g);
    gpu_end(g);
    if (to_end)
        gpu_read_at(g, &g->hidden, 0, g->host_hidden, g->n_wanted * n_embd);
    else
        gpu_read_at(g, g->x_now, 0, f->x, g->n_rows * n_embd);
    *hidden = g->host_hidden;
    *n_hidden = to_end ? g->n_wanted : 0;
    if (g->status != FACET_OK && err) *err = g->error;
    return g->status;
}

facet_status gpu_head(gpu *g, const float *hidden, size_t n_rows, float *logits, facet_error *err) {
    size_t row = (size_t)(hidden - g->host_hidden) / g->h->n_embd;
    g->row_sets = g->hidden_sets + row;
    g->n_row_sets = n_rows;
    gpu_adapters_begin(g, g->row_sets, n_rows);
    gpu_write(g, &g->normed, hidden, n_rows * g->h->n_embd * sizeof(float));
    gpu_begin(g);
    gpu_logits(g, &g->normed, n_rows);
    gpu_end(g);
    gpu_read_at(g, &g->logits, 0, logits, n_rows * g->h->n_vocab);
    if (g->status != FACET_OK && err) *err = g->error;
    return g->status;
}

const float *gpu_recall(gpu *g, const float *hidden, size_t n_rows, const lora_set *adapters) {
    memcpy(g->host_hidden, hidden, n_rows * g->h->n_embd * sizeof *hidden);
    for (size_t i = 0; i < n_rows; i++) g->hidden_sets[i] = adapters;
    return g->host_hidden;
}
