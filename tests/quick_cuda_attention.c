/* Attention's CUDA kernels on the emulator (fake_cuda/): steps of one layer with the heads of real models and with
 * odd ones, single rows, tiles of a prompt and both, over several spans, with windows, in every type of stored keys
 * and values. Results, and every byte of the pages, are those of the CPU. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/parts.h"
#include "os/library.h"
#include "support.h"

enum { MAX_SEQUENCES = 4, LEAD = 256, OTHER_PAIRS = 4, UNHELD = -1 };

/* The last n_rows of a sequence's positions are the step's. */
typedef struct sequence {
    size_t end, n_rows;
} sequence;

typedef struct step {
    size_t dim, n_head, n_kv, window; /* window 0: a full layer */
    facet_kv_type kv;
    size_t tile_rows;     /* sequences with so many rows are computed in tiles */
    size_t n_partials;    /* spans of heads that are computed side by side at most */
    size_t scores_floats; /* room between launches; 0: ample */
    sequence sequences[MAX_SEQUENCES];
} step;

/* What the device gets, and what the CPU makes of it. */
typedef struct world {
    const step *s;
    cpu_table *cpu;
    size_t n_rows, row_bytes, page_bytes, n_pages, angle_width;
    int32_t *rows;   /* [n_rows][4] */
    int32_t *tables; /* [n_pages] pages of a sequence one behind the other; UNHELD where all are behind the window */
    uint8_t *pool;
    float *q, *k, *v, *angles, *norms;
} world;

static uint64_t random_state = 5;
static uint32_t next_random(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}
static float next_float(void) { return (float)((int32_t)next_random() - (1 << 30)) * 0x1p-30f; }

static float *random_floats(size_t n) {
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = next_float();
    return x;
}

static size_t first_seen(const step *s, size_t position) {
    return s->window && position + 1 > s->window ? position + 1 - s->window : 0;
}

static size_t pages_of(const sequence *q) { return (q->end + CPU_PAGE - 1) / CPU_PAGE; }

/* The place of a position's key (plane = KV head) or value (plane = n_kv + KV head); NULL: not held. */
static uint8_t *stored_row(const world *w, size_t row, size_t position, size_t plane) {
    int32_t page = w->tables[(size_t)w->rows[4 * row + 1] + position / CPU_PAGE];
    if (page == UNHELD) return NULL;
    return w->pool + (size_t)page * w->page_bytes + LEAD + (plane * CPU_PAGE + position % CPU_PAGE) * w->row_bytes;
}

/* Pages in disorder. Everything that no row of the step sees is NaN, or not there. */
static void fill_pool(world *w) {
    const step *s = w->s;
    float *x = malloc(s->dim * sizeof *x);
    memset(w->pool, 0xff, w->n_pages * w->page_bytes);
    for (size_t row = 0, i = 0; i < MAX_SEQUENCES && s->sequences[i].end; row += s->sequences[i++].n_rows) {
        size_t begin = s->sequences[i].end - s->sequences[i].n_rows, first = first_seen(s, begin);
        int32_t *table = w->tables + w->rows[4 * row + 1];
        for (size_t page = 0; page < first / CPU_PAGE; page++) table[page] = UNHELD;
        for (size_t p = first; p < begin; p++) {
            for (size_t plane = 0; plane < 2 * s->n_kv; plane++) {
                /* some values so large that a weight of nearly nothing would be seen */
                float scale = s->kv == FACET_KV_F32 && plane >= s->n_kv && p % 97 == 3 ? 1e36f : 1.0f;
                for (size_t k = 0; k < s->dim; k++) x[k] = next_float() * scale;
                cpu_kv_store(w->cpu, s->kv, x, s->dim, stored_row(w, row, p, plane));
            }
        }
    }
    free(x);
}

static world world_new(const step *s, cpu_table *cpu) {
    world w = {.s = s, .cpu = cpu, .row_bytes = cpu_kv_row_bytes(s->kv, s->dim)};
    w.page_bytes = LEAD + 2 * s->n_kv * CPU_PAGE * w.row_bytes;
    for (size_t i = 0; i < MAX_SEQUENCES; i++) {
        w.n_rows += s->sequences[i].n_rows;
        w.n_pages += pages_of(&s->sequences[i]);
    }
    w.angle_width = 2 * (s->dim / 2 + OTHER_PAIRS);
    w.rows = calloc(w.n_rows, 4 * sizeof *w.rows);
    w.tables = malloc(w.n_pages * sizeof *w.tables);
    w.pool = malloc(w.n_pages * w.page_bytes);
    assert_true(w.rows && w.tables && w.pool);
    for (size_t i = 0; i < w.n_pages; i++) w.tables[i] = (int32_t)(w.n_pages - 1 - i);
    for (size_t i = 0, row = 0, at = 0; i < MAX_SEQUENCES; at += pages_of(&s->sequences[i++])) {
        for (size_t k = 0; k < s->sequences[i].n_rows; k++, row++) {
            size_t position = s->sequences[i].end - s->sequences[i].n_rows + k;
            int32_t ints[4] = {(int32_t)position, (int32_t)at, (int32_t)at, (int32_t)(w.n_rows - 1 - row)};
            memcpy(w.rows + 4 * row, ints, sizeof ints);
        }
    }
    fill_pool(&w);
    w.q = random_floats(w.n_rows * s->n_head * s->dim);
    w.k = random_floats(w.n_rows * s->n_kv * s->dim);
    w.v = random_floats(w.n_rows * s->n_kv * s->dim);
    w.angles = random_floats(w.n_rows * w.angle_width);
    w.norms = random_floats(2 * s->dim);
    for (size_t i = 0; i < s->dim; i++) w.norms[i] *= 8; /* scores so far apart that weights vanish */
    return w;
}

static void world_free(world *w) {
    void *all[] = {w->rows, w->tables, w->pool, w->q, w->k, w->v, w->angles, w->norms};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

/* ---- the CPU */

static void turn(const world *w, size_t row, float *head, const float *norm) {
    size_t pairs = w->s->dim / 2;
    const float *cosine =
        w->angles + (size_t)w->rows[4 * row + 3] * w->angle_width + (w->s->window ? 2 * OTHER_PAIRS : 0);
    cpu_rms_norm(w->cpu, head, norm, 1e-6f, w->s->dim, head);
    cpu_rope(w->cpu, head, cosine, cosine + pairs, pairs);
}

static void store_row(world *w, size_t row) {
    const step *s = w->s;
    size_t position = (size_t)w->rows[4 * row];
    for (size_t head = 0; head < s->n_kv; head++) {
        float *k = w->k + (row * s->n_kv + head) * s->dim, *v = w->v + (row * s->n_kv + head) * s->dim;
        turn(w, row, k, w->norms + s->dim);
        cpu_kv_store(w->cpu, s->kv, k, s->dim, stored_row(w, row, position, head));
        cpu_rms_norm(w->cpu, v, NULL, 1e-6f, s->dim, v);
        cpu_kv_store(w->cpu, s->kv, v, s->dim, stored_row(w, row, position, s->n_kv + head));
    }
}

static void attend_head(world *w, size_t row, size_t head) {
    const step *s = w->s;
    float *q = w->q + (row * s->n_head + head) * s->dim, max = -INFINITY, sum = 0, span_max, span_sum;
    float *out = calloc(2 * s->dim, sizeof *out), *span_out = out + s->dim;
    const float *query = q;
    size_t position = (size_t)w->rows[4 * row], first = first_seen(s, position),
           kv_head = head / (s->n_head / s->n_kv);
    turn(w, row, q, w->norms);
    for (size_t at = first / CPU_SPAN * CPU_SPAN; at <= position; at += CPU_SPAN) {
        size_t begin = first > at ? first - at : 0, end = position + 1 - at < CPU_SPAN ? position + 1 - at : CPU_SPAN;
        cpu_range range = {(uint16_t)begin, (uint16_t)end};
        cpu_span span = {.type = s->kv,
                         .head_dim = s->dim,
                         .n_queries = 1,
                         .queries = &query,
                         .ranges = &range,
                         .max = &span_max,
                         .sum = &span_sum,
                         .out = span_out};
        for (size_t page = begin / CPU_PAGE; page * CPU_PAGE < end; page++) {
            span.keys[page] = stored_row(w, row, at + page * CPU_PAGE, kv_head);
            span.values[page] = stored_row(w, row, at + page * CPU_PAGE, s->n_kv + kv_head);
        }
        cpu_attend(w->cpu, &span);
        cpu_attend_merge(w->cpu, &max, &sum, out, span_max, span_sum, span_out, s->dim);
    }
    cpu_attend_finish(w->cpu, sum, out, s->dim);
    memcpy(q, out, s->dim * sizeof *q);
    free(out);
}

/* ---- the device */

static void give(gpu *g, gpu_buffer *to, const void *data, size_t n_bytes) {
    facet_error error;
    assert_ok(gpu_take(g, to, n_bytes, false, &error), &error);
    gpu_write(g, to, data, n_bytes);
}

/* A buffer that holds NaNs. */
static void spoil(gpu *g, gpu_buffer *to, size_t n_bytes) {
    void *data = malloc(n_bytes);
    assert_non_null(data);
    memset(data, 0xff, n_bytes);
    give(g, to, data, n_bytes);
    free(data);
}

static void fill_device(gpu *g, const world *w) {
    const step *s = w->s;
    size_t longest = 0, q_bytes = w->n_rows * s->n_head * s->dim * 4, kv_bytes = w->n_rows * s->n_kv * s->dim * 4;
    for (size_t i = 0; i < MAX_SEQUENCES; i++) {
        if (s->sequences[i].end > longest) longest = s->sequences[i].end;
    }
    g->host_ints = malloc(w->n_rows * 9 * sizeof *g->host_ints);
    memcpy(g->host_ints, w->rows, w->n_rows * 4 * sizeof *w->rows);
    g->n_rows = w->n_rows;
    g->tile_rows = s->tile_rows;
    g->n_partials = s->n_partials;
    g->scores_floats = s->scores_floats ? s->scores_floats : w->n_rows * s->n_head * (longest + CPU_SPAN);
    give(g, &g->q, w->q, q_bytes);
    give(g, &g->k, w->k, kv_bytes);
    give(g, &g->v, w->v, kv_bytes);
    give(g, &g->vectors, w->norms, 2 * s->dim * sizeof(float));
    give(g, &g->angles, w->angles, w->n_rows * w->angle_width * sizeof(float));
    give(g, &g->tables, w->tables, w->n_pages * sizeof *w->tables);
    give(g, &g->pool, w->pool, w->n_pages * w->page_bytes);
    size_t partials = s->n_partials > w->n_rows * s->n_head ? s->n_partials : w->n_rows * s->n_head;
    spoil(g, &g->partial, partials * (s->dim + 2) * 4);
    spoil(g, &g->scores, g->scores_floats * 4);
    spoil(g, &g->rows[0], w->n_rows * 9 * 4);
}

/* The step on the device, then on the CPU, side by side. */
static void compare(gpu *g, world *w) {
    const step *s = w->s;
    facet_error error;
    size_t n_q = w->n_rows * s->n_head * s->dim, pool_bytes = w->n_pages * w->page_bytes;
    float *got = malloc(n_q * sizeof *got);
    uint8_t *pages = malloc(pool_bytes);
    assert_true(got && pages);
    fill_device(g, w);
    g->q_now = &g->q;
    gpu_send_rows(g, 0, w->n_rows);
    gpu_finish_heads(g, 0);
    gpu_attend(g, 0);
    gpu_read_at(g, &g->q, 0, got, n_q);
    assert_ok(g->status, &g->error);
    assert_ok(g->device->driver->read(g->device, &g->pool, 0, pages, pool_bytes, &error), &error);
    for (size_t row = 0; row < w->n_rows; row++) store_row(w, row);
    assert_memory_equal(pages, w->pool, pool_bytes);
    for (size_t row = 0; row < w->n_rows; row++) {
        for (size_t head = 0; head < s->n_head; head++) {
            size_t at = (row * s->n_head + head) * s->dim;
            attend_head(w, row, head);
            if (memcmp(got + at, w->q + at, s->dim * sizeof *got) == 0) continue;
            fail_msg("row %zu of %zu, head %zu: off by %g", row, w->n_rows, head,
                     test_max_difference(got + at, w->q + at, s->dim));
        }
    }
    free(got);
    free(pages);
}

typedef void (*order_fn)(unsigned seed);

/* The fake driver's switch for the order in which threads take their turns. It stays open, as a driver does. */
static order_fn fake_order(void) {
    static const char *const names[] = {"libcuda.so.1", NULL};
    os_library *library = os_library_open(names);
    return library ? (order_fn)os_library_find(library, "fake_cuda_order") : NULL;
}

static void check(const step *s, cpu_table *cpu, order_fn order, unsigned seed) {
    facet_error error;
    layer_hparams l = {.sliding = s->window != 0,
                       .owns_kv = true,
                       .head_dim = (uint32_t)s->dim,
                       .n_head = (uint32_t)s->n_head,
                       .n_head_kv = (uint32_t)s->n_kv};
    layer_weights of = {.attn_v = {.m = {.format = quant_format_of(QUANT_F32)}}};
    hparams h = {.n_layer = 1, .n_own = 1, .window = (uint32_t)s->window, .eps = 1e-6f, .layers = &l};
    weights w = {.layers = &of};
    gpu_layer at = {.attn_q_norm = 0, .attn_k_norm = (int)s->dim, .kv_at = LEAD};
    gpu g = {.h = &h, .w = &w, .kv_type = s->kv, .options = {.first = 0, .end = 1}, .layers = &at};
    world made = world_new(s, cpu);
    g.page_bytes[l.sliding] = made.page_bytes;
    g.pairs[l.sliding] = s->dim / 2;
    g.pairs[!l.sliding] = OTHER_PAIRS;
    g.angle_width = made.angle_width;
    print_message("heads of %zu, %zu of %zu, window %zu\n", s->dim, s->n_head, s->n_kv, s->window);
    assert_ok(cuda_device_open(&g.device, 0, &error), &error);
    order(seed);
    assert_ok(gpu_programs_open(&g, &error), &error);
    assert_non_null(g.heads[l.sliding].program);
    compare(&g, &made);
    g.device->driver->buffer_free(g.device, &g.vectors);
    gpu_memory_close(&g);
    gpu_programs_close(&g);
    g.device->driver->close(g.device);
    world_free(&made);
}

static void check_all(const step *steps, size_t n) {
    cpu_table *cpu;
    facet_error error;
    order_fn order = fake_order();
    if (!order) skip();
    assert_ok(cpu_table_new(&cpu, UINT32_MAX, NULL, &error), &error);
    for (size_t i = 0; i < n; i++) {
        check(&steps[i], cpu, order, (unsigned)i % 3);
    }
    cpu_table_free(cpu);
}
#define CHECK_ALL(steps) check_all(steps, sizeof(steps) / sizeof(steps)[0])

enum { NEVER = 1000000, MANY = 4096 };

/* Sequences of all lengths, each with its next token. */
static void test_single(void **state) {
    (void)state;
    static const step steps[] = {
        {256, 8, 1, 512, FACET_KV_F16, NEVER, MANY, 0, {{700, 1}, {40, 1}, {513, 1}, {1, 1}}},
        {512, 8, 1, 0, FACET_KV_F16, NEVER, MANY, 0, {{1100, 1}, {3, 1}, {512, 1}}},
        {256, 8, 1, 512, FACET_KV_F16, NEVER, MANY, 8 * 1024, {{1500, 1}, {600, 2}}},
        {64, 20, 1, 0, FACET_KV_F16, NEVER, 1, 0, {{1600, 1}, {1025, 3}}},
        {64, 6, 2, 100, FACET_KV_Q8_0, NEVER, MANY, 0, {{570, 1}, {90, 2}}},
        {32, 2, 1, 0, FACET_KV_F16, NEVER, MANY, 0, {{66000, 1}, {1000, 1}}},
        {96, 4, 4, 0, FACET_KV_F32, NEVER, MANY, 0, {{600, 1}, {400, 25}}},
    };
    CHECK_ALL(steps);
}

/* Prompts, whole or the next piece, beside each other. */
static void test_tiles(void **state) {
    (void)state;
    static const step steps[] = {
        {256, 8, 1, 512, FACET_KV_F16, 1, MANY, 0, {{1026, 4}, {1025, 2}, {5, 1}}},
        {512, 8, 1, 0, FACET_KV_F16, 1, MANY, 0, {{1027, 5}}},
        {512, 8, 1, 0, FACET_KV_F16, 1, 1, 0, {{1030, 1}}},
        {64, 20, 1, 0, FACET_KV_F16, 1, MANY, 0, {{1300, 2}, {40, 1}}},
        {64, 6, 2, 100, FACET_KV_Q8_0, 1, MANY, 0, {{570, 31}, {7, 7}}},
        {96, 4, 4, 0, FACET_KV_F32, 1, 1, 0, {{1060, 50}}},
    };
    CHECK_ALL(steps);
}

/* A prompt while other sequences decode. */
static void test_mixed(void **state) {
    (void)state;
    static const step steps[] = {
        {64, 6, 2, 100, FACET_KV_Q8_0, 8, MANY, 0, {{300, 1}, {540, 40}, {90, 7}, {8, 8}}},
        {64, 20, 1, 0, FACET_KV_F16, 3, MANY, 0, {{1030, 4}, {1100, 1}, {64, 2}}},
    };
    CHECK_ALL(steps);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_mixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
