/* Hugging Face folders to GGUF: the tensors of a model that transformers made and hf_gguf.py wrote, which came back
 * into a folder of bfloat16 shards by another program; and folders that lie. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/half.h"
#include "facet_tools.h"
#include "support.h"

static const char source[] = FACET_TEST_DATA "/hf/moe-keqv";
static const char *const files[] = {"config.json",
                                    "tokenizer.json",
                                    "generation_config.json",
                                    "model.safetensors.index.json",
                                    "model-00001-of-00002.safetensors",
                                    "model-00002-of-00002.safetensors"};
enum { N_FILES = sizeof files / sizeof files[0] };

static char folder[] = "/tmp/facet-convert-XXXXXX";
static char out[64];

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(out, sizeof out, "%s/out.gguf", folder);
    return 0;
}

static void path_of(char path[128], const char *name) { snprintf(path, 128, "%s/%s", folder, name); }

static int remove_folder(void **state) {
    (void)state;
    char path[128];
    for (size_t i = 0; i < N_FILES; i++) path_of(path, files[i]), unlink(path);
    path_of(path, "chat_template.jinja"), unlink(path);
    path_of(path, "model.safetensors"), unlink(path);
    unlink(out);
    return rmdir(folder);
}

static void put(const char *name, const char *data, size_t n) {
    char path[128];
    path_of(path, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static char *get(const char *name, size_t *n) {
    char path[128];
    snprintf(path, sizeof path, "hf/moe-keqv/%s", name);
    return test_read(path, n);
}

static void copy_folder(void) {
    for (size_t i = 0; i < N_FILES; i++) {
        size_t n;
        char *data = get(files[i], &n);
        put(files[i], data, n);
        free(data);
    }
}

static facet_convert_options options_of(const char *type) {
    facet_convert_options o;
    facet_convert_options_defaults(&o);
    o.type = type;
    o.threads = 2;
    return o;
}

typedef struct opened {
    golden golden;
    char *bytes;
    gguf_file *file;
} opened;

static opened open_out(void) {
    opened o = {0};
    facet_error error = {0};
    FILE *f = fopen(out, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    o.bytes = malloc(n);
    assert_int_equal(fread(o.bytes, 1, n, f), n);
    fclose(f);
    assert_ok(gguf_open(&o.file, &(gguf_part){(uint8_t *)o.bytes, n}, 1, &(gguf_options){0}, &error), &error);
    o.golden = golden_open("models/moe-keqv.gguf");
    return o;
}

static void close_out(opened *o) {
    gguf_free(o->file);
    free(o->bytes);
    golden_close(&o->golden);
}

/* Every value is the golden one as bfloat16 holds it; order, names and shapes are the same. */
static void tensors_are_the_golden_ones(void **state) {
    (void)state;
    facet_error error = {0};
    facet_convert_options o = options_of("f32");
    assert_ok(facet_convert(source, out, &o, &error), &error);
    opened got = open_out();
    assert_int_equal(gguf_n_tensors(got.file), gguf_n_tensors(got.golden.file));
    for (size_t i = 0; i < gguf_n_tensors(got.file); i++) {
        const gguf_tensor *a = gguf_tensor_at(got.file, i), *b = gguf_tensor_at(got.golden.file, i);
        assert_int_equal(a->name.n, b->name.n);
        assert_memory_equal(a->name.data, b->name.data, a->name.n);
        assert_int_equal(a->type_id, 0);
        assert_memory_equal(a->ne, b->ne, sizeof a->ne);
        const float *x = (const float *)(const void *)a->data, *y = (const float *)(const void *)b->data;
        bool made = a->name.n == 17 && !memcmp(a->name.data, "rope_freqs.weight", 17);
        for (uint64_t k = 0; k < a->n_bytes / 4; k++) {
            if (x[k] != (made ? y[k] : bf16_to_f32(f32_to_bf16(y[k])))) {
                fail_msg("%.*s, element %llu", (int)a->name.n, a->name.data, (unsigned long long)k);
            }
        }
    }
    close_out(&got);
}

/* The keys are those that hf_gguf.py wrote, types included, but for the name. */
static void keys_are_the_golden_ones(void **state) {
    (void)state;
    facet_error error = {0};
    facet_convert_options o = options_of(NULL);
    o.name = "golden moe-keqv";
    assert_ok(facet_convert(source, out, &o, &error), &error);
    opened got = open_out();
    assert_int_equal(gguf_n_kv(got.file), gguf_n_kv(got.golden.file));
    for (size_t i = 0; i < gguf_n_kv(got.golden.file); i++) {
        const gguf_kv *want = gguf_kv_at(got.golden.file, i);
        char key[128];
        snprintf(key, sizeof key, "%.*s", (int)want->key.n, want->key.data);
        const gguf_kv *kv = gguf_find(got.file, key);
        if (!kv) fail_msg("no key %s", key);
        if (kv->type != want->type || kv->element != want->element || kv->n_bytes != want->n_bytes ||
            memcmp(kv->data, want->data, kv->n_bytes) != 0) {
            fail_msg("key %s has another value", key);
        }
    }
    const gguf_tensor *matrix = gguf_tensor_find(got.file, "blk.0.ffn_up.weight");
    const gguf_tensor *router = gguf_tensor_find(got.file, "blk.0.ffn_gate_inp.weight");
    assert_string_equal(matrix->format->name, "BF16");
    assert_string_equal(router->format->name, "F32");
    close_out(&got);
    facet_model *model;
    assert_ok(facet_model_open(&model, out, NULL, &error), &error);
    facet_model_free(model);
}

static void recipes_apply_on_the_way(void **state) {
    (void)state;
    facet_error error = {0};
    static const char *const types[] = {"ffn_down=q4_0"};
    facet_convert_options o = options_of("q8_0");
    o.tensor_types = types;
    o.n_tensor_types = 1;
    assert_ok(facet_convert(source, out, &o, &error), &error);
    opened got = open_out();
    const gguf_tensor *t = gguf_tensor_find(got.file, "blk.1.attn_q.weight");
    const gguf_tensor *from = golden_tensor(&got.golden, "blk.1.attn_q.weight");
    size_t n = (size_t)(from->n_bytes / 4);
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = bf16_to_f32(f32_to_bf16(((const float *)(const void *)from->data)[i]));
    uint8_t *want = malloc(t->n_bytes);
    assert_string_equal(t->format->name, "Q8_0");
    t->format->quantise(x, want, n / 32);
    assert_memory_equal(want, t->data, t->n_bytes);
    assert_string_equal(gguf_tensor_find(got.file, "blk.1.ffn_down.weight")->format->name, "Q4_0");
    assert_string_equal(gguf_tensor_find(got.file, "blk.1.ffn_down_exps.weight")->format->name, "Q4_0");
    free(x);
    free(want);
    close_out(&got);
}

static void template_is_taken_along(void **state) {
    (void)state;
    facet_error error = {0};
    gguf_string text;
    facet_convert_options o = options_of(NULL);
    copy_folder();
    put("chat_template.jinja", "<|turn>x<turn|>", 15);
    assert_ok(facet_convert(folder, out, &o, &error), &error);
    opened got = open_out();
    assert_ok(gguf_get_string(got.file, "tokenizer.chat_template", &text, &error), &error);
    assert_int_equal(text.n, 15);
    assert_memory_equal(text.data, "<|turn>x<turn|>", 15);
    close_out(&got);
}

static void expect_failure(facet_status status, const char *text) {
    facet_error error = {0};
    facet_convert_options o = options_of(NULL);
    unlink(out);
    assert_int_equal(facet_convert(folder, out, &o, &error), status);
    if (!strstr(error.message, text)) fail_msg("'%s' lacks '%s'", error.message, text);
    assert_int_not_equal(access(out, F_OK), 0);
    copy_folder();
}

/* The file with the first `from` replaced by `to`. */
static void change(const char *name, const char *from, const char *to) {
    size_t n;
    char *data = get(name, &n), *at = strstr(data, from);
    assert_non_null(at);
    size_t before = (size_t)(at - data), after = n - before - strlen(from);
    char *made = malloc(n + strlen(to) + 1);
    memcpy(made, data, before);
    memcpy(made + before, to, strlen(to));
    memcpy(made + before + strlen(to), at + strlen(from), after);
    put(name, made, before + strlen(to) + after);
    free(made);
    free(data);
}

static void folders_that_lie(void **state) {
    (void)state;
    static const char config[] = "config.json", index[] = "model.safetensors.index.json", vocab[] = "tokenizer.json";
    copy_folder();
    change(config, "\"gemma4_text\"", "\"llama\"");
    expect_failure(FACET_ERROR_UNSUPPORTED, "llama");
    change(config, "\"num_hidden_layers\": 4", "\"num_hidden_layers\": 400000");
    expect_failure(FACET_ERROR_FORMAT, "num_hidden_layers");
    change(config, "\"num_hidden_layers\": 4", "\"num_hidden_layers\": -4");
    expect_failure(FACET_ERROR_FORMAT, "num_hidden_layers");
    change(config, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3");
    expect_failure(FACET_ERROR_FORMAT, "k_proj");
    change(config, "\"hidden_size\": 64", "\"hidden_sizes\": 64");
    expect_failure(FACET_ERROR_FORMAT, "hidden_size");
    change(config, "{", "[");
    expect_failure(FACET_ERROR_FORMAT, "JSON");
    change(vocab, "\"merges\"", "\"mergers\"");
    expect_failure(FACET_ERROR_FORMAT, "merges");
    change(config, "\"vocab_size\": 512", "\"vocab_size\": 100");
    expect_failure(FACET_ERROR_FORMAT, "vocab_size");
    change(index, "model-00001-of-00002.safetensors", "../model-00001-of-00002.safetensors");
    expect_failure(FACET_ERROR_FORMAT, "index");
    change(index, "model-00001-of-00002.safetensors", "model-00009-of-00002.safetensors");
    expect_failure(FACET_ERROR_IO, "00009");
    static const char one[] = "{\"weight_map\":{\"x\":\"model-00002-of-00002.safetensors\"}}";
    put(index, one, sizeof one - 1);
    expect_failure(FACET_ERROR_FORMAT, "embed_tokens");
    put("model-00002-of-00002.safetensors", "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10);
    expect_failure(FACET_ERROR_FORMAT, "00002");
    put("model-00002-of-00002.safetensors", "abc", 3);
    expect_failure(FACET_ERROR_TRUNCATED, "00002");
}

static void cut_shards(void **state) {
    (void)state;
    size_t n;
    copy_folder();
    char *data = get("model-00001-of-00002.safetensors", &n);
    for (size_t keep = 0; keep < n; keep += n / 23) {
        facet_error error = {0};
        facet_convert_options o = options_of(NULL);
        put("model-00001-of-00002.safetensors", data, keep);
        unlink(out);
        assert_int_not_equal(facet_convert(folder, out, &o, &error), FACET_OK);
        assert_non_null(strstr(error.message, "00001"));
        assert_int_not_equal(access(out, F_OK), 0);
    }
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_the_golden_ones),
        cmocka_unit_test(keys_are_the_golden_ones),
        cmocka_unit_test(recipes_apply_on_the_way),
        cmocka_unit_test(template_is_taken_along),
        cmocka_unit_test(folders_that_lie),
        cmocka_unit_test(cut_shards),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
