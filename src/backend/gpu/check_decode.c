/* The self-test of launches that do several steps: one token goes through the layers without any launch, and where
 * its products would be computed in one launch, that and the launches for each step are carried out on arbitrary rows
 * and compared. So every program that a token needs is compiled and known to be right before the first token comes.
 * What is wrong is given up. See check.h. */
#include "backend/gpu/check.h"

static void fill(gpu *g, const gpu_buffer *to, float *x, size_t n, uint64_t stream) {
    check_fill(x, n, stream);
    gpu_write(g, to, x, n * sizeof *x);
}

/* What the products read. */
static void prepare(check *c, const gpu_join *j) {
    gpu *g = c->g;
    const weight *w = j->products[0].w;
    size_t n_rows = j->per_row ? j->n_tokens / j->per_row : j->n_tokens;
    if (j->from.values) {
        fill(g, j->from.values, c->x, n_rows * w->m.n_cols, 21);
    } else {
        fill(g, g->x_now, c->x, n_rows * w->m.n_cols, 22);
        fill(g, &g->y, c->x, n_rows * w->m.n_cols, 23);
    }
    if (j->ending == GPU_EMBEDDED) { /* of all the part's layers */
        size_t n_layers = g->part_end[g->part] - g->part_first[g->part];
        for (size_t i = 0; i < n_layers * w->m.n_rows; i++) g->host_floats[i] = (float)(i % 17) * 0.25f - 2;
        gpu_write(g, &g->ple[g->part], g->host_floats, n_layers * w->m.n_rows * sizeof(float));
    }
}

/* The beginnings of all results, one behind the other. */
static size_t read_results(const check *c, const gpu_join *j, float *out) {
    size_t n = 0, n_products = j->ending == GPU_PLAIN ? j->n : 1;
    for (size_t i = 0; i < n_products; i++) {
        size_t rows = j->products[i].n_rows / (j->halves ? 2 : 1), most = c->floats / n_products;
        size_t floats = rows * j->n_tokens < most ? rows * j->n_tokens : most;
        gpu_read_at(c->g, j->products[i].out, 0, out + n, floats);
        n += floats;
    }
    return n;
}

void check_join(check *c, const gpu_join *j) {
    gpu *g = c->g;
    int32_t chosen[CHECK_TOKENS];
    gpu_decode_program *p = gpu_decode_find(g, j);
    if (!p || !gpu_decode_is_new(p)) return;
    for (int32_t i = 0; i < CHECK_TOKENS; i++) chosen[i] = i;
    if (j->per_row > CHECK_TOKENS) return;
    if (j->per_row) gpu_write(g, &g->chosen, chosen, j->n_tokens * sizeof *chosen);
    c->g->check = NULL; /* launches are carried out */
    prepare(c, j);
    gpu_compute_steps(g, j);
    size_t n = read_results(c, j, c->want);
    prepare(c, j);
    gpu_decode(g, j);
    read_results(c, j, c->got);
    c->g->check = c;
    facet_status status = check_device(c);
    if (status == FACET_OK) status = check_compare(c, "several steps in one launch", n);
    if (status != FACET_OK) gpu_decode_give_up(g, p, c->err ? c->err->message : "wrong numbers");
}

facet_status check_decode(check *c) {
    gpu *g = c->g;
    if (!g->device->limits.warps) return FACET_OK;
    g->n_rows = g->n_wanted = 1;
    g->shares[0] = g->shares[1] = (gpu_shares){0};
    g->check = c;
    gpu_layers(g);
    g->n_rows = 1;
    if (g->options.end == g->h->n_layer) gpu_logits(g, &g->normed, 1);
    g->check = NULL;
    return check_device(c);
}
