/* OpenCL devices that nobody has at hand, through a layer over the real loader (fake_opencl/): one that reads images,
 * one that miscompiles, one with little memory, one that fails at any call. The CPU's bits are the truth throughout.
 * Skipped where OpenCL has no device. */
#include "device_support.h"

#include "fake_opencl/fake_opencl.h"
#include "os/library.h"

#define GOLDEN(name) FACET_TEST_DATA "/models/" name ".gguf"
#define TINY         FACET_TEST_DATA "/tiny/tiny-q4_k_m.gguf"

static fake_opencl_control *find_layer(void) {
    static const char *const names[] = {"libOpenCL.so.1", NULL};
    os_library *library = os_library_open(names);
    fake_opencl_fn fn = library ? (fake_opencl_fn)os_library_find(library, "fake_opencl_layer") : NULL;
    if (!fn) print_message("the layer is not in LD_LIBRARY_PATH\n");
    return fn ? fn() : NULL; /* the library stays open, as the loader does */
}

static void look(void *ctx, const facet_device *d) {
    bool *usable = ctx;
    if (strcmp(d->kind, "opencl") == 0 && d->index == 0) *usable = !d->problem;
}

static void ask(void) {
    bool usable;
    facet_device_list(look, &usable);
}

/* The layer as it is at first. Asks once, in another process first. */
static fake_opencl_control *layer_or_skip(void) {
    static bool asked, usable;
    fake_opencl_control *layer = find_layer();
    if (layer && !asked && test_survives(ask)) facet_device_list(look, &usable);
    asked = true;
    if (!usable) skip();
    assert_int_equal(layer->n_objects, 0); /* whatever became of the engine before, the driver has all back */
    *layer = (fake_opencl_control){.until_failure = -1};
    return layer;
}

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
    assert_true(layer->n_images > 8);
}

/* Some matrices are larger than images can be. */
static void test_small_images(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    device_run run = tiny_run(20);
    be_adreno(layer);
    layer->image_texels = 8192;
    assert_like_cpu(&run, true, 8);
    long n_all = layer->n_images;
    assert_true(n_all > 2);
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

static void assert_given_up(fake_opencl_control *layer, const char *model, const char *from, const char *to,
                            const char *what) {
    device_run run = {.model = model, .device = "opencl", .n_layers = -1, .n = 3};
    layer->from = from;
    layer->to = to;
    layer->n_replaced = 0;
    device_result r = device_logits(&run);
    if (r.n_device_layers || !strstr(r.log, what)) print_message("%s: %s\n", what, r.log);
    assert_true(layer->n_replaced > 0);
    assert_int_equal(r.n_device_layers, 0);
    assert_non_null(strstr(r.log, "the CPU computes"));
    assert_non_null(strstr(r.log, what));
    free(r.logits);
}

static void test_wrong_kernels(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    assert_given_up(layer, GOLDEN("ple-gqa"), "rint(v[i] * inverse)", "floor(v[i] * inverse)", "codes");
    assert_given_up(layer, GOLDEN("moe-keqv"), "f[k] = f[k] / sum;", "", "experts' shares");
}

/* ---- memory */

/* As much for layers and pages as PoCL was told to have, one gigabyte: see the environment of this program. */
static void test_little_memory(void **state) {
    (void)state;
    fake_opencl_control *layer = layer_or_skip();
    (void)layer;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images),        cmocka_unit_test(test_small_images),
        cmocka_unit_test(test_wrong_images),  cmocka_unit_test(test_no_images),
        cmocka_unit_test(test_dot),           cmocka_unit_test(test_wrong_kernels),
        cmocka_unit_test(test_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
