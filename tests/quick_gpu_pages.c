/* Keys and values on a device: whatever a KV cache of little memory does with its pages (sharing, copying, forgetting
 * and taking them again), the device has the same rows for the same positions, and within the same budget. The
 * device is memory of the host; rows of random sequences are written on both sides as a step would. */
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/parts.h"
#include "base/rng.h"
#include "support.h"

enum { WINDOW = 150, UBATCH = 64, CONTEXT = 1024, DIM = 32, N_LAYER = 4, N_SEQUENCES = 7, N_STEPS = 1500 };

/* ---- a device of host memory */

static facet_status fake_new(gpu_device *d, gpu_buffer *out, uint64_t n_bytes, facet_error *err) {
    (void)d;
    *out = (gpu_buffer){.handle = malloc(n_bytes), .n_bytes = n_bytes};
    return out->handle ? FACET_OK : error_memory(err, n_bytes);
}

static void fake_free(gpu_device *d, gpu_buffer *b) {
    (void)d;
    free(b->handle);
    *b = (gpu_buffer){0};
}

static facet_status fake_copy(gpu_device *d, const gpu_buffer *to, uint64_t to_at, const gpu_buffer *from,
                              uint64_t from_at, uint64_t n_bytes, facet_error *err) {
    (void)d;
    (void)err;
    assert_true(to_at + n_bytes <= to->n_bytes && from_at + n_bytes <= from->n_bytes);
    assert_true(to_at + n_bytes <= from_at || from_at + n_bytes <= to_at);
    memcpy((uint8_t *)to->handle + to_at, (uint8_t *)from->handle + from_at, n_bytes);
    return FACET_OK;
}

/* ---- a cache and the device's side of it */

typedef struct world {
    layer_hparams layers[N_LAYER];
    hparams h;
    kv_cache *cache;
    gpu_driver driver;
    gpu_device device;
    gpu g;
    kv_sequence *sequences[N_SEQUENCES];
    int32_t tokens[N_SEQUENCES][CONTEXT];
    size_t wanted[N_SEQUENCES]; /* tokens of the timeline */
    uint64_t drawn;
} world;

static size_t draw(world *w, size_t n) { return (size_t)(rng_unit(77, 1, w->drawn++) * (double)n); }

static void world_open(world *w, uint32_t first, uint32_t end, uint32_t n_full) {
    facet_error error;
    kv_need need;
    *w = (world){.driver = {.buffer_new = fake_new, .buffer_free = fake_free, .copy = fake_copy}};
    w->h = (hparams){.n_layer = N_LAYER, .n_own = N_LAYER, .window = WINDOW, .layers = w->layers};
    for (uint32_t i = 0; i < N_LAYER; i++) {
        w->layers[i] = (layer_hparams){.sliding = i >= n_full,
                                       .owns_kv = true,
                                       .kv_layer = i,
                                       .head_dim = i >= n_full ? DIM : 3 * DIM,
                                       .n_head = 2,
                                       .n_head_kv = 1 + i % 2};
    }
    assert_ok(kv_plan(&w->h, FACET_KV_Q8_0, CONTEXT, UBATCH, &need, &error), &error);
    assert_ok(kv_cache_new(&w->cache, &w->h, FACET_KV_Q8_0, &need, kv_need_bytes(&need) * 5 / 4, &error), &error);
    kv_cache_watch_copies(w->cache);
    w->device = (gpu_device){.driver = &w->driver, .limits = {.buffer_bytes = UINT64_C(1) << 40}};
    w->g = (gpu){.device = &w->device, .h = &w->h, .kv_type = FACET_KV_Q8_0, .options = {.first = first, .end = end}};
    w->g.layers = calloc(N_LAYER, sizeof *w->g.layers);
    assert_non_null(w->g.layers);
    assert_ok(gpu_pages_open(&w->g, w->cache, false, &error), &error);
    assert_true(w->g.pool.n_bytes <= kv_cache_bytes(w->cache) + 256);
    for (uint64_t i = 0; i < N_SEQUENCES; i++) {
        assert_ok(kv_sequence_new(&w->sequences[i], w->cache, CONTEXT, (kv_key){0}, &error), &error);
    }
}

static void world_close(world *w) {
    for (size_t i = 0; i < N_SEQUENCES; i++) kv_sequence_free(w->sequences[i]);
    gpu_pages_close(&w->g);
    free(w->g.layers);
    kv_cache_free(w->cache);
}

/* ---- rows on both sides */

static uint8_t *device_row(const world *w, const kv_sequence *s, uint32_t layer, size_t plane, size_t position) {
    const gpu *g = &w->g;
    int kind = w->layers[layer].sliding;
    size_t row = cpu_kv_row_bytes(FACET_KV_Q8_0, w->layers[layer].head_dim);
    int32_t number = gpu_page_number(g, kind, kv_sequence_page(s, kind, position / CPU_PAGE));
    assert_true(number >= 0 && (size_t)number < g->n_pages[kind]);
    uint64_t at = (uint64_t)number * g->page_bytes[kind] + g->layers[layer].kv_at +
                  (plane * CPU_PAGE + position % CPU_PAGE) * row;
    assert_true(at + row <= g->pool.n_bytes);
    return (uint8_t *)g->pool.handle + at;
}

static uint8_t *host_row(const world *w, const kv_sequence *s, uint32_t layer, size_t plane, size_t position) {
    size_t n = w->layers[layer].n_head_kv, page = position / CPU_PAGE;
    size_t row = cpu_kv_row_bytes(FACET_KV_Q8_0, w->layers[layer].head_dim);
    uint8_t *first =
        plane < n ? kv_keys(s, layer, (uint32_t)plane, page) : kv_values(s, layer, (uint32_t)(plane - n), page);
    return first + position % CPU_PAGE * row;
}

/* Those positions of the device's layers that somebody may still see: written on both sides, or compared. */
static void visit(world *w, const kv_sequence *s, size_t from, bool write) {
    size_t length = kv_sequence_length(s);
    for (uint32_t layer = w->g.options.first; layer < w->g.options.end; layer++) {
        const layer_hparams *l = &w->layers[layer];
        size_t row = cpu_kv_row_bytes(FACET_KV_Q8_0, l->head_dim);
        for (size_t i = 0; i < (length - from) * 2 * l->n_head_kv; i++) {
            size_t at = from + i / (2 * l->n_head_kv), plane = i % (2 * l->n_head_kv);
            if (l->sliding && at + WINDOW < length + 1 && !write) continue;
            if (l->sliding && kv_sequence_page(s, KV_SLIDING, at / CPU_PAGE) == NO_PAGE) continue;
            uint8_t *host = host_row(w, s, layer, plane, at), *device = device_row(w, s, layer, plane, at);
            for (size_t k = 0; write && k < row; k++) host[k] = device[k] = (uint8_t)draw(w, 256);
            assert_memory_equal(host, device, row);
        }
    }
}

/* ---- steps */

/* A timeline that begins like others do. */
static void begin(world *w, size_t i) {
    facet_error error;
    size_t n = 1 + draw(w, CONTEXT - 100), same = draw(w, n);
    int32_t kind = (int32_t)draw(w, 3);
    for (size_t k = 0; k < n; k++) w->tokens[i][k] = k < same ? kind : (int32_t)draw(w, 1000) + 10;
    w->wanted[i] = kv_sequence_begin(w->sequences[i], w->tokens[i], n, n - 1, &error) == FACET_OK ? n : 0;
}

static size_t extend(world *w, size_t i, forward_segment *out) {
    facet_error error;
    kv_sequence *s = w->sequences[i];
    size_t at = kv_sequence_length(s), left = w->wanted[i] - at, n = left < UBATCH ? left : UBATCH;
    if (w->wanted[i] == 0 || left == 0 || kv_sequence_extend(s, n, &error) != FACET_OK) return 0;
    *out = (forward_segment){.kv = s, .tokens = w->tokens[i] + at, .n = n, .position = at};
    return 1;
}

static void step(world *w) {
    forward_segment segments[N_SEQUENCES];
    kv_copy copies[KV_MAX_COPIES];
    size_t n = 0;
    for (size_t i = 0; i < N_SEQUENCES; i++) {
        bool done = w->wanted[i] == kv_sequence_length(w->sequences[i]);
        size_t n_begins = (done && draw(w, 3) == 0) || draw(w, 20) == 0 ? 1 + draw(w, 4) : 0;
        while (n_begins--) begin(w, i); /* the copies of all but the last are for nobody */
        if (draw(w, 2)) n += extend(w, i, &segments[n]);
    }
    size_t n_copies = kv_cache_take_copies(w->cache, copies);
    gpu_take_pages(&w->g, copies, n_copies, segments, n);
    assert_ok(w->g.status, &w->g.error);
    for (size_t i = 0; i < n; i++) visit(w, segments[i].kv, segments[i].position, true);
    for (size_t i = 0; i < N_SEQUENCES; i++) {
        for (size_t k = 0; k < n; k++) {
            if (segments[k].kv != w->sequences[i]) continue;
            kv_sequence_publish(w->sequences[i], w->tokens[i]);
            visit(w, w->sequences[i], 0, false);
        }
    }
}

static void test_pages(void **state) {
    (void)state;
    static const struct {
        uint32_t first, end, n_full;
    } cases[] = {{0, N_LAYER, 1}, {0, N_LAYER, 3}, {1, 3, 2},
                 {2, N_LAYER, 2}, {0, N_LAYER, 0}, {0, N_LAYER, N_LAYER}};
    world *w = malloc(sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world_open(w, cases[i].first, cases[i].end, cases[i].n_full);
        for (size_t k = 0; k < N_STEPS / 6; k++) step(w);
        world_close(w);
    }
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
