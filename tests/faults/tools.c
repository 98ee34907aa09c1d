/* The fault sweep of what writes weights: each tool runs again and again while another request for memory, a mapping,
 * a file or a thread fails. The tool then tells it, or the file that it made is the one of a run without faults;
 * nothing is left behind. faults_tools quick   every early request, then some of the rest faults_tools full    every
 * request */
#include "inject.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facet_tools.h"

#define MOE FACET_TEST_DATA "/models/moe-keqv.gguf"

static bool every_request;
static char folder[] = "/tmp/facet-faults-XXXXXX";
static char out[64], importance[64], adapter[64], peft[64], tensors[64];

typedef facet_status (*tool_fn)(facet_error *error);

static facet_status quantise(facet_error *error) {
    const facet_merge merge = {adapter, 0.5f};
    static const char *const types[] = {"attn=q8_0"};
    facet_quantize_options o;
    facet_quantize_options_defaults(&o);
    o.type = "q4_k_m";
    o.tensor_types = types;
    o.n_tensor_types = 1;
    o.importance = importance;
    o.merges = &merge;
    o.n_merges = 1;
    o.threads = 2;
    return facet_quantize(MOE, out, &o, NULL, error);
}

static facet_status convert(facet_error *error) {
    facet_convert_options o;
    facet_convert_options_defaults(&o);
    o.threads = 2;
    return facet_convert(FACET_TEST_DATA "/hf/moe-keqv", out, &o, error);
}

static facet_status convert_back(facet_error *error) {
    facet_to_safetensors_options o;
    facet_to_safetensors_options_defaults(&o);
    o.threads = 1;
    return facet_to_safetensors(MOE, tensors, &o, NULL, error);
}

static facet_status convert_adapter(facet_error *error) {
    facet_adapter_convert_options o;
    facet_adapter_convert_options_defaults(&o);
    o.base = MOE;
    o.threads = 2;
    return facet_adapter_convert(peft, out, &o, NULL, error);
}

static facet_status collect_with(facet_engine *engine, facet_session *session, facet_error *error) {
    static const int32_t tokens[] = {2, 77, 300, 4, 5, 411};
    facet_importance *im;
    FACET_TRY(facet_importance_new(&im, engine, error));
    facet_status status = facet_importance_add(im, session, tokens, 6, error);
    if (status == FACET_OK) status = facet_importance_write(im, out, "text", error);
    facet_importance_free(im);
    return status;
}

static facet_status collect(facet_error *error) {
    facet_model *model = NULL;
    facet_engine *engine = NULL;
    facet_session *session = NULL;
    facet_engine_options o;
    facet_engine_options_defaults(&o);
    o.n_threads = 2;
    o.max_context = 64;
    facet_status status = facet_model_open(&model, MOE, NULL, error);
    if (status == FACET_OK) status = facet_engine_new(&engine, model, &o, error);
    if (status == FACET_OK) status = facet_session_new(&session, engine, NULL, error);
    if (status == FACET_OK) status = collect_with(engine, session, error);
    facet_session_free(session);
    facet_engine_free(engine);
    facet_model_free(model);
    return status;
}

/* ---- what they read */

static void write_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n + 1);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

/* Two pairs of rank 2: attn_q of layer 0 and the experts' down_proj of layer 1. */
static void make_adapter(void) {
    static const char config[] = "{\"peft_type\":\"LORA\",\"lora_alpha\":4,\"alpha_pattern\":{\"q_proj\":3}}";
    static const char header[] =
        "{\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[2,64],"
        "\"data_offsets\":[0,512]},"
        "\"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[64,2],"
        "\"data_offsets\":[0,512]},"
        "\"base_model.model.model.layers.1.experts.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[16,32],"
        "\"data_offsets\":[0,2048]},"
        "\"base_model.model.model.layers.1.experts.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[64,16],"
        "\"data_offsets\":[0,4096]}}";
    char bytes[sizeof header + 8 + 4096] = {0}, path[96];
    uint64_t length = sizeof header - 1;
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, sizeof header - 1);
    for (size_t i = 0; i < 1024; i++) {
        float x = (float)(i % 7) * 0.01f;
        memcpy(bytes + 8 + length + 4 * i, &x, 4);
    }
    snprintf(path, sizeof path, "%s/adapter_config.json", peft), write_file(path, config, sizeof config - 1);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", peft);
    write_file(path, bytes, 8 + (size_t)length + 4096);
}

static void keep(const char *from, const char *to) { assert_int_equal(rename(from, to), 0); }

static int make_files(void **state) {
    (void)state;
    facet_error error = {0};
    if (!mkdtemp(folder)) return 1;
    snprintf(out, sizeof out, "%s/out", folder);
    snprintf(importance, sizeof importance, "%s/importance", folder);
    snprintf(adapter, sizeof adapter, "%s/adapter", folder);
    snprintf(peft, sizeof peft, "%s/peft", folder);
    snprintf(tensors, sizeof tensors, "%s/tensors", folder);
    char command[96];
    snprintf(command, sizeof command, "mkdir '%s'", peft);
    assert_int_equal(system(command), 0);
    make_adapter();
    assert_ok(convert_adapter(&error), &error);
    keep(out, adapter);
    assert_ok(collect(&error), &error);
    keep(out, importance);
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* ---- the sweep */

static bool tells(facet_status status, inject_kind kind) {
    switch (kind) {
    case INJECT_MEMORY:
    case INJECT_THREAD: return status == FACET_ERROR_MEMORY;
    case INJECT_MAP: return status == FACET_ERROR_MEMORY || status == FACET_ERROR_IO;
    case INJECT_FILE: return status == FACET_ERROR_IO;
    case INJECT_NONE: return false;
    }
    return false;
}

static inject_kind check(tool_fn tool, const char *file, const char *want, size_t n_want, long k) {
    facet_error error = {0};
    unlink(file);
    inject_held before = inject_balance();
    inject_arm(k);
    facet_status status = tool(&error);
    inject_kind kind = inject_disarm();
    inject_held after = inject_balance();
    if (memcmp(&before, &after, sizeof before))
        fail_msg("request %ld (kind %d) failed with %s and left %ld blocks, %ld maps, %ld files, %ld threads", k,
                 kind, facet_status_name(status), after.blocks - before.blocks, after.maps - before.maps,
                 after.files - before.files, after.threads - before.threads);
    size_t n = 0;
    char *got = read_file(file, &n);
    if (status == FACET_OK) {
        if (!got || n != n_want || memcmp(got, want, n) != 0)
            fail_msg("request %ld (kind %d): another file", k, kind);
    } else if (!tells(status, kind) || !error.message[0] || got) {
        fail_msg("request %ld (kind %d) failed: status %s, message \"%s\", %s", k, kind, facet_status_name(status),
                 error.message, got ? "a file" : "no file");
    }
    free(got);
    return kind;
}

static void sweep(tool_fn tool, const char *file) {
    facet_error error = {0};
    size_t n = 0;
    assert_ok(tool(&error), &error);
    char *want = read_file(file, &n);
    assert_non_null(want);
    long k = 1, n_checked = 0;
    while (check(tool, file, want, n, k) != INJECT_NONE) {
        k += every_request || k < 32 ? 1 : 1 + k / 8;
        n_checked++;
    }
    print_message("%ld faults\n", n_checked);
    assert_true(n_checked > 10);
    free(want);
}

static void quantising(void **state) {
    (void)state;
    sweep(quantise, out);
}
static void converting(void **state) {
    (void)state;
    sweep(convert, out);
}
static void converting_back(void **state) {
    (void)state;
    char file[96];
    snprintf(file, sizeof file, "%s/model.safetensors", tensors);
    sweep(convert_back, file);
}
static void converting_adapters(void **state) {
    (void)state;
    sweep(convert_adapter, out);
}
static void collecting(void **state) {
    (void)state;
    sweep(collect, out);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantising),          cmocka_unit_test(converting), cmocka_unit_test(converting_back),
        cmocka_unit_test(converting_adapters), cmocka_unit_test(collecting),
    };
    every_request = argc > 1 && !strcmp(argv[1], "full");
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
