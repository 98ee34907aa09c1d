/* Whole models on a real CUDA device: the CPU's bits, for prompts, token by token (there steps are graphs), pieces of
 * prompts, every type of keys and values. Skipped where there is no device; quick_cuda.c has the
 * failures, on an emulator. Small enough for compute-sanitizer (bench/gpu.sh). */
#include "device_support.h"

#define GOLDEN(name) FACET_TEST_DATA "/models/" name ".gguf"
#define TINY(name)   FACET_TEST_DATA "/tiny/tiny-" name ".gguf"
#define DEMO         FACET_SOURCE_DIR "/models/tiny-q8_0.gguf"

static void look(void *ctx, const facet_device *d) {
    bool *usable = ctx;
    if (strcmp(d->kind, "cuda") != 0 || d->index != 0) return;
    *usable = !d->problem;
    print_message("%s\n", d->problem ? d->problem : d->name);
}

static void device_or_skip(void) {
    bool usable = false;
    facet_device_list(look, &usable);
    if (!usable) skip();
}

static void check(const device_run *like, const char *path) {
    device_run run = *like;
    facet_model *model;
    facet_error error;
    facet_model_info info = {.size = sizeof info};
    assert_ok(facet_model_open(&model, path, NULL, &error), &error);
    facet_model_get_info(model, &info);
    facet_model_free(model);
    run.model = path;
    run.device = "cuda";
    run.n_layers = -1;
    assert_like_cpu(&run, true, info.n_layer);
}

static const char *const models[] = {GOLDEN("ple-gqa"),    GOLDEN("ple-shared"), GOLDEN("moe-keqv"),
                                     GOLDEN("dense-keqv"), TINY("q4_k_m"),       DEMO};
enum { N_MODELS = sizeof models / sizeof models[0] };

static void test_prompts(void **state) {
    (void)state;
    device_or_skip();
    for (size_t i = 0; i < N_MODELS; i++) check(&(device_run){.n = 70}, models[i]);
}

static void test_decoding(void **state) {
    (void)state;
    device_or_skip();
    for (size_t i = 0; i < N_MODELS; i++) check(&(device_run){.n = 20, .one_by_one = true}, models[i]);
}

static void test_pieces(void **state) {
    (void)state;
    device_or_skip();
    for (int32_t ubatch = 1; ubatch < 40; ubatch = 3 * ubatch + 2) {
        check(&(device_run){.n = 50, .ubatch = ubatch}, TINY("q4_k_m"));
    }
}

static void test_kv_types(void **state) {
    (void)state;
    device_or_skip();
    check(&(device_run){.n = 60, .kv = FACET_KV_Q8_0}, DEMO);
    check(&(device_run){.n = 60, .kv = FACET_KV_F32}, DEMO);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prompts), cmocka_unit_test(test_decoding),
                                       cmocka_unit_test(test_pieces), cmocka_unit_test(test_kv_types)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
