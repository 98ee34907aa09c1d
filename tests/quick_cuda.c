/* The host's side of CUDA, on a fake driver with an emulator (fake_cuda/): whole models with the CPU's bits, and a
 * device that fails at any moment: the CPU takes over, and the text goes on as if nothing had been. A real device is
 * shut out: the fake one is found first. */
#include "device_support.h"

#include "os/library.h"

#define GOLDEN(name) FACET_TEST_DATA "/models/" name ".gguf"
#define TINY         FACET_TEST_DATA "/tiny/tiny-q4_k_m.gguf"

typedef void (*fail_fn)(long n);
typedef void (*set_fn)(unsigned value);

/* One of the driver's own switches; NULL where the fake driver is not. It stays open, as a driver does. */
static os_function fake_switch(const char *name) {
    static const char *const names[] = {"libcuda.so.1", NULL};
    os_library *library = os_library_open(names);
    os_function fn = library ? os_library_find(library, name) : NULL;
    if (!fn) print_message("the fake driver is not in LD_LIBRARY_PATH\n");
    return fn;
}

static fail_fn fake_driver(void) { return (fail_fn)fake_switch("fake_cuda_fail"); }

static void look(void *ctx, const facet_device *d) {
    bool *usable = ctx;
    if (strcmp(d->kind, "cuda") == 0 && d->index == 0) *usable = !d->problem;
}

static void ask(void) {
    bool usable;
    fail_fn fn = fake_driver();
    if (fn) fn(-1);
    facet_device_list(look, &usable);
}

static fail_fn driver_or_skip(void) {
    bool usable = false;
    if (!test_survives(ask)) skip();
    fail_fn fn = fake_driver();
    if (!fn) skip();
    fn(-1);
    facet_device_list(look, &usable);
    if (!usable) skip();
    return fn;
}

static void test_models(void **state) {
    (void)state;
    driver_or_skip();
    device_run run = {.model = GOLDEN("moe-keqv"), .device = "cuda", .n_layers = -1, .n = 30};
    assert_like_cpu(&run, true, 4);
    run = (device_run){.model = TINY, .device = "auto", .n_layers = -1, .n = 30};
    assert_like_cpu(&run, true, 8);
}

/* Threads may come in any order: nothing but barriers holds them together. */
static void test_orders(void **state) {
    (void)state;
    driver_or_skip();
    set_fn order = (set_fn)fake_switch("fake_cuda_order");
    for (unsigned seed = 1; seed < 3; seed++) {
        order(seed);
        device_run run = {.model = GOLDEN("moe-keqv"), .device = "cuda", .n_layers = -1, .n = 11};
        assert_like_cpu(&run, true, 4);
        run.model = GOLDEN("ple-gqa");
        assert_like_cpu(&run, true, 6);
    }
    order(0);
}

/* The oldest devices have other instructions. */
static void test_old_device(void **state) {
    (void)state;
    driver_or_skip();
    set_fn capability = (set_fn)fake_switch("fake_cuda_capability");
    capability(75);
    device_run run = {.model = TINY, .device = "cuda", .n_layers = -1, .n = 20};
    assert_like_cpu(&run, true, 8);
    capability(90);
}

/* Every call of the driver while an engine is made fails once. */
static void test_failing_start(void **state) {
    (void)state;
    fail_fn fail_after = driver_or_skip();
    for (long n = 0; n < 2000; n += n < 20 ? 1 : n / 3) {
        device_run run = {.model = GOLDEN("ple-gqa"), .device = "cuda", .n_layers = -1, .n = 1};
        fail_after(n);
        device_result r = device_logits(&run);
        assert_true(r.n_device_layers == 0 || r.n_device_layers == r.n_layer);
        if (r.n_device_layers == 0) assert_non_null(strstr(r.log, "the CPU computes"));
        free(r.logits);
    }
    fail_after(-1);
}

/* The device is lost while a session decodes, with all keys and values. */
static void test_lost_device(void **state) {
    (void)state;
    fail_fn fail_after = driver_or_skip();
    enum { N = 24 };
    device_run plain = {.model = TINY, .n = N};
    device_result want = device_logits(&plain), r = {0};
    facet_model *model;
    facet_session *session, *other;
    facet_error error;
    int32_t ids[N];
    device_run run = {.model = TINY, .device = "cuda", .n_layers = -1};
    assert_ok(facet_model_open(&model, TINY, NULL, &error), &error);
    device_tokens(ids, N, want.n_vocab);
    facet_engine *engine = device_engine(model, &run, &r);
    assert_int_equal(r.n_device_layers, 8);
    assert_ok(facet_session_new(&session, engine, NULL, &error), &error);
    assert_ok(facet_session_new(&other, engine, NULL, &error), &error);
    assert_ok(facet_session_sync(other, ids, 10, NULL, NULL, NULL, &error), &error);
    for (size_t i = 0; i < N; i++) {
        if (i == N / 2) fail_after(100);
        assert_ok(facet_session_sync(session, ids, i + 1, NULL, NULL, NULL, &error), &error);
        assert_memory_equal(facet_session_logits(session), want.logits + i * want.n_vocab,
                            want.n_vocab * sizeof *want.logits);
    }
    assert_non_null(strstr(r.log, "the CPU takes over"));
    assert_ok(facet_session_sync(other, ids, 11, NULL, NULL, NULL, &error), &error);
    assert_memory_equal(facet_session_logits(other), want.logits + 10 * want.n_vocab,
                        want.n_vocab * sizeof *want.logits);
    facet_engine_info info = {.size = sizeof info};
    facet_engine_get_info(engine, &info);
    assert_int_equal(info.n_device_layers, 0);
    facet_session_free(other);
    facet_session_free(session);
    facet_engine_free(engine);
    facet_model_free(model);
    free(want.logits);
    fail_after(-1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),        cmocka_unit_test(test_orders),      cmocka_unit_test(test_old_device),
        cmocka_unit_test(test_failing_start), cmocka_unit_test(test_lost_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
