/* Adapters: the demonstration adapter against independent truth (the logits of the float32 model with the adapter
 * merged, and its greedy answers), adapters that come and go while sessions and threads use them, what is refused
 * when a file is opened, and the kernel against the reference. */
#include "lora_files.h"

#include <pthread.h>
#include <unistd.h>

#include <jansson.h>

#include "cpu/registry.h"
#include "engine/session.h"

#define MODELS FACET_SOURCE_DIR "/models/"
#define TINY   FACET_TEST_DATA "/tiny/"
#define PIRATE MODELS "tiny-pirate-lora.gguf"

static facet_model *model_open(const char *path) {
    facet_model *m;
    facet_error error;
    assert_ok(facet_model_open(&m, path, NULL, &error), &error);
    return m;
}

static facet_adapter *adapter_open(facet_model *m) {
    facet_adapter *a;
    facet_error error;
    assert_ok(facet_adapter_open(&a, m, PIRATE, &error), &error);
    return a;
}

static facet_engine *engine_open(facet_model *m, facet_kv_type kv) {
    facet_engine_options o;
    facet_engine *e;
    facet_error error;
    facet_engine_options_defaults(&o);
    o.kv_type = kv;
    o.n_threads = 2;
    o.max_context = 512;
    o.kv_bytes = 64 << 20;
    assert_ok(facet_engine_new(&e, m, &o, &error), &error);
    return e;
}

static facet_session *session_of(facet_engine *e) {
    facet_session *s;
    facet_error error;
    assert_ok(facet_session_new(&s, e, NULL, &error), &error);
    return s;
}

static void wear(facet_session *s, facet_adapter *a, float scale) {
    facet_error error;
    assert_ok(facet_session_set_adapters(s, &(facet_adapter_use){a, scale}, a ? 1 : 0, &error), &error);
}

/* ---- truth */

typedef struct comparison {
    const float *want; /* the last rows */
    size_t first, n;
    double worst, sum;
} comparison;

static bool compare_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    comparison *c = ctx;
    const float *want = c->want + (row - c->first) * n_vocab;
    double d = test_max_difference(want, logits, n_vocab);
    if (d > c->worst) c->worst = d;
    c->sum += test_kl(want, logits, n_vocab);
    c->n++;
    return true;
}

static comparison compare(const char *path, const char *truth, const char *which, facet_kv_type kv, bool adapted) {
    facet_error error;
    facet_model *m = model_open(path);
    facet_engine *e = engine_open(m, kv);
    facet_session *s = session_of(e);
    facet_adapter *a = adapter_open(m);
    golden g = golden_open(truth);
    size_t n, n_logits;
    const int32_t *ids = golden_data(&g, "ids", &n);
    comparison c = {.want = golden_data(&g, which, &n_logits), .first = n - 32};
    if (adapted) wear(s, a, 1);
    assert_ok(facet_session_score(s, ids, n, c.first, compare_row, &c, &error), &error);
    assert_int_equal(c.n, 32);
    print_message("%s, %s: largest difference %.2e, mean divergence %.2e\n", truth, which, c.worst, c.sum / 32);
    golden_close(&g);
    facet_adapter_free(a);
    facet_session_free(s);
    facet_engine_free(e);
    facet_model_free(m);
    return c;
}

static void test_golden(void **state) {
    (void)state;
    comparison c = compare(TINY "tiny-f32.gguf", "tiny/tiny-f32.golden.gguf", "logits.adapter", FACET_KV_F32, true);
    assert_true(c.worst <= 5e-4);
    c = compare(TINY "tiny-f32.gguf", "tiny/tiny-f32.golden.gguf", "logits.adapter", FACET_KV_F32, false);
    assert_true(c.worst > 1); /* without it the model is another */
    c = compare(MODELS "tiny-q8_0.gguf", "tiny/tiny-q8_0.golden.gguf", "logits.adapter", FACET_KV_F16, true);
    assert_true(c.sum / 32 <= 1e-3);
}

typedef struct answer {
    char text[2048];
    size_t n;
} answer;

static bool append(void *ctx, const facet_token *token) {
    answer *a = ctx;
    if (token->control) return true;
    assert_true(a->n + token->n_bytes < sizeof a->text);
    memcpy(a->text + a->n, token->text, token->n_bytes + 1);
    a->n += token->n_bytes;
    return true;
}

static answer ask(facet_session *s, const char *question) {
    facet_error error;
    facet_chat chat;
    facet_prompt *prompt;
    facet_generation g;
    answer a = {.text = ""};
    size_t n;
    facet_value *messages = facet_value_array(), *message = facet_value_object();
    facet_value_set(message, "role", 4, facet_value_string("user", 4));
    facet_value_set(message, "content", 7, facet_value_string(question, strlen(question)));
    facet_value_append(messages, message);
    facet_chat_defaults(&chat);
    facet_generation_defaults(&g);
    chat.messages = messages;
    g.sampling.temperature = 0;
    assert_ok(facet_chat_render(s->engine->model, &chat, &prompt, &error), &error);
    const int32_t *tokens = facet_prompt_tokens(prompt, &n);
    assert_ok(facet_session_sync(s, tokens, n, NULL, NULL, NULL, &error), &error);
    assert_ok(facet_session_generate(s, &g, append, &a, NULL, &error), &error);
    facet_prompt_free(prompt);
    facet_value_free(messages);
    return a;
}

/* One session that puts the adapter on and off between the questions. */
static void test_answers(void **state) {
    (void)state;
    facet_model *m = model_open(TINY "tiny-f32.gguf");
    facet_engine *e = engine_open(m, FACET_KV_F32);
    facet_session *s = session_of(e);
    facet_adapter *pirate = adapter_open(m);
    json_t *examples = json_load_file(MODELS "examples.json", 0, NULL), *example;
    size_t i;
    assert_true(json_array_size(examples) >= 9);
    json_array_foreach(examples, i, example) {
        const char *question = json_string_value(json_object_get(example, "question"));
        wear(s, pirate, 1);
        answer a = ask(s, question);
        assert_string_equal(a.text, json_string_value(json_object_get(example, "pirate")));
        wear(s, NULL, 0);
        a = ask(s, question);
        assert_string_equal(a.text, json_string_value(json_object_get(example, "answer")));
    }
    json_decref(examples);
    facet_adapter_free(pirate);
    facet_session_free(s);
    facet_engine_free(e);
    facet_model_free(m);
}

/* ---- life */

static const int32_t ids[] = {2, 17, 300, 41, 5, 900, 77, 12, 64, 8, 1000, 3};
enum { N_IDS = sizeof ids / sizeof ids[0] };

static void logits_of(facet_session *s, float *out) {
    facet_error error;
    assert_ok(facet_session_sync(s, ids, N_IDS, NULL, NULL, NULL, &error), &error);
    memcpy(out, facet_session_logits(s), s->engine->model->hparams.n_vocab * sizeof *out);
}

static void test_change(void **state) {
    (void)state;
    enum { N = 4096 };
    static float plain[N], full[N], half[N], got[N];
    facet_error error;
    facet_model *m = model_open(MODELS "tiny-q8_0.gguf");
    facet_engine *e = engine_open(m, FACET_KV_F16);
    facet_session *s = session_of(e);
    facet_adapter *a = adapter_open(m);
    assert_int_equal(m->hparams.n_vocab, N);
    logits_of(s, plain);
    wear(s, a, 1);
    assert_int_equal(facet_session_length(s), 0);
    assert_null(facet_session_logits(s));
    logits_of(s, full);
    assert_int_equal(facet_session_length(s), N_IDS);
    wear(s, a, 1); /* the same: nothing is lost */
    assert_int_equal(facet_session_length(s), N_IDS);
    assert_memory_equal(facet_session_logits(s), full, sizeof full);
    wear(s, a, 0.5f);
    assert_int_equal(facet_session_length(s), 0);
    logits_of(s, half);
    assert_true(test_max_difference(plain, full, N) > 0.1);
    assert_true(test_max_difference(half, full, N) > 0.1);
    assert_true(test_max_difference(half, plain, N) > 0.1);

    /* twice a half is a whole but for rounding; a failed change changes nothing */
    facet_adapter_use uses[] = {{a, 0.5f}, {a, 0.5f}, {NULL, 1}, {a, INFINITY}};
    assert_ok(facet_session_set_adapters(s, uses, 2, &error), &error);
    logits_of(s, got);
    assert_true(test_max_difference(got, full, N) < 1);
    assert_int_equal(facet_session_set_adapters(s, uses, 3, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(facet_session_set_adapters(s, uses + 3, 1, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(facet_session_set_adapters(s, uses, 65, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(facet_session_length(s), N_IDS);
    wear(s, NULL, 0);
    logits_of(s, got);
    assert_memory_equal(got, plain, sizeof plain);
    wear(s, a, 1);
    facet_adapter_free(a); /* the session still has it */
    facet_model_free(m);
    logits_of(s, got);
    assert_memory_equal(got, full, sizeof full);
    facet_engine_free(e);
    facet_session_free(s);
}

static void test_info(void **state) {
    (void)state;
    facet_error error;
    facet_adapter_info info = {.size = sizeof info};
    facet_model *m = model_open(MODELS "tiny-q8_0.gguf"), *other = model_open(TINY "tiny-f32.gguf");
    facet_engine *e = engine_open(other, FACET_KV_F16);
    facet_session *s = session_of(e);
    facet_adapter *a = adapter_open(m);
    assert_int_equal(facet_adapter_get_info(a, &info), FACET_OK);
    assert_string_equal(info.name, "facet tiny pirate adapter");
    assert_int_equal(info.rank, 8);
    assert_true(info.alpha == 16);
    assert_int_equal(info.n_tensors, 96);
    info.size = 3;
    assert_int_equal(facet_adapter_get_info(a, &info), FACET_ERROR_ARGUMENT);
    assert_int_equal(facet_session_set_adapters(s, &(facet_adapter_use){a, 1}, 1, &error), FACET_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "another model"));
    facet_adapter_free(a);
    facet_adapter_free(NULL);
    facet_session_free(s);
    facet_engine_free(e);
    facet_model_free(m);
    facet_model_free(other);
}

/* Sessions in threads of their own, which all change adapters all the time and share the engine's steps. */
typedef struct changer {
    facet_engine *engine;
    facet_adapter *adapter;
    const float *want[2]; /* without, with */
    int first;
    int wrong;
} changer;

static void *change_often(void *ctx) {
    changer *c = ctx;
    size_t n_vocab = c->engine->model->hparams.n_vocab;
    facet_session *s = NULL;
    if (facet_session_new(&s, c->engine, NULL, NULL) != FACET_OK) c->wrong++;
    for (int i = 0; s && i < 12; i++) {
        int on = (c->first + i / 2) % 2;
        facet_adapter_use use = {c->adapter, 1};
        c->wrong += facet_session_set_adapters(s, &use, (size_t)on, NULL) != FACET_OK;
        c->wrong += facet_session_sync(s, ids, N_IDS, NULL, NULL, NULL, NULL) != FACET_OK;
        const float *logits = facet_session_logits(s);
        c->wrong += !logits || memcmp(logits, c->want[on], n_vocab * sizeof *logits) != 0;
    }
    facet_session_free(s);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    static float plain[4096], full[4096];
    enum { N = 3 };
    facet_model *m = model_open(MODELS "tiny-q8_0.gguf");
    facet_engine *e = engine_open(m, FACET_KV_F16);
    facet_session *s = session_of(e);
    facet_adapter *a = adapter_open(m);
    logits_of(s, plain);
    wear(s, a, 1);
    logits_of(s, full);
    facet_session_free(s);
    pthread_t threads[N];
    changer c[N];
    for (int i = 0; i < N; i++) {
        c[i] = (changer){.engine = e, .adapter = a, .want = {plain, full}, .first = i};
        assert_int_equal(pthread_create(&threads[i], NULL, change_often, &c[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(c[i].wrong, 0);
    }
    facet_adapter_free(a);
    facet_engine_free(e);
    facet_model_free(m);
}

/* ---- files */

static int n_released;
static void count_release(void *ctx, const void *data, size_t n) {
    (void)ctx, (void)data, (void)n;
    n_released++;
}

/* From memory of any alignment; released once, with the last user. */
static void test_memory(void **state) {
    (void)state;
    static float want[4096], got[4096];
    facet_error error;
    size_t n;
    char *bytes = test_read(PIRATE, &n), *moved = malloc(n + 1);
    facet_model *m = model_open(MODELS "tiny-q8_0.gguf");
    facet_engine *e = engine_open(m, FACET_KV_F16);
    facet_session *s = session_of(e);
    facet_adapter *a = adapter_open(m);
    wear(s, a, 1);
    logits_of(s, want);
    facet_adapter_free(a);
    memcpy(moved + 1, bytes, n);
    n_released = 0;
    assert_ok(facet_adapter_open_memory(&a, m, moved + 1, n, count_release, NULL, &error), &error);
    wear(s, a, 1);
    facet_adapter_free(a);
    logits_of(s, got);
    assert_memory_equal(want, got, sizeof want);
    assert_int_equal(n_released, 0);
    wear(s, NULL, 0);
    assert_int_equal(n_released, 1);
    assert_int_not_equal(facet_adapter_open_memory(&a, m, bytes, n / 2, count_release, NULL, &error), FACET_OK);
    assert_null(a);
    assert_int_equal(n_released, 2);
    facet_session_free(s);
    facet_engine_free(e);
    facet_model_free(m);
    free(bytes);
    free(moved);
}

/* A file as it should be, but for what is given. */
typedef struct bad_file {
    facet_status status;
    const char *message; /* a part of it */
    const char *type, *architecture, *adapter_type;
    bool no_alpha, alora, nothing, no_a, no_b;
    float alpha;
    const char *name_a, *name_b;
    uint64_t a[3], b[3];
    uint32_t type_id; /* of A */
} bad_file;

#define Q "blk.1.attn_q.weight.lora_"
static const bad_file bad_files[] = {
    {FACET_ERROR_UNSUPPORTED, "type 'model'", .type = "model"},
    {FACET_ERROR_UNSUPPORTED, "'gemma3'", .architecture = "gemma3"},
    {FACET_ERROR_UNSUPPORTED, "'control_vector'", .adapter_type = "control_vector"},
    {FACET_ERROR_UNSUPPORTED, "aLoRA", .alora = true},
    {FACET_ERROR_FORMAT, "adapter.lora.alpha", .no_alpha = true},
    {FACET_ERROR_FORMAT, "adapter.lora.alpha", .alpha = NAN},
    {FACET_ERROR_FORMAT, "no tensors", .nothing = true},
    {FACET_ERROR_FORMAT, "'" Q "b' is missing", .no_b = true},
    {FACET_ERROR_FORMAT, "'" Q "a' is missing", .no_a = true},
    {FACET_ERROR_FORMAT, "model lacks", .name_a = "blk.99.attn_q.weight.lora_a"},
    {FACET_ERROR_FORMAT, "model lacks", .name_a = "blk.0.attn_norm.weight.lora_a"},
    {FACET_ERROR_FORMAT, "model lacks", .name_a = "output.weight.lora_a"},
    {FACET_ERROR_UNSUPPORTED, "neither .lora_a nor .lora_b", .name_a = ".lora_a"},
    {FACET_ERROR_UNSUPPORTED, "neither .lora_a nor .lora_b", .name_a = "blk.0.attn_q.weight"},
    {FACET_ERROR_UNSUPPORTED, "neither .lora_a nor .lora_b", .name_a = "x"},
    {FACET_ERROR_FORMAT, "has the shape [4, 255], expected [4, 256]", .a = {255, 4, 1}},
    {FACET_ERROR_FORMAT, "has the shape [256, 5], expected [256, 4]", .b = {5, 256, 1}},
    {FACET_ERROR_FORMAT, "has the shape [2, 4, 256], expected [4, 256]", .a = {256, 4, 2}},
    {FACET_ERROR_UNSUPPORTED, "rank 1025", .a = {256, 1025, 1}, .b = {1025, 256, 1}},
    {FACET_ERROR_UNSUPPORTED, "cannot read", .type_id = 26},
};

static void add_pair(gguf_writer *w, const bad_file *f, bool data, facet_error *error) {
    const char *names[2] = {f->name_a ? f->name_a : Q "a", f->name_b ? f->name_b : Q "b"};
    static const uint64_t fine[2][3] = {{256, 4, 1}, {4, 256, 1}};
    for (int i = 0; i < 2; i++) {
        const uint64_t *given = i ? f->b : f->a, *ne = given[0] ? given : fine[i];
        size_t n = (size_t)(ne[0] * ne[1] * ne[2]) * sizeof(float);
        uint32_t type = i == 0 ? f->type_id : 0;
        if ((i ? f->no_b : f->no_a) || f->nothing) continue;
        if (data) {
            float *zeros = calloc(1, n);
            assert_ok(gguf_writer_data(w, zeros, n, error), error);
            free(zeros);
        } else
            gguf_add_tensor(w, (gguf_string){names[i], strlen(names[i])}, type, 3, ne, n);
    }
}

static void add_text(gguf_writer *w, const char *key, const char *text) {
    gguf_add_string(w, key, text, strlen(text));
}

static buffer bad_image(const bad_file *f) {
    gguf_writer *w;
    facet_error error;
    buffer b = {0};
    assert_ok(gguf_writer_new(&w, 0, &error), &error);
    add_text(w, "general.type", f->type ? f->type : "adapter");
    add_text(w, "general.architecture", f->architecture ? f->architecture : "gemma4");
    add_text(w, "adapter.type", f->adapter_type ? f->adapter_type : "lora");
    if (!f->no_alpha) gguf_add_f32(w, "adapter.lora.alpha", f->alpha);
    if (f->alora) gguf_add_array(w, "adapter.alora.invocation_tokens", GGUF_U32, (uint32_t[]){1, 2}, 2);
    add_pair(w, f, false, &error);
    assert_ok(gguf_writer_begin(w, lora_to_buffer, &b, &error), &error);
    add_pair(w, f, true, &error);
    assert_ok(gguf_writer_end(w, &error), &error);
    gguf_writer_free(w);
    return b;
}

static void test_refused(void **state) {
    (void)state;
    facet_error error;
    facet_adapter *a;
    facet_model *m = model_open(MODELS "tiny-q8_0.gguf");
    bad_file good = {.status = FACET_OK, .message = ""};
    buffer b = bad_image(&good);
    assert_ok(facet_adapter_open_memory(&a, m, b.data, b.n, NULL, NULL, &error), &error);
    facet_adapter_free(a);
    buffer_free(&b);
    for (size_t i = 0; i < sizeof bad_files / sizeof bad_files[0]; i++) {
        const bad_file *f = &bad_files[i];
        b = bad_image(f);
        facet_status status = facet_adapter_open_memory(&a, m, b.data, b.n, NULL, NULL, &error);
        if (status != f->status || !strstr(error.message, f->message) || a)
            fail_msg("file %zu: %s: '%s', expected '%s'", i, facet_status_name(status), error.message, f->message);
        buffer_free(&b);
    }
    assert_int_equal(facet_adapter_open(&a, m, MODELS "none.gguf", &error), FACET_ERROR_IO);
    assert_int_equal(facet_adapter_open(&a, m, MODELS "tiny-q8_0.gguf", &error), FACET_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "tiny-q8_0.gguf: "));
    assert_null(a);
    facet_model_free(m);
}

/* A layer that shares its KV has no use for keys and values: their pairs are checked, and do nothing. */
static void test_unused(void **state) {
    (void)state;
    facet_error error;
    facet_adapter *a;
    facet_model *m = model_open(MODELS "tiny-q8_0.gguf");
    char names[2][64];
    uint32_t last = m->hparams.n_layer - 1;
    assert_false(m->hparams.layers[last].owns_kv);
    for (int i = 0; i < 2; i++) snprintf(names[i], sizeof names[i], "blk.%u.attn_k.weight.lora_%c", last, "ab"[i]);
    uint64_t width = (uint64_t)m->hparams.layers[last].n_head_kv * m->hparams.layers[last].head_dim;
    bad_file f = {.status = FACET_OK, .message = "", .b = {4, width, 1}};
    f.name_a = names[0];
    f.name_b = names[1];
    buffer b = bad_image(&f);
    assert_ok(facet_adapter_open_memory(&a, m, b.data, b.n, NULL, NULL, &error), &error);
    facet_adapter_free(a);
    buffer_free(&b);
    f.b[1]++;
    b = bad_image(&f);
    assert_int_equal(facet_adapter_open_memory(&a, m, b.data, b.n, NULL, NULL, &error), FACET_ERROR_FORMAT);
    buffer_free(&b);
    facet_model_free(m);
}

/* ---- the kernel */

static void check_lora_add(const cpu_table *reference, const cpu_table *cpu, quant_type type, size_t rank,
                           size_t n_rows, size_t n_tokens) {
    const quant_format *q = quant_format_of(type);
    uint64_t state = 1 + rank * 100 + n_rows;
    lora_file *f = calloc(1, sizeof *f);
    const lora_tensor *b = lora_file_add(f, "b", type, rank, n_rows + 1, 1, 2.0f, &state);
    size_t ldy = n_rows + 3;
    float *t = malloc(n_tokens * rank * sizeof *t), *want = malloc(n_tokens * ldy * sizeof *want);
    float *got = malloc(n_tokens * ldy * sizeof *got);
    for (size_t i = 0; i < n_tokens * rank; i++) t[i] = lora_uniform(&state);
    for (size_t i = 0; i < n_tokens * ldy; i++) want[i] = got[i] = lora_uniform(&state);
    matrix m = {
        .data = b->data, .format = q, .n_rows = n_rows + 1, .n_cols = rank, .row_bytes = rank * q->block_bytes};
    cpu_lora_add(reference, &m, 1, n_rows, t, n_tokens, 0.7f, want, ldy);
    cpu_lora_add(cpu, &m, 1, n_rows, t, n_tokens, 0.7f, got, ldy);
    if (memcmp(want, got, n_tokens * ldy * sizeof *got) != 0)
        fail_msg("%s, rank %zu, %zu rows, %zu tokens: other bits than the reference", q->name, rank, n_rows,
                 n_tokens);
    free(t);
    free(want);
    free(got);
    lora_file_free(f);
}

static void test_kernel(void **state) {
    (void)state;
    static const quant_type types[] = {QUANT_F32, QUANT_F16, QUANT_BF16};
    static const size_t ranks[] = {1, 2, 7, 8, 9, 16, 17, 64, 255, 256, 300}, rows[] = {1, 15, 16, 17, 48, 77};
    cpu_table reference, *cpu;
    cpu_table_reference(&reference);
    assert_int_equal(cpu_table_new(&cpu, FACET_CPU_ALL, NULL, NULL), FACET_OK);
    for (int k = 0; k < 3; k++) {
        for (size_t i = 0; i < sizeof ranks / sizeof ranks[0]; i++) {
            for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
                check_lora_add(&reference, cpu, types[k], ranks[i], rows[r], 1);
                check_lora_add(&reference, cpu, types[k], ranks[i], rows[r], 11);
            }
        }
    }
    cpu_table_free(cpu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),  cmocka_unit_test(test_answers), cmocka_unit_test(test_change),
        cmocka_unit_test(test_info),    cmocka_unit_test(test_threads), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_unused),  cmocka_unit_test(test_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
