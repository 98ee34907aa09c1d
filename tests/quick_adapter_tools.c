/* PEFT directories to GGUF, and adapters merged into models: against the demonstration adapter that was written from
 * the same training by another program, the logits that transformers computed, and the definitions, element by
 * element. */
#include "peft_files.h"

#include "lora_files.h"

#include "engine/session.h"
#include "facet_tools.h"

#define PIRATE FACET_SOURCE_DIR "/models/tiny-pirate-lora.gguf"
#define TINY   FACET_TEST_DATA "/tiny/tiny-f32.gguf"
#define MOE    FACET_TEST_DATA "/models/moe-keqv.gguf"

static const char plain_config[] = "{\"peft_type\":\"LORA\",\"r\":8,\"lora_alpha\":16,\"bias\":\"none\","
                                   "\"use_dora\":false,\"modules_to_save\":null,\"rank_pattern\":{}}";

typedef struct opened {
    char *bytes;
    gguf_file *file;
} opened;

static opened open_gguf(const char *path) {
    opened o = {0};
    facet_error error = {0};
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    o.bytes = malloc(n);
    assert_int_equal(fread(o.bytes, 1, n, f), n);
    fclose(f);
    assert_ok(gguf_open(&o.file, &(gguf_part){(uint8_t *)o.bytes, n}, 1, &(gguf_options){0}, &error), &error);
    return o;
}

static void close_gguf(opened *o) {
    gguf_free(o->file);
    free(o->bytes);
}

static float alpha_of(const opened *o) {
    float alpha = 0;
    facet_error error = {0};
    assert_ok(gguf_get_f32(o->file, "adapter.lora.alpha", &alpha, &error), &error);
    return alpha;
}

static facet_status convert_dir(const peft_dir *d, const char *base, const char *type, facet_error *error) {
    char out[128];
    facet_adapter_convert_options o;
    facet_adapter_convert_options_defaults(&o);
    o.base = base;
    o.type = type;
    o.threads = 2;
    peft_dir_path(d, "out.gguf", out);
    return facet_adapter_convert(d->path, out, &o, NULL, error);
}

static opened converted(const peft_dir *d, const char *base, const char *type) {
    char out[128];
    facet_error error = {0};
    assert_ok(convert_dir(d, base, type, &error), &error);
    peft_dir_path(d, "out.gguf", out);
    return open_gguf(out);
}

/* ---- the demonstration adapter */

static const char *const modules[][2] = {
    {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"}, {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"ffn_gate", "mlp.gate_proj"},  {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

/* "blk.3.ffn_up.weight.lora_a" as PEFT spells it. */
static void peft_name(gguf_string name, const char *prefix, char out[160]) {
    char text[128], module[32], half;
    int layer;
    snprintf(text, sizeof text, "%.*s", (int)name.n, name.data);
    assert_int_equal(sscanf(text, "blk.%d.%31[a-z_].weight.lora_%c", &layer, module, &half), 3);
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        if (strcmp(module, modules[i][0]) != 0) continue;
        snprintf(out, 160, "base_model.model.%slayers.%d.%s.lora_%c.weight", prefix, layer, modules[i][1],
                 half == 'a' ? 'A' : 'B');
        return;
    }
    fail_msg("no module %s", module);
}

static peft_dir *pirate_dir(const opened *truth, const char *prefix) {
    peft_dir *d = peft_dir_new();
    for (size_t i = 0; i < gguf_n_tensors(truth->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(truth->file, i);
        char name[160];
        assert_int_equal(t->type_id, 0);
        peft_name(t->name, prefix, name);
        peft_dir_add(d, name, "F32", t->data, (size_t)t->n_bytes, 2, (uint64_t[]){t->ne[1], t->ne[0]});
    }
    return d;
}

static void check_same(const opened *got, const opened *truth) {
    assert_int_equal(gguf_n_tensors(got->file), gguf_n_tensors(truth->file));
    for (size_t i = 0; i < gguf_n_tensors(truth->file); i++) {
        const gguf_tensor *want = gguf_tensor_at(truth->file, i);
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)want->name.n, want->name.data);
        const gguf_tensor *t = gguf_tensor_find(got->file, name);
        if (!t) fail_msg("no tensor %s", name);
        assert_int_equal(t->type_id, want->type_id);
        assert_int_equal(t->n_dims, want->n_dims);
        assert_memory_equal(t->ne, want->ne, sizeof t->ne);
        assert_memory_equal(t->data, want->data, want->n_bytes);
    }
    assert_true(alpha_of(got) == alpha_of(truth));
}

/* The strength of the demonstration adapter is not 16 / 8: its config says so. */
static void pirate_config(const opened *truth, char out[256]) {
    snprintf(out, 256, "{\"peft_type\":\"LORA\",\"r\":8,\"lora_alpha\":%g,\"base_model_name_or_path\":\"tiny\"}",
             (double)alpha_of(truth));
}

static void the_demonstration_adapter_comes_back(void **state) {
    (void)state;
    static const char *const prefixes[] = {"model.", "model.language_model.", "language_model.model."};
    opened truth = open_gguf(PIRATE);
    char config[256];
    pirate_config(&truth, config);
    for (size_t i = 0; i < 3; i++) {
        peft_dir *d = pirate_dir(&truth, prefixes[i]);
        peft_dir_finish(d, config);
        opened got = converted(d, i ? TINY : NULL, NULL);
        check_same(&got, &truth);
        close_gguf(&got);
        peft_dir_free(d);
    }
    close_gguf(&truth);
}

/* ---- merged */

typedef struct comparison {
    const float *want;
    size_t first, n;
    double worst;
} comparison;

static bool compare_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    comparison *c = ctx;
    double d = test_max_difference(c->want + (row - c->first) * n_vocab, logits, n_vocab);
    if (d > c->worst) c->worst = d;
    c->n++;
    return true;
}

static double distance(const char *path, const char *which) {
    facet_model *m;
    facet_engine *e;
    facet_session *s;
    facet_engine_options o;
    facet_error error = {0};
    golden g = golden_open("tiny/tiny-f32.golden.gguf");
    size_t n, n_logits;
    const int32_t *ids = golden_data(&g, "ids", &n);
    comparison c = {.want = golden_data(&g, which, &n_logits), .first = n - 32};
    facet_engine_options_defaults(&o);
    o.kv_type = FACET_KV_F32;
    o.n_threads = 2;
    o.max_context = 512;
    assert_ok(facet_model_open(&m, path, NULL, &error), &error);
    assert_ok(facet_engine_new(&e, m, &o, &error), &error);
    assert_ok(facet_session_new(&s, e, NULL, &error), &error);
    assert_ok(facet_session_score(s, ids, n, c.first, compare_row, &c, &error), &error);
    assert_int_equal(c.n, 32);
    facet_session_free(s);
    facet_engine_free(e);
    facet_model_free(m);
    golden_close(&g);
    return c.worst;
}

static facet_status merge_to(const char *base, const facet_merge *merges, size_t n, const char *type, const char *out,
                             facet_error *error) {
    facet_quantize_options o;
    facet_quantize_options_defaults(&o);
    o.merges = merges;
    o.n_merges = n;
    o.type = type;
    o.threads = 2;
    return facet_quantize(base, out, &o, NULL, error);
}

/* The logits that transformers computed with the adapter; halves of it add up; minus itself it is gone. */
static void a_merged_model_answers_like_the_adapter(void **state) {
    (void)state;
    static const facet_merge once[] = {{PIRATE, 1}}, halves[] = {{PIRATE, 0.25f}, {PIRATE, 0.75f}},
                             gone[] = {{PIRATE, 1}, {PIRATE, -1}};
    peft_dir *d = peft_dir_new();
    char out[128];
    facet_error error = {0};
    peft_dir_path(d, "merged.gguf", out);
    assert_ok(merge_to(TINY, once, 1, NULL, out, &error), &error);
    double worst = distance(out, "logits.adapter");
    print_message("merged: largest difference of a logit %.2e\n", worst);
    assert_true(worst <= 5e-4);
    assert_true(distance(out, "logits") > 1);
    assert_ok(merge_to(TINY, halves, 2, NULL, out, &error), &error);
    assert_true(distance(out, "logits.adapter") <= 5e-4);
    assert_ok(merge_to(TINY, gone, 2, NULL, out, &error), &error);
    assert_true(distance(out, "logits") <= 5e-4);
    peft_dir_free(d);
}

/* Merged and rounded is rounded after merging: the types of the base, or a recipe's. */
static void what_is_merged_is_rounded_once(void **state) {
    (void)state;
    static const facet_merge once[] = {{PIRATE, 1}};
    peft_dir *d = peft_dir_new();
    char merged[128], direct[128], out[128];
    facet_error error = {0};
    facet_quantize_options o;
    facet_quantize_options_defaults(&o);
    o.type = "q4_k_m";
    peft_dir_path(d, "base.gguf", merged);
    peft_dir_path(d, "merged.gguf", direct);
    peft_dir_path(d, "out.gguf", out);
    assert_ok(merge_to(TINY, once, 1, NULL, merged, &error), &error);
    assert_ok(merge_to(TINY, once, 1, "q4_k_m", direct, &error), &error);
    assert_ok(facet_quantize(merged, out, &o, NULL, &error), &error);
    opened a = open_gguf(direct), b = open_gguf(out);
    assert_int_equal(gguf_n_kv(a.file), gguf_n_kv(b.file));
    for (size_t i = 0; i < gguf_n_tensors(a.file); i++) {
        const gguf_tensor *x = gguf_tensor_at(a.file, i), *y = gguf_tensor_at(b.file, i);
        assert_int_equal(x->type_id, y->type_id);
        assert_memory_equal(x->data, y->data, y->n_bytes);
    }
    close_gguf(&a);
    close_gguf(&b);

    /* the shipped model keeps Q8_0, and what no adapter touches its bytes */
    assert_ok(merge_to(FACET_SOURCE_DIR "/models/tiny-q8_0.gguf", once, 1, NULL, direct, &error), &error);
    a = open_gguf(direct), b = open_gguf(FACET_SOURCE_DIR "/models/tiny-q8_0.gguf");
    size_t n_same = 0;
    for (size_t i = 0; i < gguf_n_tensors(a.file); i++) {
        const gguf_tensor *x = gguf_tensor_at(a.file, i), *y = gguf_tensor_at(b.file, i);
        assert_int_equal(x->type_id, y->type_id);
        n_same += !memcmp(x->data, y->data, y->n_bytes);
    }
    opened adapter = open_gguf(PIRATE);
    assert_int_equal(n_same + gguf_n_tensors(adapter.file) / 2, gguf_n_tensors(b.file));
    close_gguf(&adapter);
    close_gguf(&a);
    close_gguf(&b);
    peft_dir_free(d);
}

/* Random adapters of any type on every matrix of every kind of model, against the definition in double. */
static void every_matrix_is_merged_by_the_definition(void **state) {
    (void)state;
    static const char *const kinds[] = {"ple-shared", "ple-gqa", "dense-keqv", "moe-keqv"};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        peft_dir *d = peft_dir_new();
        facet_model *m;
        facet_error error = {0};
        char base[512], adapter[128], merged[128];
        snprintf(base, sizeof base, FACET_TEST_DATA "/models/%s.gguf", kinds[k]);
        peft_dir_path(d, "out.gguf", adapter);
        peft_dir_path(d, "merged.gguf", merged);
        assert_ok(facet_model_open(&m, base, NULL, &error), &error);
        lora_file *f = lora_file_new(m, "", 0, true, 5 + k);
        buffer image = lora_file_image(f);
        peft_dir_write(d, "out.gguf", image.data, image.n);
        buffer_free(&image);
        assert_ok(merge_to(base, &(facet_merge){adapter, 0.5f}, 1, NULL, merged, &error), &error);
        facet_model *want = lora_merged_model(m, false, (const lora_file *const[]){f}, (double[]){0.5}, 1);
        opened got = open_gguf(merged);
        for (size_t i = 0; i < gguf_n_tensors(got.file); i++) {
            const gguf_tensor *x = gguf_tensor_at(got.file, i), *y = gguf_tensor_at(want->file, i);
            assert_int_equal(x->n_bytes, y->n_bytes);
            double worst = test_max_difference((const void *)x->data, (const void *)y->data,
                                               (size_t)(x->n_bytes / sizeof(float)));
            if (!(worst <= 1e-5)) fail_msg("%s, %.*s: %g", kinds[k], (int)x->name.n, x->name.data, worst);
        }
        close_gguf(&got);
        lora_file_free(f);
        facet_model_free(want);
        facet_model_free(m);
        peft_dir_free(d);
    }
}

/* ---- experts, embeddings, strengths */

static float *random_floats(size_t n, uint64_t *state) {
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = lora_uniform(state);
    return x;
}

static const float *floats_of(const opened *o, const char *name, const uint64_t ne[3]) {
    const gguf_tensor *t = gguf_tensor_find(o->file, name);
    if (!t) fail_msg("no tensor %s", name);
    assert_int_equal(t->type_id, 0);
    assert_memory_equal(t->ne, ne, 3 * sizeof *ne);
    return (const float *)(const void *)t->data;
}

enum { N_EXPERTS = 8, RANK = 3, WIDTH = 64, EXPERT_WIDTH = 32 };

/* PEFT's own rule: with X [E r, n] and Y [m, r E], delta[e] = sum over k of Y[., k E + e] X[e r + k, .], a matrix
 * [m, n]; or its transpose where the parameter was taken for [n, m]. */
static void check_experts(const opened *got, const char *name, const float *x, const float *y, size_t n, size_t m,
                          bool swapped) {
    char a_name[80], b_name[80];
    size_t rows = swapped ? n : m, columns = swapped ? m : n;
    snprintf(a_name, sizeof a_name, "%s.lora_a", name);
    snprintf(b_name, sizeof b_name, "%s.lora_b", name);
    const float *a = floats_of(got, a_name, (uint64_t[]){columns, RANK, N_EXPERTS});
    const float *b = floats_of(got, b_name, (uint64_t[]){RANK, rows, N_EXPERTS});
    for (size_t e = 0; e < N_EXPERTS; e++) {
        for (size_t i = 0; i < rows; i++) {
            for (size_t j = 0; j < columns; j++) {
                size_t in = swapped ? i : j, out = swapped ? j : i;
                double want = 0, have = 0;
                for (size_t k = 0; k < RANK; k++) {
                    want +=
                        (double)y[out * RANK * N_EXPERTS + k * N_EXPERTS + e] * (double)x[(e * RANK + k) * n + in];
                    have += (double)b[(e * rows + i) * RANK + k] * (double)a[(e * RANK + k) * columns + j];
                }
                if (want != have) fail_msg("%s: expert %zu, [%zu, %zu]: %g, not %g", name, e, i, j, have, want);
            }
        }
    }
}

static void add_matrix(peft_dir *d, const char *name, const float *x, uint64_t rows, uint64_t columns) {
    peft_dir_add(d, name, "F32", x, rows * columns * sizeof *x, 2, (uint64_t[]){rows, columns});
}

static void experts_of_both_versions(void **state) {
    (void)state;
    uint64_t seed = 99;
    for (int swapped = 0; swapped < 2; swapped++) {
        peft_dir *d = peft_dir_new();
        size_t in = EXPERT_WIDTH, out = WIDTH; /* down_proj [64, 32]; gate_up_proj [64, 64] is square, see below */
        size_t n = swapped ? out : in, m = swapped ? in : out;
        float *x = random_floats(N_EXPERTS * RANK * n, &seed), *y = random_floats(m * RANK * N_EXPERTS, &seed);
        add_matrix(d, "base_model.model.model.layers.2.experts.lora_A.weight", x, N_EXPERTS * RANK, n);
        add_matrix(d, "base_model.model.model.layers.2.experts.lora_B.weight", y, m, RANK * N_EXPERTS);
        add_matrix(d, "base_model.model.model.layers.1.experts.base_layer.lora_A.weight", x, N_EXPERTS * RANK, n);
        add_matrix(d, "base_model.model.model.layers.1.experts.base_layer.lora_B.weight", y, m, RANK * N_EXPERTS);
        peft_dir_finish(d, plain_config);
        opened got = converted(d, MOE, NULL);
        assert_int_equal(gguf_n_tensors(got.file), 4);
        check_experts(&got, "blk.1.ffn_down_exps.weight", x, y, n, m, swapped);
        check_experts(&got, "blk.2.ffn_down_exps.weight", x, y, n, m, swapped);
        close_gguf(&got);
        facet_error error = {0};
        assert_int_equal(convert_dir(d, NULL, NULL, &error), FACET_ERROR_ARGUMENT); /* whose experts? */
        assert_non_null(strstr(error.message, "layers.1.experts.base_layer.lora_A"));
        free(x);
        free(y);
        peft_dir_free(d);
    }
}

/* A model opens what comes out: embeddings of both kinds turned, stacked experts, everything else as it is. */
static void embeddings_are_turned(void **state) {
    (void)state;
    static const char base[] = FACET_TEST_DATA "/models/ple-gqa.gguf";
    uint64_t seed = 7;
    facet_error error = {0};
    facet_model *model;
    facet_adapter *adapter;
    char path[128];
    assert_ok(facet_model_open(&model, base, NULL, &error), &error);
    size_t n_vocab = model->hparams.n_vocab, all = (size_t)model->hparams.n_ple * model->hparams.n_layer;
    size_t width = model->hparams.n_embd, ple = model->hparams.n_ple;
    peft_dir *d = peft_dir_new();
    float *a = random_floats(RANK * n_vocab, &seed), *b = random_floats((all + width) * RANK, &seed);
    add_matrix(d, "base_model.model.model.embed_tokens.lora_embedding_A", a, RANK, n_vocab);
    add_matrix(d, "base_model.model.model.embed_tokens.lora_embedding_B", b, width, RANK);
    add_matrix(d, "base_model.model.model.embed_tokens_per_layer.lora_embedding_A", a, RANK, n_vocab);
    add_matrix(d, "base_model.model.model.embed_tokens_per_layer.lora_embedding_B", b, all, RANK);
    add_matrix(d, "base_model.model.model.per_layer_model_projection.lora_A.weight", b, RANK, width);
    add_matrix(d, "base_model.model.model.per_layer_model_projection.lora_B.weight", b, all, RANK);
    add_matrix(d, "base_model.model.model.layers.0.per_layer_input_gate.lora_A.weight", a, RANK, width);
    add_matrix(d, "base_model.model.model.layers.0.per_layer_input_gate.lora_B.weight", b, ple, RANK);
    add_matrix(d, "base_model.model.model.layers.0.per_layer_projection.lora_A.weight", a, RANK, ple);
    add_matrix(d, "base_model.model.model.layers.0.per_layer_projection.lora_B.weight", b, width, RANK);
    peft_dir_finish(d, plain_config);
    opened got = converted(d, base, NULL);
    const char *const names[] = {"token_embd.weight", "per_layer_token_embd.weight"};
    for (size_t k = 0; k < 2; k++) {
        char name[80];
        snprintf(name, sizeof name, "%s.lora_a", names[k]);
        const float *rows = floats_of(&got, name, (uint64_t[]){RANK, n_vocab, 1});
        for (size_t i = 0; i < n_vocab * RANK; i++) assert_true(rows[i] == a[i % RANK * n_vocab + i / RANK]);
        snprintf(name, sizeof name, "%s.lora_b", names[k]);
        const float *columns = floats_of(&got, name, (uint64_t[]){RANK, k ? all : width, 1});
        assert_memory_equal(columns, b, (k ? all : width) * RANK * sizeof *b);
    }
    close_gguf(&got);
    peft_dir_path(d, "out.gguf", path);
    assert_ok(facet_adapter_open(&adapter, model, path, &error), &error);
    facet_adapter_free(adapter);
    facet_model_free(model);
    free(a);
    free(b);
    peft_dir_free(d);
}

static void add_q(peft_dir *d, int layer, uint64_t rank, const float *a, const float *b) {
    char name[128];
    snprintf(name, sizeof name, "base_model.model.model.layers.%d.self_attn.q_proj.lora_A.weight", layer);
    add_matrix(d, name, a, rank, WIDTH);
    snprintf(name, sizeof name, "base_model.model.model.layers.%d.self_attn.q_proj.lora_B.weight", layer);
    add_matrix(d, name, b, layer % 2 ? 128 : 64, rank);
}

/* What facet makes of a pair: alpha / rank * B, and what PEFT does: its strength * B. */
static void check_strength(const opened *o, int layer, uint64_t rank, double strength, const float *b) {
    char name[64];
    uint64_t rows = layer % 2 ? 128 : 64;
    snprintf(name, sizeof name, "blk.%d.attn_q.weight.lora_b", layer);
    const float *have = floats_of(o, name, (uint64_t[]){rank, rows, 1});
    double scale = (double)alpha_of(o) / (double)rank;
    for (size_t i = 0; i < rank * rows; i++) {
        double want = strength * (double)b[i], got = scale * (double)have[i];
        if (fabs(want - got) > 1e-6 * fabs(want)) fail_msg("%s[%zu]: %g, not %g", name, i, got, want);
    }
}

static void strengths_are_those_of_the_config(void **state) {
    (void)state;
    uint64_t seed = 3;
    float *a = random_floats(16 * WIDTH, &seed), *b = random_floats(16 * 128, &seed);
    static const char patterns[] =
        "{\"peft_type\":\"LORA\",\"r\":8,\"lora_alpha\":4,\"rank_pattern\":{\"layers.1.self_attn.q_proj\":16},"
        "\"alpha_pattern\":{\"^model\\\\.layers\\\\.[0]\\\\..*q_proj\":10,\"layers.(1|7).self_attn.q_proj\":32,"
        "\"k_proj\":99,\"layers.\\\\d+.mlp.down_proj\":98}}";
    static const char stabilised[] = "{\"peft_type\":\"LORA\",\"r\":8,\"lora_alpha\":4,\"use_rslora\":true}";
    for (int rs = 0; rs < 2; rs++) {
        peft_dir *d = peft_dir_new();
        add_q(d, 0, 8, a, b);
        add_q(d, 1, 16, a, b);
        add_q(d, 2, 8, a, b);
        peft_dir_finish(d, rs ? stabilised : patterns);
        opened got = converted(d, MOE, NULL);
        check_strength(&got, 0, 8, rs ? 4 / sqrt(8) : 10.0 / 8, b);
        check_strength(&got, 1, 16, rs ? 4 / sqrt(16) : 32.0 / 16, b);
        check_strength(&got, 2, 8, rs ? 4 / sqrt(8) : 4.0 / 8, b);
        close_gguf(&got);
        got = converted(d, NULL, "q8_0");
        const gguf_tensor *t = gguf_tensor_find(got.file, "blk.0.attn_q.weight.lora_a");
        assert_string_equal(t->format->name, "Q8_0");
        t = gguf_tensor_find(got.file, "blk.0.attn_q.weight.lora_b"); /* rows of 8 */
        assert_string_equal(t->format->name, "F16");
        close_gguf(&got);
        peft_dir_free(d);
    }
    free(a);
    free(b);
}

/* ---- refusals */

static void expect_refusal(const char *name, const char *other, const char *config, uint64_t rank, const char *base,
                           const char *message) {
    facet_error error = {0};
    char out[128];
    float x[64 * 128] = {0};
    peft_dir *d = peft_dir_new();
    add_matrix(d, name, x, 8, WIDTH);
    if (other) add_matrix(d, other, x, 64, rank);
    peft_dir_finish(d, config);
    facet_status status = convert_dir(d, base, NULL, &error);
    if (status == FACET_OK || !strstr(error.message, message)) {
        fail_msg("%s: '%s' instead of '%s'", facet_status_name(status), error.message, message);
    }
    peft_dir_path(d, "out.gguf", out);
    assert_int_equal(access(out, F_OK), -1);
    peft_dir_free(d);
}

#define Q  "base_model.model.model.layers.0.self_attn.q_proj"
#define QA Q ".lora_A.weight"
#define QB Q ".lora_B.weight"

static void what_facet_cannot_use_is_named(void **state) {
    (void)state;
    static const char tower[] = "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight";
    expect_refusal(tower, "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_B.weight",
                   plain_config, 8, NULL, tower);
    expect_refusal(QA, NULL, plain_config, 8, NULL, QB);
    expect_refusal(QB, NULL, plain_config, 8, NULL, QA);
    expect_refusal(QA, QB, plain_config, 4, NULL, QB);
    expect_refusal(QA, QB, "{\"peft_type\":\"IA3\",\"lora_alpha\":1}", 8, NULL, "peft_type");
    expect_refusal(QA, QB, "{\"peft_type\":\"LORA\"}", 8, NULL, "lora_alpha");
    expect_refusal(QA, QB, "{\"peft_type\":\"LORA\",\"lora_alpha\":1,\"use_dora\":true}", 8, NULL, "use_dora");
    expect_refusal(QA, QB, "{\"peft_type\":\"LORA\",\"lora_alpha\":1,\"alora_invocation_tokens\":[1]}", 8, NULL,
                   "alora_invocation_tokens");
    expect_refusal(QA, QB, "{\"peft_type\":\"LORA\",\"lora_alpha\":1,\"modules_to_save\":[\"lm_head\"]}", 8, NULL,
                   "modules_to_save");
    expect_refusal(QA, QB, "{\"peft_type\":\"LORA\",\"lora_alpha\":1,\"bias\":\"all\"}", 8, NULL, "bias");
    expect_refusal(QA, QB, "{\"peft_type\":\"LORA\",\"lora_alpha\":1,\"alpha_pattern\":{\"(?=x)\":1}}", 8, NULL,
                   "alpha_pattern");
    expect_refusal("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", NULL, plain_config, 8,
                   NULL, "DoRA");
    expect_refusal("base_model.model.model.embed_tokens.weight", NULL, plain_config, 8, NULL, "embed_tokens.weight");
    expect_refusal("base_model.model.model.layers.0.input_layernorm.lora_A.weight",
                   "base_model.model.model.layers.0.input_layernorm.lora_B.weight", plain_config, 8, NULL,
                   "input_layernorm");
    expect_refusal("base_model.model.model.layers.77.self_attn.q_proj.lora_A.weight",
                   "base_model.model.model.layers.77.self_attn.q_proj.lora_B.weight", plain_config, 8, MOE,
                   "layers.77");
    expect_refusal("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight",
                   "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight", plain_config, 8, MOE,
                   "blk.1.attn_q.weight");
}

static void merging_refuses(void **state) {
    (void)state;
    peft_dir *d = peft_dir_new();
    facet_error error = {0};
    char out[128];
    peft_dir_path(d, "merged.gguf", out);
    assert_int_equal(merge_to(MOE, &(facet_merge){PIRATE, 1}, 1, NULL, out, &error), FACET_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "tiny-pirate-lora.gguf"));
    assert_int_equal(merge_to(TINY, &(facet_merge){TINY, 1}, 1, NULL, out, &error), FACET_ERROR_FORMAT);
    assert_int_equal(merge_to(TINY, &(facet_merge){PIRATE, NAN}, 1, NULL, out, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(access(out, F_OK), -1);
    peft_dir_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_demonstration_adapter_comes_back),
        cmocka_unit_test(a_merged_model_answers_like_the_adapter),
        cmocka_unit_test(what_is_merged_is_rounded_once),
        cmocka_unit_test(every_matrix_is_merged_by_the_definition),
        cmocka_unit_test(experts_of_both_versions),
        cmocka_unit_test(embeddings_are_turned),
        cmocka_unit_test(strengths_are_those_of_the_config),
        cmocka_unit_test(what_facet_cannot_use_is_named),
        cmocka_unit_test(merging_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
