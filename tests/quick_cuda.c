/* The host's side of CUDA, on a fake driver with an emulator (fake_cuda/): whole models with the CPU's bits, and a
 * device that fails at any moment: the CPU takes over, and the text goes on as if nothing had been. A real device is
 * shut out: the fake one is found first. */
#include "device_support.h"
#include "facet_tools.h"
#include "fake_cuda_support.h"

#include <sys/stat.h>
#include <unistd.h>

#include "backend/cuda/compile.h"

#define GOLDEN(name) FACET_TEST_DATA "/models/" name ".gguf"
#define TINY         FACET_TEST_DATA "/tiny/tiny-q4_k_m.gguf"
#define DEMO         FACET_SOURCE_DIR "/models/tiny-q8_0.gguf"
#define PIRATE       FACET_SOURCE_DIR "/models/tiny-pirate-lora.gguf"

static void test_models(void **state) {
    (void)state;
    fake_cuda_or_skip();
    device_run run = {.model = GOLDEN("moe-keqv"), .device = "cuda", .n_layers = -1, .n = 30};
    assert_like_cpu(&run, true, 4);
    run = (device_run){.model = TINY, .device = "auto", .n_layers = -1, .n = 30};
    assert_like_cpu(&run, true, 8);
}

/* ---- few tokens: the launches that do several steps (quick_cuda_decode.c has them one by one) */

/* A golden model in another type; unlink it. */
static const char *quantised(const char *path, const char *type) {
    static char out[] = "/tmp/facet-quick-cuda-XXXXXX";
    facet_quantize_options o;
    facet_error error;
    strcpy(out + sizeof out - 7, "XXXXXX");
    int file = mkstemp(out);
    assert_true(file >= 0);
    close(file);
    facet_quantize_options_defaults(&o);
    o.type = type;
    assert_ok(facet_quantize(path, out, &o, NULL, &error), &error);
    return out;
}

static void test_decode(void **state) {
    (void)state;
    fake_cuda_or_skip();
    device_run run = {.model = TINY, .device = "cuda", .n_layers = -1, .n = 6, .one_by_one = true};
    assert_like_cpu(&run, true, 8);
    for (run.ubatch = 2, run.one_by_one = false; run.ubatch < 5; run.ubatch++) assert_like_cpu(&run, true, 8);
    run =
        (device_run){.model = DEMO, .device = "cuda", .n_layers = -1, .n = 5, .one_by_one = true, .adapter = PIRATE};
    assert_like_cpu(&run, true, 8);
}

/* Experts, shared and absent values, embeddings for each layer. */
static void test_decode_kinds(void **state) {
    (void)state;
    fake_cuda_or_skip();
    static const struct {
        const char *path, *type;
        int32_t n_layers;
    } kinds[] = {
        {GOLDEN("moe-keqv"), "q8_0", 4}, {GOLDEN("dense-keqv"), "q4_0", 6}, {GOLDEN("ple-shared"), "q4_0", 8}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        device_run run = {.device = "cuda", .n_layers = -1, .n = 6, .one_by_one = true};
        run.model = quantised(kinds[i].path, kinds[i].type);
        assert_like_cpu(&run, true, kinds[i].n_layers);
        run.one_by_one = false;
        run.ubatch = 3;
        assert_like_cpu(&run, true, kinds[i].n_layers);
        unlink(run.model);
    }
}

/* Threads may come in any order: nothing but barriers holds them together. */
static void test_orders(void **state) {
    (void)state;
    fake_cuda_or_skip();
    for (unsigned seed = 1; seed < 3; seed++) {
        fake_cuda_set("fake_cuda_order", seed);
        device_run run = {.model = GOLDEN("moe-keqv"), .device = "cuda", .n_layers = -1, .n = 11};
        assert_like_cpu(&run, true, 4);
        run.model = GOLDEN("ple-gqa");
        assert_like_cpu(&run, true, 6);
    }
    fake_cuda_set("fake_cuda_order", 0);
}

/* The oldest devices have other instructions. */
static void test_old_device(void **state) {
    (void)state;
    fake_cuda_or_skip();
    fake_cuda_set("fake_cuda_capability", 75);
    device_run run = {.model = TINY, .device = "cuda", .n_layers = -1, .n = 20};
    assert_like_cpu(&run, true, 8);
    fake_cuda_set("fake_cuda_capability", 90);
}

/* Every call of the driver while an engine is made fails once. */
static void test_failing_start(void **state) {
    (void)state;
    fake_cuda_or_skip();
    for (long n = 0; n < 2000; n += n < 20 ? 1 : n / 3) {
        device_run run = {.model = GOLDEN("ple-gqa"), .device = "cuda", .n_layers = -1, .n = 1};
        fake_cuda_fail(n);
        device_result r = device_logits(&run);
        assert_true(r.n_device_layers == 0 || r.n_device_layers == r.n_layer);
        if (r.n_device_layers == 0) assert_non_null(strstr(r.log, "the CPU computes"));
        free(r.logits);
    }
    fake_cuda_fail(-1);
}

/* ---- token by token */

enum { N_DECODED = 14 };

typedef struct decoding {
    facet_model *model;
    facet_engine *engine;
    facet_session *session;
    device_result result;
    int32_t ids[N_DECODED];
} decoding;

static void open_decoding(decoding *d, const char *path) {
    facet_error error;
    facet_model_info info = {.size = sizeof info};
    device_run run = {.model = path, .device = "cuda", .n_layers = -1};
    *d = (decoding){0};
    assert_ok(facet_model_open(&d->model, path, NULL, &error), &error);
    facet_model_get_info(d->model, &info);
    device_tokens(d->ids, N_DECODED, (size_t)info.n_vocab);
    d->engine = device_engine(d->model, &run, &d->result);
    assert_int_equal(d->result.n_device_layers, info.n_layer);
    assert_ok(facet_session_new(&d->session, d->engine, NULL, &error), &error);
}

static void close_decoding(decoding *d) {
    facet_session_free(d->session);
    facet_engine_free(d->engine);
    facet_model_free(d->model);
}

/* Tokens [first, end) give the bits of `want`. */
static void decode(decoding *d, facet_session *session, size_t first, size_t end, const device_result *want) {
    facet_error error;
    for (size_t i = first; i < end; i++) {
        assert_ok(facet_session_sync(session, d->ids, i + 1, NULL, NULL, NULL, &error), &error);
        assert_memory_equal(facet_session_logits(session), want->logits + i * want->n_vocab,
                            want->n_vocab * sizeof *want->logits);
    }
}

static device_result on_the_cpu(const char *path) {
    device_run run = {.model = path, .n = N_DECODED};
    return device_logits(&run);
}

static fake_cuda_counts decode_and_count(const char *path, const device_result *want) {
    decoding d;
    open_decoding(&d, path);
    fake_cuda_count();
    decode(&d, d.session, 0, N_DECODED, want);
    close_decoding(&d);
    return fake_cuda_count();
}

/* The first step is launched as it comes, the second makes a graph, the others use it. Without graphs, pinned memory
 * or launches that overlap the bits are the same. */
static void test_graphs(void **state) {
    (void)state;
    fake_cuda_or_skip();
    device_result want = on_the_cpu(GOLDEN("ple-gqa"));
    fake_cuda_counts n = decode_and_count(GOLDEN("ple-gqa"), &want);
    assert_int_equal(n.graphs, 1);
    assert_int_equal(n.graph_launches, N_DECODED - 1);
    fake_cuda_set("fake_cuda_capability", 75);
    n = decode_and_count(GOLDEN("ple-gqa"), &want);
    assert_int_equal(n.graph_launches, N_DECODED - 1);
    fake_cuda_set("fake_cuda_capability", 90);
    fake_cuda_refuse(true, false);
    n = decode_and_count(GOLDEN("ple-gqa"), &want);
    assert_int_equal(n.graph_launches, 0);
    fake_cuda_refuse(false, true);
    n = decode_and_count(GOLDEN("ple-gqa"), &want);
    assert_int_equal(n.graph_launches, N_DECODED - 1);
    fake_cuda_refuse(false, false);
    free(want.logits);
}

/* A layer takes no more than nine launches: projections, heads, attention in two, its output, gate and up, down, and
 * two for the embeddings; the step twice two for the embeddings of all layers, the last norm, the head. */
static void test_launches(void **state) {
    (void)state;
    fake_cuda_or_skip();
    const char *path = quantised(GOLDEN("ple-shared"), "q8_0");
    device_result want = on_the_cpu(path);
    decoding d;
    open_decoding(&d, path);
    decode(&d, d.session, 0, N_DECODED - 1, &want);
    size_t before = fake_cuda_runs(NULL), products = fake_cuda_runs("product");
    decode(&d, d.session, N_DECODED - 1, N_DECODED, &want);
    print_message("%zu launches for a token in %d layers\n", fake_cuda_runs(NULL) - before, (int)want.n_layer);
    assert_true(fake_cuda_runs(NULL) - before <= 9 * (size_t)want.n_layer + 6);
    assert_true(fake_cuda_runs("product") <= products + 2); /* the embeddings of all layers are floats */
    close_decoding(&d);
    free(want.logits);
    unlink(path);
}

/* Prompts of many lengths, each twice: more sequences than graphs are kept for. */
static void test_many_graphs(void **state) {
    (void)state;
    fake_cuda_or_skip();
    device_result want = on_the_cpu(GOLDEN("ple-gqa")), got = want;
    facet_error error;
    decoding d;
    open_decoding(&d, GOLDEN("ple-gqa"));
    got.logits = malloc(N_DECODED * want.n_vocab * sizeof *got.logits);
    assert_non_null(got.logits);
    fake_cuda_count();
    for (size_t n = 4; n < 2 * 14; n++) {
        assert_ok(facet_session_score(d.session, d.ids, n / 2, 0, keep_row, &got, &error), &error);
        assert_memory_equal(got.logits, want.logits, n / 2 * want.n_vocab * sizeof *want.logits);
    }
    fake_cuda_counts n = fake_cuda_count();
    assert_true(n.graphs > 8 && n.graph_launches >= n.graphs && n.launches > 0);
    close_decoding(&d);
    free(got.logits);
    free(want.logits);
}

/* The device is lost at any call while a session decodes, with all keys and values: the text goes on. */
static void test_lost_device(void **state) {
    (void)state;
    fake_cuda_or_skip();
    device_result want = on_the_cpu(GOLDEN("ple-gqa"));
    for (long n = 0; n < 400; n += n < 24 ? 1 : 61) {
        decoding d;
        facet_session *other;
        facet_error error;
        facet_engine_info info = {.size = sizeof info};
        size_t before = n % 3 + 1; /* tokens: no graph, one that is made, one that is used */
        open_decoding(&d, GOLDEN("ple-gqa"));
        assert_ok(facet_session_new(&other, d.engine, NULL, &error), &error);
        decode(&d, d.session, 0, before, &want);
        fake_cuda_fail(n);
        decode(&d, d.session, before, N_DECODED, &want);
        assert_non_null(strstr(d.result.log, "the CPU takes over"));
        decode(&d, other, 10, 12, &want);
        facet_engine_get_info(d.engine, &info);
        assert_int_equal(info.n_device_layers, 0);
        facet_session_free(other);
        close_decoding(&d);
        fake_cuda_fail(-1);
    }
    free(want.logits);
}

/* ---- the compiler */

static facet_status compile_text(const char *text, int capability, buffer *out, facet_error *error) {
    size_t n = strlen(text);
    gpu_source source = {.name = "text", .defines = "-DONE=1", .pieces = &text, .piece_bytes = &n, .n_pieces = 1};
    return cuda_compile_apart(&source, capability, out, error);
}

/* It is another process that breaks down, and a message that comes back from it. */
static void test_compiler(void **state) {
    (void)state;
    fake_cuda_or_skip();
    facet_error error;
    buffer out;
    static const char good[] = "extern \"C\" __global__ void answer(int *out) { *out = ONE; }\n";
    assert_ok(compile_text(good, 90, &out, &error), &error);
    assert_true(out.n > 1000);
    buffer_free(&out);
    assert_ok(compile_text(good, 121, &out, &error), &error); /* newer than the compiler */
    buffer_free(&out);
    assert_int_equal(compile_text("int x = \n", 90, &out, &error), FACET_ERROR_STATE);
    assert_non_null(strstr(error.message, "cannot compile text for CUDA: error"));
    assert_int_equal(compile_text("// break the compiler\n", 90, &out, &error), FACET_ERROR_STATE);
    assert_non_null(strstr(error.message, "broke down"));
}

static facet_status load_text(const char *text) {
    gpu_device *device;
    gpu_program *program;
    facet_error error;
    size_t n = strlen(text);
    gpu_source source = {.name = "text", .defines = "-DONE=1", .pieces = &text, .piece_bytes = &n, .n_pieces = 1};
    assert_ok(cuda_device_open(&device, 0, &error), &error);
    facet_status status = device->driver->program_new(device, &program, &source, NULL, &error);
    device->driver->program_free(device, program);
    device->driver->close(device);
    return status;
}

static void installed_path(char *path, size_t n, const char *directory, const gpu_source *source,
                           cuda_target target) {
    gpu_cache_key key = cuda_cache_key(source, target);
    snprintf(path, n, "%s/%s.kernels", directory, key.text);
}

/* What was installed with facet serves its own devices, newer ones of the family, and as text all newer ones; what
 * was not must be compiled, which this text does not allow. */
static void test_installed(void **state) {
    (void)state;
    fake_cuda_or_skip();
    static const char broken[] = "// break the compiler\n",
                      good[] = "extern \"C\" __global__ void answer(int *out) {}\n";
    static const struct {
        cuda_target installed;
        unsigned device;
        bool serves;
    } cases[] = {{{86, false}, 86, true}, {{86, false}, 89, true}, {{86, false}, 80, false}, {{86, false}, 90, false},
                 {{90, true}, 120, true}, {{90, true}, 90, true},  {{90, true}, 89, false}};
    const char *text = broken;
    size_t n = strlen(text);
    gpu_source source = {.name = "text", .defines = "-DONE=1", .pieces = &text, .piece_bytes = &n, .n_pieces = 1};
    char directory[2048], path[4096];
    facet_error error;
    buffer image;
    assert_ok(compile_text(good, 90, &image, &error), &error);
    assert_true(os_library_own_directory(directory, sizeof directory - 20));
    strcat(directory, "/facet");
    mkdir(directory, 0777);
    strcat(directory, "/kernels");
    mkdir(directory, 0777);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) { /* of a run that was cut off */
        installed_path(path, sizeof path, directory, &source, cases[i].installed);
        remove(path);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gpu_cache_key key = cuda_cache_key(&source, cases[i].installed);
        gpu_cache_write(directory, &key, image.data, image.n);
        fake_cuda_set("fake_cuda_capability", cases[i].device);
        assert_int_equal(load_text(broken) == FACET_OK, cases[i].serves);
        installed_path(path, sizeof path, directory, &source, cases[i].installed);
        assert_int_equal(remove(path), 0);
        assert_int_not_equal(load_text(broken), FACET_OK);
    }
    fake_cuda_set("fake_cuda_capability", 90);
    buffer_free(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),        cmocka_unit_test(test_orders),      cmocka_unit_test(test_decode),
        cmocka_unit_test(test_decode_kinds),  cmocka_unit_test(test_launches),    cmocka_unit_test(test_old_device),
        cmocka_unit_test(test_failing_start), cmocka_unit_test(test_graphs),      cmocka_unit_test(test_compiler),
        cmocka_unit_test(test_installed),     cmocka_unit_test(test_many_graphs), cmocka_unit_test(test_lost_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
