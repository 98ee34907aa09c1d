/* OpenCL devices that nobody has at hand, through a layer over the real loader (fake_opencl/): one that reads images,
 * one that miscompiles, one with little memory, one that fails at any call. The CPU's bits are the truth throughout.
 * Skipped where OpenCL has no device. */
#include "opencl_layer.h"

#define GOLDEN(name) FACET_TEST_DATA "/models/" name ".gguf"
#define TINY         FACET_TEST_DATA "/tiny/tiny-q4_k_m.gguf"

static void be_adreno(fake_opencl_control *layer) {
    layer->name = "QUALCOMM Adreno(TM)";
    layer->vendor = "QUALCOMM";
}

/* ---- faster ways, and what becomes of them */

static device_run tiny_run(size_t n) {
    return (device_run){.model = TINY, .device = "opencl", .n_layers = -1, .n = n};
}

static void test_images(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    device_run run = tiny_run(20);
    be_adreno(layer);
    assert_like_cpu(&run, true, 8);
    long n_all = layer->n_images;
    assert_true(n_all > 8);
    layer->n_images = 0;
    layer->image_texels = 16384; /* some matrices are larger */
    run.ubatch = 16;
    assert_like_cpu(&run, true, 8);
    assert_in_range(layer->n_images, 3, n_all - 1);
}

/* All layers stay on the device, with the CPU's bits, and a line tells what is done without. */
static void assert_without(const char *way) {
    device_run run = tiny_run(10), plain = run;
    plain.device = NULL;
    device_result want = device_logits(&plain), got = device_logits(&run);
    if (got.n_device_layers != 8 || !strstr(got.log, way)) print_message("%s\n", got.log);
    assert_int_equal(got.n_device_layers, 8);
    assert_non_null(strstr(got.log, "without"));
    assert_non_null(strstr(got.log, way));
    assert_memory_equal(got.logits, want.logits, run.n * want.n_vocab * sizeof *want.logits);
    free(want.logits);
    free(got.logits);
}

static void test_wrong_images(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    be_adreno(layer);
    layer->from = "read_imageui(words, (at) + (i) * 32).x";
    layer->to = "(read_imageui(words, (at) + (i) * 32).x ^ 0x100u)";
    assert_without("images");
    assert_true(layer->n_replaced > 0);
}

/* The compiler does not take them at all. */
static void test_no_images(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    be_adreno(layer);
    layer->from = "#define WORDS __read_only image1d_buffer_t";
    layer->to = "#define WORDS no_such_type";
    assert_like_cpu(&(device_run){.model = TINY, .device = "opencl", .n_layers = -1, .n = 5}, true, 8);
}

/* The extension, as OpenCL C 1.2 could have it, right and wrong. */
static void test_dot(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    device_run run = tiny_run(10);
    layer->extensions = "cl_khr_integer_dot_product";
    layer->prefix = "#define __opencl_c_integer_dot_product_input_4x8bit_packed 1\n"
                    "static int dot_4x8packed_ss_int(uint a, uint b) {\n"
                    "    int4 p = convert_int4(as_char4(a)) * convert_int4(as_char4(b));\n"
                    "    return p.x + p.y + p.z + p.w;\n"
                    "}\n";
    assert_like_cpu(&run, true, 8);
    layer->from = "return p.x + p.y + p.z + p.w;";
    layer->to = "return p.x + p.y + p.z - p.w;";
    assert_without("packed inner products");
}

/* ---- kernels that have no other way */

static void test_wrong_kernels(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    assert_given_up(layer, GOLDEN("ple-gqa"), "(int)rint(a * inverse)", "(int)floor(a * inverse)", "codes");
    assert_given_up(layer, GOLDEN("moe-keqv"), "f[k] = f[k] / sum;", "", "experts' shares");
}

/* ---- memory */

static void note_memory(void *ctx, const facet_device *d) {
    uint64_t *bytes = ctx;
    if (strcmp(d->kind, "opencl") == 0 && d->index == 0) *bytes = d->memory_bytes;
}

/* Layers on the device with so many bytes for keys and values. */
static int32_t layers_with(uint64_t kv_bytes, int32_t n_layers, device_result *r) {
    facet_model *model;
    facet_engine *engine;
    facet_error error;
    facet_engine_options o;
    facet_engine_info info = {.size = sizeof info};
    facet_engine_options_defaults(&o);
    o.device = "opencl";
    o.n_device_layers = n_layers;
    o.max_context = 1024;
    o.kv_bytes = kv_bytes;
    o.log = keep_log;
    o.log_ctx = r;
    assert_ok(facet_model_open(&model, TINY, NULL, &error), &error);
    assert_ok(facet_engine_new(&engine, model, &o, &error), &error);
    assert_int_equal(facet_engine_get_info(engine, &info), FACET_OK);
    facet_engine_free(engine);
    facet_model_free(model);
    return info.n_device_layers;
}

/* PoCL has a gigabyte here, a quarter of it in one piece: see the environment of this program. */
static void test_little_memory(void **state) {
    (void)state;
    layer_or_skip();
    uint64_t bytes = 0;
    device_result r = {0};
    facet_device_list(note_memory, &bytes);
    if (bytes > (uint64_t)3 << 30) skip(); /* not PoCL */
    assert_int_equal(layers_with(bytes / 5 * 2, -1, &r), 0);
    assert_non_null(strstr(r.log, "the CPU computes"));
    const char *hint = strstr(r.log, "room for ");
    assert_non_null(hint);
    int32_t fits = (int32_t)atoi(hint + strlen("room for "));
    assert_in_range(fits, 1, 7);
    assert_int_equal(layers_with(bytes / 5 * 2, fits, &r), fits);
    assert_int_equal(layers_with(bytes / 5 * 2, fits + 1, &r), 0);
}

/* Buffers that the planned memory promised, and the device does not have. */
static void test_no_memory(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    layer->failing = "CreateBuffer";
    for (long n = 0; n < 60; n += n < 4 ? 1 : 11) {
        device_run run = tiny_run(1);
        layer->until_failure = n;
        device_result r = device_logits(&run);
        if (layer->until_failure < 0) assert_int_equal(r.n_device_layers, 0);
        if (r.n_device_layers == 0) assert_non_null(strstr(r.log, "no memory for a buffer"));
        assert_int_equal(layer->n_objects, 0);
        free(r.logits);
    }
}

/* ---- failures */

/* Any call while an engine is made. */
static void test_failing_start(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    static const char *const functions[] = {"CreateContext",        "CreateCommandQueue", "CreateProgramWithSource",
                                            "BuildProgram",         "CreateKernel",       "SetKernelArg",
                                            "EnqueueNDRangeKernel", "EnqueueReadBuffer",  "EnqueueWriteBuffer"};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        device_run run = tiny_run(1);
        layer->failing = functions[i];
        layer->until_failure = (long)i % 3;
        layer->stays_lost = i % 2;
        device_result r = device_logits(&run);
        assert_true(layer->until_failure >= 0 || r.n_device_layers == 0);
        assert_true(r.n_device_layers || strstr(r.log, "the CPU computes"));
        layer->lost = false;
        assert_int_equal(layer->n_objects, 0);
        free(r.logits);
    }
}

/* While a session decodes: with all keys and values the device is gone, the numbers are not. */
static void lose_device(fake_opencl_control *layer, const char *function, bool stays_lost, const float *want,
                        size_t n_vocab) {
    enum { N = 12 };
    facet_model *model;
    facet_session *session;
    facet_error error;
    device_result r = {0};
    device_run run = tiny_run(N);
    int32_t ids[N];
    device_tokens(ids, N, n_vocab);
    assert_ok(facet_model_open(&model, run.model, NULL, &error), &error);
    facet_engine *engine = device_engine(model, &run, &r);
    assert_int_equal(r.n_device_layers, 8);
    assert_ok(facet_session_new(&session, engine, NULL, &error), &error);
    for (size_t i = 0; i < N; i++) {
        layer->failing = function;
        layer->stays_lost = stays_lost;
        if (i == N / 2) layer->until_failure = 3;
        assert_ok(facet_session_sync(session, ids, i + 1, NULL, NULL, NULL, &error), &error);
        assert_memory_equal(facet_session_logits(session), want + i * n_vocab, n_vocab * sizeof *want);
    }
    assert_non_null(strstr(r.log, "the CPU takes over"));
    facet_session_free(session);
    facet_engine_free(engine);
    facet_model_free(model);
    layer->lost = false;
    assert_int_equal(layer->n_objects, 0);
}

static void test_lost_device(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    device_run plain = {.model = TINY, .n = 12};
    device_result want = device_logits(&plain);
    lose_device(layer, "EnqueueNDRangeKernel", true, want.logits, want.n_vocab);
    lose_device(layer, "EnqueueWriteBuffer", false, want.logits, want.n_vocab);
    lose_device(layer, NULL, true, want.logits, want.n_vocab);
    free(want.logits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images),    cmocka_unit_test(test_wrong_images),  cmocka_unit_test(test_no_images),
        cmocka_unit_test(test_dot),       cmocka_unit_test(test_wrong_kernels), cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_failing_start), cmocka_unit_test(test_lost_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
