/* The importance of columns: what is collected are the squares of what products are fed, in llama.cpp's file, the
 * same for any number of threads; and what quantising makes of it: models that answer more like the float32 one. */
#include "lora_files.h"

#include <jansson.h>
#include <unistd.h>

#include "engine/engine.h"
#include "facet_tools.h"

#define TINY FACET_TEST_DATA "/tiny/tiny-f32.gguf"
#define MOE  FACET_TEST_DATA "/models/moe-keqv.gguf"

static char folder[] = "/tmp/facet-imatrix-XXXXXX";

static const char *path_of(const char *name) {
    static char paths[4][64];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* ---- collecting */

typedef struct opened {
    facet_model *model;
    facet_engine *engine;
    facet_session *session;
} opened;

static opened open_model(const char *path, int threads) {
    opened o;
    facet_engine_options options;
    facet_error error = {0};
    facet_engine_options_defaults(&options);
    options.kv_type = FACET_KV_F32;
    options.n_threads = threads;
    options.max_context = 512;
    assert_ok(facet_model_open(&o.model, path, NULL, &error), &error);
    assert_ok(facet_engine_new(&o.engine, o.model, &options, &error), &error);
    assert_ok(facet_session_new(&o.session, o.engine, NULL, &error), &error);
    return o;
}

static void close_model(opened *o) {
    facet_session_free(o->session);
    facet_engine_free(o->engine);
    facet_model_free(o->model);
}

static bool pass_over(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    (void)ctx, (void)row, (void)logits, (void)n_vocab;
    return true;
}

static void collect(const char *model, int threads, const int32_t *ids, size_t n, int times, const char *out) {
    facet_importance *im;
    facet_error error = {0};
    opened o = open_model(model, threads);
    assert_ok(facet_importance_new(&im, o.engine, &error), &error);
    for (int i = 0; i < times; i++) assert_ok(facet_importance_add(im, o.session, ids, n, &error), &error);
    assert_ok(facet_importance_write(im, out, "a text", &error), &error);
    facet_importance_free(im);
    /* it watches no more */
    assert_ok(facet_session_score(o.session, ids, 2, 1, pass_over, NULL, &error), &error);
    close_model(&o);
}

static char *read_all(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

typedef struct image {
    char *bytes;
    size_t n;
    gguf_file *file;
} image;

static image open_image(const char *path) {
    image i;
    facet_error error = {0};
    i.bytes = read_all(path, &i.n);
    assert_ok(gguf_open(&i.file, &(gguf_part){(uint8_t *)i.bytes, i.n}, 1, &(gguf_options){0}, &error), &error);
    return i;
}

static void close_image(image *i) {
    gguf_free(i->file);
    free(i->bytes);
}

static const float *floats_of(const image *i, const char *name, uint64_t n0, uint64_t n1) {
    const gguf_tensor *t = gguf_tensor_find(i->file, name);
    if (!t) fail_msg("no tensor %s", name);
    assert_int_equal(t->type_id, 0);
    assert_int_equal(t->ne[0], n0);
    assert_int_equal(t->ne[1], n1);
    return (const float *)(const void *)t->data;
}

/* The first layer's inputs can be computed by hand: the normed embeddings, times the norm's weights. */
static void first_inputs(const facet_model *m, const int32_t *ids, size_t n, double *sums) {
    size_t width = m->hparams.n_embd;
    float *row = malloc(width * sizeof *row);
    memset(sums, 0, width * sizeof *sums);
    for (size_t i = 0; i < n; i++) {
        double squares = 0;
        cpu_row(&m->weights.token_embd.m, (size_t)ids[i], row);
        for (size_t k = 0; k < width; k++) squares += (double)width * (double)row[k] * (double)row[k];
        double factor = sqrt((double)width) / sqrt(squares / (double)width + (double)m->hparams.eps);
        for (size_t k = 0; k < width; k++) {
            double x = factor * (double)row[k] * (double)m->weights.layers[0].attn_norm[k];
            sums[k] += x * x;
        }
    }
    free(row);
}

static void the_sums_are_those_of_the_inputs(void **state) {
    (void)state;
    golden g = golden_open("tiny/tiny-f32.golden.gguf");
    size_t n;
    const int32_t *ids = golden_data(&g, "ids", &n);
    facet_model *m;
    facet_error error = {0};
    assert_ok(facet_model_open(&m, TINY, NULL, &error), &error);
    size_t width = m->hparams.n_embd;
    double *want = malloc(width * sizeof *want);
    first_inputs(m, ids, n, want);
    collect(TINY, 2, ids, n, 3, path_of("sums"));
    image got = open_image(path_of("sums"));
    const char *const names[] = {"attn_q", "attn_k", "attn_v"};
    for (size_t k = 0; k < 3; k++) {
        char name[64];
        snprintf(name, sizeof name, "blk.0.%s.weight.in_sum2", names[k]);
        const float *sums = floats_of(&got, name, width, 1);
        for (size_t i = 0; i < width; i++) {
            if (fabs((double)sums[i] - 3 * want[i]) > 1e-4 * 3 * want[i]) fail_msg("%s[%zu]", name, i);
        }
        snprintf(name, sizeof name, "blk.0.%s.weight.counts", names[k]);
        assert_true(floats_of(&got, name, 1, 1)[0] == (float)(3 * n));
    }
    /* every matrix that is multiplied, in the last layer too: all tokens count */
    char last[64];
    snprintf(last, sizeof last, "blk.%u.ffn_down.weight.counts", m->hparams.n_layer - 1);
    assert_true(floats_of(&got, last, 1, 1)[0] == (float)(3 * n));
    uint32_t chunks = 0, chunk = 0;
    gguf_string type;
    assert_ok(gguf_get_u32(got.file, "imatrix.chunk_count", &chunks, &error), &error);
    assert_ok(gguf_get_u32(got.file, "imatrix.chunk_size", &chunk, &error), &error);
    assert_ok(gguf_get_string(got.file, "general.type", &type, &error), &error);
    assert_int_equal(chunks, 3);
    assert_int_equal(chunk, n);
    assert_int_equal(type.n, 7);
    assert_memory_equal(type.data, "imatrix", 7);
    close_image(&got);
    free(want);
    facet_model_free(m);
    golden_close(&g);
}

static void experts_count_their_own_tokens(void **state) {
    (void)state;
    enum { N = 60 };
    int32_t ids[N];
    uint64_t seed = 4;
    for (int i = 0; i < N; i++) ids[i] = (int32_t)(lora_random(&seed) % 512);
    collect(MOE, 1, ids, N, 1, path_of("one"));
    collect(MOE, 2, ids, N, 1, path_of("two"));
    size_t n_a, n_b;
    char *a = read_all(path_of("one"), &n_a), *b = read_all(path_of("two"), &n_b);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(a, b, n_a);
    free(a);
    free(b);
    facet_model *m;
    facet_error error = {0};
    assert_ok(facet_model_open(&m, MOE, NULL, &error), &error);
    uint32_t experts = m->hparams.n_expert, used = m->hparams.n_expert_used;
    image got = open_image(path_of("one"));
    for (uint32_t l = 0; l < m->hparams.n_layer; l++) {
        static const char *const names[] = {"ffn_gate_up_exps", "ffn_down_exps"};
        for (size_t k = 0; k < 2; k++) {
            char name[64];
            float sum = 0;
            snprintf(name, sizeof name, "blk.%u.%s.weight.counts", l, names[k]);
            const float *counts = floats_of(&got, name, 1, experts);
            for (uint32_t e = 0; e < experts; e++) sum += counts[e];
            assert_true(sum == (float)(N * used));
            uint32_t columns = k ? m->hparams.n_ff_expert : m->hparams.n_embd;
            snprintf(name, sizeof name, "blk.%u.%s.weight.in_sum2", l, names[k]);
            const float *sums = floats_of(&got, name, columns, experts);
            for (uint32_t e = 0; e < experts; e++) {
                float all = 0;
                for (uint32_t c = 0; c < columns; c++) all += sums[e * columns + c];
                assert_true((all > 0) == (counts[e] > 0));
            }
        }
    }
    close_image(&got);
    facet_model_free(m);
}

/* ---- using */

static void quantise_to(const char *in, const char *type, const char *importance, const char *out) {
    facet_quantize_options o;
    facet_error error = {0};
    facet_quantize_options_defaults(&o);
    o.type = type;
    o.importance = importance;
    o.threads = 2;
    assert_ok(facet_quantize(in, out, &o, NULL, &error), &error);
}

typedef struct rows {
    float *base; /* [n][n_vocab] */
    bool filling;
    double divergence;
} rows;

static double log_sum(const float *x, size_t n) {
    double sum = 0; /* logits are within the soft cap */
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i]);
    return log(sum);
}

static bool take_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    rows *r = ctx;
    float *base = r->base + row * n_vocab;
    if (r->filling) {
        memcpy(base, logits, n_vocab * sizeof *base);
        return true;
    }
    double a = log_sum(base, n_vocab), b = log_sum(logits, n_vocab);
    for (size_t i = 0; i < n_vocab; i++) {
        double p = (double)base[i] - a, q = (double)logits[i] - b;
        r->divergence += exp(p) * (p - q);
    }
    return true;
}

static double divergence(const char *path, rows *r, const int32_t *ids, size_t n) {
    facet_error error = {0};
    opened o = open_model(path, 2);
    r->divergence = 0;
    assert_ok(facet_session_score(o.session, ids, n, 0, take_row, r, &error), &error);
    close_model(&o);
    return r->divergence / (double)n;
}

/* The demonstration model's examples as chats: what the golden ids, another chat, are not among. */
static int32_t *example_ids(size_t *n) {
    json_t *examples = json_load_file(FACET_SOURCE_DIR "/models/examples.json", 0, NULL);
    assert_non_null(examples);
    char *text = calloc(1, 1 << 16);
    size_t at = (size_t)sprintf(text, "<bos>"), i;
    json_t *e;
    json_array_foreach(examples, i, e) {
        at += (size_t)snprintf(text + at, (1 << 16) - at, "<|turn>user\n%s<turn|>\n<|turn>model\n%s<turn|>\n",
                               json_string_value(json_object_get(e, "question")),
                               json_string_value(json_object_get(e, "answer")));
    }
    int32_t *ids;
    facet_model *m;
    facet_error error = {0};
    assert_ok(facet_model_open(&m, TINY, NULL, &error), &error);
    assert_ok(facet_tokenize(m, text, at, true, &ids, n, &error), &error);
    facet_model_free(m);
    free(text);
    json_decref(examples);
    return ids;
}

static void models_answer_more_like_the_original(void **state) {
    (void)state;
    static const char *const types[] = {"q2_k", "q3_k_s", "q4_0", "iq4_xs"};
    golden g = golden_open("tiny/tiny-f32.golden.gguf");
    size_t n, n_examples;
    const int32_t *ids = golden_data(&g, "ids", &n);
    int32_t *examples = example_ids(&n_examples);
    assert_true(n_examples > 100 && n_examples <= 512);
    collect(TINY, 2, examples, n_examples, 1, path_of("importance"));
    facet_free(examples);
    rows r = {.filling = true, .base = malloc(n * 4096 * sizeof *r.base)};
    divergence(TINY, &r, ids, n);
    r.filling = false;
    double without = 0, with = 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        quantise_to(TINY, types[i], NULL, path_of("plain"));
        quantise_to(TINY, types[i], path_of("importance"), path_of("weighed"));
        double a = divergence(path_of("plain"), &r, ids, n), b = divergence(path_of("weighed"), &r, ids, n);
        print_message("%s: divergence %.4f, with importance %.4f\n", types[i], a, b);
        without += log(a);
        with += log(b);
    }
    assert_true(with < without - 0.1); /* a tenth less in the middle, and more */
    free(r.base);
    golden_close(&g);
}

/* The weighted error of a matrix's own search is smaller with the weights than without. */
static double weighted_error(const image *model, const image *quantised, const image *importance, const char *name) {
    char sums_name[96];
    const gguf_tensor *x = gguf_tensor_find(model->file, name), *y = gguf_tensor_find(quantised->file, name);
    snprintf(sums_name, sizeof sums_name, "%s.in_sum2", name);
    const float *w = floats_of(importance, sums_name, x->ne[0], 1);
    size_t n = (size_t)(x->n_bytes / sizeof(float));
    float *values = malloc(n * sizeof *values);
    y->format->dequantise(y->data, values, n / y->format->block);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)((const float *)(const void *)x->data)[i] - (double)values[i];
        sum += (double)w[i % x->ne[0]] * d * d;
    }
    free(values);
    return sum;
}

static void weighted_errors_are_smaller(void **state) {
    (void)state;
    static const char *const types[] = {"q2_k", "q3_k_s", "q4_k_s", "q5_k_s", "q6_k",
                                        "q4_0", "q5_0",   "iq4_nl", "iq4_xs"};
    image model = open_image(TINY), importance = open_image(path_of("importance"));
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        quantise_to(TINY, types[i], NULL, path_of("plain"));
        quantise_to(TINY, types[i], path_of("importance"), path_of("weighed"));
        image plain = open_image(path_of("plain")), weighed = open_image(path_of("weighed"));
        for (int layer = 0; layer < 8; layer++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.ffn_up.weight", layer);
            double a = weighted_error(&model, &plain, &importance, name);
            double b = weighted_error(&model, &weighed, &importance, name);
            if (!(b < a)) fail_msg("%s %s: %g, without %g", types[i], name, b, a);
        }
        close_image(&plain);
        close_image(&weighed);
    }
    close_image(&model);
    close_image(&importance);
}

/* Columns that were fed zeros alone, and types whose search takes no weights: the file is the one without importance
 * (Q4_0 and Q5_0 apart, whose plain rule is the reference's). */
static void importance_of_nothing_changes_nothing(void **state) {
    (void)state;
    image im = open_image(path_of("importance"));
    for (size_t i = 0; i < gguf_n_tensors(im.file); i++) {
        const gguf_tensor *t = gguf_tensor_at(im.file, i);
        if (t->name.n > 8 && !memcmp(t->name.data + t->name.n - 8, ".in_sum2", 8))
            memset((uint8_t *)(uintptr_t)t->data, 0, (size_t)t->n_bytes);
    }
    FILE *f = fopen(path_of("zeros"), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(im.bytes, 1, im.n, f), im.n);
    fclose(f);
    close_image(&im);
    static const char *const types[] = {"q2_k", "q3_k_m", "q6_k", "iq4_xs", "mxfp4", "q8_0"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t n_a, n_b;
        quantise_to(TINY, types[i], NULL, path_of("plain"));
        quantise_to(TINY, types[i], path_of("zeros"), path_of("weighed"));
        char *a = read_all(path_of("plain"), &n_a), *b = read_all(path_of("weighed"), &n_b);
        assert_int_equal(n_a, n_b);
        if (memcmp(a, b, n_a) != 0) fail_msg("%s differs", types[i]);
        free(a);
        free(b);
    }
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const files[] = {"sums", "one", "two", "importance", "plain", "weighed", "zeros"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) unlink(path_of(files[i]));
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sums_are_those_of_the_inputs),
        cmocka_unit_test(experts_count_their_own_tokens),
        cmocka_unit_test(models_answer_more_like_the_original), /* makes "importance" for the next two */
        cmocka_unit_test(weighted_errors_are_smaller),
        cmocka_unit_test(importance_of_nothing_changes_nothing),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
