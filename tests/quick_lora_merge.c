/* Adapters on every kind of matrix, against the definition: the same pairs merged into the weights of a copy of the
 * model, whose logits must be those of the model with the adapter, but for the rounding of floats. And what the
 * numeric contract promises: the same bits for any ubatch, number of threads, instruction set and company. */
#include "lora_files.h"

#include "engine/session.h"

/* "apart": moe-keqv with tensors of their own for the experts' gate and up, and for the head */
static const char *const kinds[] = {"ple-shared", "ple-gqa", "dense-keqv", "moe-keqv", "apart"};
enum { N_KINDS = sizeof kinds / sizeof kinds[0], N_IDS = 40 };

typedef struct setup {
    int32_t threads, ubatch;
    uint32_t features;
} setup;
static const setup plain_setup = {.threads = 2, .ubatch = 64, .features = FACET_CPU_ALL};

static facet_model *model_open(const char *kind) {
    char path[512];
    facet_model *m;
    facet_error error;
    bool apart = !strcmp(kind, "apart");
    snprintf(path, sizeof path, FACET_TEST_DATA "/models/%s.gguf", apart ? "moe-keqv" : kind);
    assert_ok(facet_model_open(&m, path, NULL, &error), &error);
    if (!apart) return m;
    facet_model *changed = lora_merged_model(m, true, NULL, NULL, 0);
    facet_model_free(m);
    return changed;
}

static void make_ids(const facet_model *m, int32_t ids[N_IDS]) {
    uint64_t state = 77;
    for (int i = 0; i < N_IDS; i++) ids[i] = (int32_t)(lora_random(&state) % m->hparams.n_vocab);
}

static facet_engine *engine_open(facet_model *m, const setup *s) {
    facet_engine_options o;
    facet_engine *e;
    facet_error error;
    facet_engine_options_defaults(&o);
    o.n_threads = s->threads;
    o.ubatch = s->ubatch;
    o.cpu_features = s->features;
    o.kv_type = FACET_KV_F32;
    o.max_context = 128;
    o.kv_bytes = 1 << 24; /* for several sessions */
    assert_ok(facet_engine_new(&e, m, &o, &error), &error);
    return e;
}

static facet_session *session_open(facet_engine *e, const facet_adapter_use *uses, size_t n) {
    facet_session *s;
    facet_error error;
    assert_ok(facet_session_new(&s, e, NULL, &error), &error);
    assert_ok(facet_session_set_adapters(s, uses, n, &error), &error);
    return s;
}

static bool take_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    memcpy((float *)ctx + row * n_vocab, logits, n_vocab * sizeof *logits);
    return true;
}

/* All logits of the test's tokens. */
static float *score(facet_model *m, const setup *s, const facet_adapter_use *uses, size_t n) {
    int32_t ids[N_IDS];
    facet_error error;
    float *logits = malloc(N_IDS * m->hparams.n_vocab * sizeof *logits);
    make_ids(m, ids);
    facet_engine *e = engine_open(m, s);
    facet_session *session = session_open(e, uses, n);
    assert_ok(facet_session_score(session, ids, N_IDS, 0, take_row, logits, &error), &error);
    facet_session_free(session);
    facet_engine_free(e);
    return logits;
}

/* ---- against merged weights */

/* True where the model has such matrices. */
static bool check_merged(facet_model *m, const char *part, const char *what) {
    lora_file *f = lora_file_new(m, part, 0, true, 5);
    double scale = 0.75;
    size_t n = N_IDS * m->hparams.n_vocab;
    if (f->n == 0) {
        lora_file_free(f);
        return false;
    }
    facet_adapter *a = lora_file_open(f, m);
    facet_model *merged = lora_merged_model(m, false, (const lora_file *const[]){f}, &scale, 1);
    float *before = score(m, &plain_setup, NULL, 0), *want = score(merged, &plain_setup, NULL, 0);
    float *got = score(m, &plain_setup, &(facet_adapter_use){a, (float)scale}, 1);
    double effect = test_max_difference(want, before, n), wrong = test_max_difference(want, got, n);
    if (!(effect > 0.05)) fail_msg("%s, %s: the adapter changes the logits by %g only", what, part, effect);
    if (!(wrong < 1e-3) || !(wrong < effect / 50))
        fail_msg("%s, %s: %g from the merged model, effect %g", what, part, wrong, effect);
    free(before);
    free(want);
    free(got);
    facet_adapter_free(a);
    facet_model_free(merged);
    lora_file_free(f);
    return true;
}

static void test_targets(void **state) {
    (void)state;
    static const char *const parts[] = {
        "token_embd.weight",
        "output.weight",
        "per_layer_model_proj",
        "per_layer_token_embd",
        "attn_q.",
        "attn_k.",
        "attn_v.",
        "attn_output",
        "ffn_gate.",
        "ffn_up.",
        "ffn_down.",
        "inp_gate",
        ".proj.",
        "ffn_gate_inp",
        "ffn_gate_up_exps",
        "ffn_gate_exps",
        "ffn_up_exps",
        "ffn_down_exps",
        "weight",
    };
    size_t n_checked = 0;
    for (int k = 0; k < N_KINDS; k++) {
        facet_model *m = model_open(kinds[k]);
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) n_checked += check_merged(m, parts[i], kinds[k]);
        facet_model_free(m);
    }
    assert_int_equal(n_checked, 65); /* all that these models have */
}

/* Two adapters with scales add up. */
static void test_sum(void **state) {
    (void)state;
    facet_model *m = model_open("ple-gqa");
    lora_file *f[2] = {lora_file_new(m, "attn", 7, true, 1), lora_file_new(m, "weight", 3, true, 2)};
    double scales[2] = {0.5, -0.25};
    facet_model *merged = lora_merged_model(m, false, (const lora_file *const *)f, scales, 2);
    facet_adapter *a[2] = {lora_file_open(f[0], m), lora_file_open(f[1], m)};
    facet_adapter_use uses[] = {{a[0], 0.5f}, {a[1], -0.25f}};
    float *want = score(merged, &plain_setup, NULL, 0), *got = score(m, &plain_setup, uses, 2);
    assert_true(test_max_difference(want, got, N_IDS * m->hparams.n_vocab) < 1e-3);
    free(want);
    free(got);
    for (int i = 0; i < 2; i++) {
        facet_adapter_free(a[i]);
        lora_file_free(f[i]);
    }
    facet_model_free(merged);
    facet_model_free(m);
}

/* ---- the same bits */

static void test_same_bits(void **state) {
    (void)state;
    static const setup setups[] = {
        {1, 64, FACET_CPU_REFERENCE},
        {1, 64, FACET_CPU_ALL},
        {2, 1, FACET_CPU_ALL},
        {3, 7, FACET_CPU_ALL},
        {2, 13, 0},
        {3, 3, FACET_CPU_AVX2},
    };
    for (int k = 0; k < N_KINDS; k++) {
        facet_model *m = model_open(kinds[k]);
        lora_file *f[2] = {lora_file_new(m, "weight", 0, true, 3), lora_file_new(m, "weight", 8, false, 4)};
        facet_adapter *a[2] = {lora_file_open(f[0], m), lora_file_open(f[1], m)};
        facet_adapter_use uses[] = {{a[0], 0.5f}, {a[1], 0.3f}};
        size_t bytes = N_IDS * m->hparams.n_vocab * sizeof(float);
        float *want = NULL;
        for (size_t i = 0; i < sizeof setups / sizeof setups[0]; i++) {
            float *got = score(m, &setups[i], uses, 2);
            if (!want) {
                want = got;
                continue;
            }
            if (memcmp(want, got, bytes) != 0) fail_msg("%s: setup %zu gives other bits", kinds[k], i);
            free(got);
        }
        free(want);
        for (int i = 0; i < 2; i++) {
            facet_adapter_free(a[i]);
            lora_file_free(f[i]);
        }
        facet_model_free(m);
    }
}

/* Sequences with other adapters, or none, in one batch: each gets the bits that it gets alone. */
enum { N_SESSIONS = 5 };
static void mixed_batch(facet_model *m, const facet_adapter_use *uses[N_SESSIONS], const size_t n_uses[N_SESSIONS],
                        const char *what) {
    static const size_t first[N_SESSIONS] = {11, 0, 20, 5, 12}, n_new[N_SESSIONS] = {1, 9, 1, 6, 3};
    static const setup batch_setup = {.threads = 2, .ubatch = 32, .features = FACET_CPU_ALL};
    size_t n_vocab = m->hparams.n_vocab, n_hidden, n_total = 0;
    int32_t ids[N_IDS];
    facet_error error;
    facet_engine *e = engine_open(m, &batch_setup);
    facet_session *s[N_SESSIONS];
    forward_segment segments[N_SESSIONS];
    const float *hidden;
    make_ids(m, ids);
    for (int i = 0; i < N_SESSIONS; i++) {
        s[i] = session_open(e, uses[i], n_uses[i]);
        if (first[i]) assert_ok(facet_session_sync(s[i], ids + i, first[i], NULL, NULL, NULL, &error), &error);
        assert_ok(kv_sequence_extend(s[i]->kv, n_new[i], &error), &error);
        segments[i] = (forward_segment){.kv = s[i]->kv,
                                        .tokens = ids + i + first[i],
                                        .n = n_new[i],
                                        .position = first[i],
                                        .wanted_from = i == 3 ? 4 : 0,
                                        .adapters = s[i]->adapters ? &s[i]->adapters->lora : NULL};
        n_total += n_new[i] - segments[i].wanted_from;
    }
    forward_step(e->forward, segments, N_SESSIONS, &hidden, &n_hidden);
    assert_int_equal(n_hidden, n_total);
    float *logits = malloc(n_hidden * n_vocab * sizeof *logits), *got = logits;
    for (size_t i = 0; i < n_hidden; i += 16) {
        size_t n = n_hidden - i < 16 ? n_hidden - i : 16;
        forward_head(e->forward, hidden + i * m->hparams.n_embd, n, logits + i * n_vocab);
    }
    for (int i = 0; i < N_SESSIONS; i++) {
        facet_engine *other = engine_open(m, &plain_setup);
        facet_session *alone = session_open(other, uses[i], n_uses[i]);
        float *rows = malloc(N_IDS * n_vocab * sizeof *rows);
        size_t n = first[i] + n_new[i], from = first[i] + segments[i].wanted_from;
        assert_ok(facet_session_score(alone, ids + i, n, 0, take_row, rows, &error), &error);
        if (memcmp(rows + from * n_vocab, got, (n - from) * n_vocab * sizeof *rows) != 0)
            fail_msg("%s: sequence %d gets other bits in a batch", what, i);
        got += (n - from) * n_vocab;
        free(rows);
        facet_session_free(alone);
        facet_engine_free(other);
    }
    free(logits);
    for (int i = 0; i < N_SESSIONS; i++) facet_session_free(s[i]);
    facet_engine_free(e);
}

static void test_mixed_batch(void **state) {
    (void)state;
    for (int k = 0; k < N_KINDS; k++) {
        facet_model *m = model_open(kinds[k]);
        lora_file *f[2] = {lora_file_new(m, "weight", 0, true, 8), lora_file_new(m, "ffn", 16, false, 9)};
        facet_adapter *a[2] = {lora_file_open(f[0], m), lora_file_open(f[1], m)};
        facet_adapter_use one = {a[0], 1}, two = {a[1], 0.5f}, both[] = {{a[1], 0.25f}, {a[0], 0.5f}};
        mixed_batch(m, (const facet_adapter_use *[]){&one, NULL, &two, both, &one}, (size_t[]){1, 0, 1, 2, 1},
                    kinds[k]);
        for (int i = 0; i < 2; i++) {
            facet_adapter_free(a[i]);
            lora_file_free(f[i]);
        }
        facet_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_sum),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_mixed_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
