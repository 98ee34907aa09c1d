/* The self-test of a device: every kernel is compared with the CPU's numbers before anything relies on it, since
 * drivers miscompile. What has a plainer way falls back to that; what has none costs the device. See check.h. */
#include "backend/gpu/check.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"

/* A right kernel differs by roundings of divisions at the most. */
static const double BOUND = 1e-5;

facet_status check_wrong(const check *c, const char *what, double difference) {
    return error_set(c->err, FACET_ERROR_STATE, "%s computes wrong numbers: %s is off by %g",
                     c->g->device->limits.name, what, difference);
}

facet_status check_compare(const check *c, const char *what, size_t n) {
    double most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)c->got[i] - (double)c->want[i]), size = fabs((double)c->want[i]);
        if (!(d <= most)) most = d;
        if (size > scale) scale = size;
    }
    return most <= BOUND * scale ? FACET_OK : check_wrong(c, what, most / scale);
}

facet_status check_device(const check *c) {
    facet_status status = c->g->status;
    if (status != FACET_OK && c->err) *c->err = c->g->error;
    c->g->status = FACET_OK;
    return status;
}

facet_status check_read(check *c, const char *what, const gpu_buffer *from, size_t n) {
    gpu_read_at(c->g, from, 0, c->got, n);
    FACET_TRY(check_device(c));
    return check_compare(c, what, n);
}

void check_fill(float *x, size_t n, uint64_t stream) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(rng_unit(2, stream, i) * 5 - 2.5);
}

static size_t widest(const gpu *g) {
    const hparams *h = g->h;
    size_t n = h->n_embd;
    const size_t others[] = {hparams_max_q(h), hparams_max_kv(h), h->n_expert, CHECK_ROWS,
                             (size_t)h->n_expert_used * h->n_embd};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) n = others[i] > n ? others[i] : n;
    for (size_t i = 0; i < g->w->n_matrices; i++) {
        const gpu_matrix *m = &g->matrices[i];
        if (m->of && m->n_cols > n) n = m->n_cols;
        if (m->of && m->expert_groups && m->n_rows > n) n = m->n_rows;
    }
    return n;
}

static facet_status run_checks(check *c, size_t floats) {
    FACET_TRY(gpu_take(c->g, &c->in, floats * sizeof(float), false, c->err));
    FACET_TRY(gpu_take(c->g, &c->out, floats * sizeof(float), false, c->err));
    c->x = malloc(floats * sizeof *c->x);
    c->want = malloc(floats * sizeof *c->want);
    c->got = malloc(floats * sizeof *c->got);
    c->floats = floats;
    if (!c->x || !c->want || !c->got) return error_memory(c->err, floats * sizeof *c->x);
    FACET_TRY(check_products(c));
    FACET_TRY(check_steps(c));
    FACET_TRY(check_attention(c));
    return check_decode(c);
}

facet_status gpu_check(gpu *g, facet_error *err) {
    size_t wanted = g->device->limits.warps ? CHECK_TOKENS : CHECK_FEW; /* only there many are something else */
    check c = {.g = g, .n_tokens = g->ubatch < wanted ? g->ubatch : wanted, .err = err};
    uint64_t bytes = g->bytes;
    facet_status status = run_checks(&c, (wanted + 3) * widest(g));
    g->device->driver->buffer_free(g->device, &c.in);
    g->device->driver->buffer_free(g->device, &c.out);
    g->bytes = bytes;
    free(c.x);
    free(c.want);
    free(c.got);
    return status;
}
