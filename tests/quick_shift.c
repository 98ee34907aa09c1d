/* Context shift. Keys that were moved are compared with keys computed at their new positions (first layer, where keys
 * depend on the token alone) and, in all layers, with a rotation in double precision of what was stored before;
 * values must be the same bits. Then what a session does with it: bits, privacy, generation beyond the context. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/session.h"
#include "model/pass.h"
#include "support.h"

#define TINY FACET_SOURCE_DIR "/models/tiny-q8_0.gguf"

enum { CONTEXT = 512, LENGTH = 480, MAX_DIM = 512 };
static const char *const models[] = {"ple-shared", "ple-gqa", "dense-keqv", "moe-keqv"};
enum { N_MODELS = sizeof models / sizeof models[0] };

typedef struct setup {
    facet_model *model;
    facet_engine *engine;
    int32_t n_vocab;
} setup;

static setup open_model(const char *path, facet_kv_type type, int32_t threads, int32_t ubatch, int32_t context) {
    setup x = {0};
    facet_error error;
    facet_engine_options o;
    assert_ok(facet_model_open(&x.model, path, NULL, &error), &error);
    facet_engine_options_defaults(&o);
    o.n_threads = threads;
    o.ubatch = ubatch;
    o.kv_type = type;
    o.max_context = context;
    facet_fit fit = {.size = sizeof fit};
    assert_ok(facet_fit_compute(x.model, &o, &fit, &error), &error);
    o.kv_bytes = 3 * fit.kv_bytes;
    assert_ok(facet_engine_new(&x.engine, x.model, &o, &error), &error);
    x.n_vocab = (int32_t)x.model->hparams.n_vocab;
    return x;
}

static setup open_test_model(size_t i, facet_kv_type type, int32_t threads, int32_t ubatch) {
    char path[512];
    snprintf(path, sizeof path, FACET_TEST_DATA "/models/%s.gguf", models[i]);
    return open_model(path, type, threads, ubatch, CONTEXT);
}

static void close_setup(setup *x) {
    facet_engine_stats stats = {.size = sizeof stats};
    facet_engine_get_stats(x->engine, &stats);
    assert_int_equal(stats.kv_used_bytes, 0);
    facet_engine_free(x->engine);
    facet_model_free(x->model);
}

static facet_session *open_session(const setup *x) {
    facet_session *s;
    facet_error error;
    assert_ok(facet_session_new(&s, x->engine, NULL, &error), &error);
    return s;
}

static size_t sync(facet_session *s, const int32_t *tokens, size_t n) {
    facet_error error;
    size_t reused;
    assert_ok(facet_session_sync(s, tokens, n, NULL, NULL, &reused, &error), &error);
    return reused;
}

static void shift(facet_session *s, size_t from, size_t n) {
    facet_error error;
    assert_ok(facet_session_shift(s, from, n, &error), &error);
}

static void fill(const setup *x, int32_t *tokens, size_t n, uint32_t seed) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((seed >> 8) % (uint32_t)x->n_vocab);
    }
}

static void without(int32_t *out, const int32_t *tokens, size_t n_tokens, size_t from, size_t n) {
    memcpy(out, tokens, from * sizeof *out);
    memcpy(out + from, tokens + from + n, (n_tokens - from - n) * sizeof *out);
}

/* ---- rows */

typedef struct rows {
    size_t n, floats; /* of one position */
    float *keys;      /* [n][floats]: owning layers one behind the other; NaN where a row is not held */
    uint8_t *values;  /* [n][value_bytes] */
    size_t value_bytes;
} rows;

static rows read_rows(const facet_session *s) {
    const hparams *h = &s->engine->model->hparams;
    facet_kv_type type = kv_sequence_type(s->kv);
    rows r = {.n = kv_sequence_length(s->kv)};
    for (uint32_t l = 0; l < h->n_own; l++) {
        r.floats += (size_t)h->layers[l].n_head_kv * h->layers[l].head_dim;
        r.value_bytes += h->layers[l].n_head_kv * cpu_kv_row_bytes(type, h->layers[l].head_dim);
    }
    r.keys = calloc(r.n * r.floats, sizeof *r.keys);
    r.values = calloc(r.n, r.value_bytes);
    for (size_t p = 0; p < r.n; p++) {
        float *key = r.keys + p * r.floats;
        uint8_t *value = r.values + p * r.value_bytes;
        for (uint32_t l = 0; l < h->n_own; l++) {
            size_t dim = h->layers[l].head_dim, bytes = cpu_kv_row_bytes(type, dim);
            for (uint32_t g = 0; g < h->layers[l].n_head_kv; g++, key += dim, value += bytes) {
                const uint8_t *k = kv_keys(s->kv, l, g, p / CPU_PAGE), *v = kv_values(s->kv, l, g, p / CPU_PAGE);
                key[0] = NAN;
                if (!k) continue;
                cpu_kv_load(type, k + p % CPU_PAGE * bytes, dim, key);
                memcpy(value, v + p % CPU_PAGE * bytes, bytes);
            }
        }
    }
    return r;
}

static void free_rows(rows *r) {
    free(r->keys);
    free(r->values);
}

/* The rotation that position p + n has more than position p, undone in double precision. */
static void turn_back(const setup *x, uint32_t layer, size_t p, size_t n, const float *in, double *out) {
    const hparams *h = &x->model->hparams;
    const layer_hparams *l = &h->layers[layer];
    float inv_freq[MAX_DIM];
    rope_frequencies(h, x->model->weights.rope_freqs, l->sliding, inv_freq);
    for (uint32_t i = 0; i < l->head_dim / 2; i++) {
        /* the angles are floats (docs/contract.md) */
        double angle = (double)((float)p * inv_freq[i]) - (double)((float)(p + n) * inv_freq[i]);
        double a = (double)in[i], b = (double)in[i + l->head_dim / 2];
        out[i] = a * cos(angle) - b * sin(angle);
        out[i + l->head_dim / 2] = b * cos(angle) + a * sin(angle);
    }
}

static double largest(const float *x, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i]));
    return most;
}

/* What rounding to the stored type may add, of the largest number of the row. */
static double rounding(facet_kv_type type) {
    return type == FACET_KV_F32 ? 2e-6 : type == FACET_KV_F16 ? 0x1p-10 : 1.5 / 127;
}

static void check_layer(const setup *x, const rows *before, const rows *after, uint32_t layer, size_t offset,
                        size_t p, size_t n, facet_kv_type type) {
    const layer_hparams *l = &x->model->hparams.layers[layer];
    double expected[MAX_DIM];
    for (uint32_t g = 0; g < l->n_head_kv; g++, offset += l->head_dim) {
        const float *old = before->keys + (p + n) * before->floats + offset;
        const float *new = after->keys + p * after->floats + offset;
        turn_back(x, layer, p, n, old, expected);
        double bound = 1.5 * largest(old, l->head_dim) * rounding(type);
        for (uint32_t i = 0; i < l->head_dim; i++) {
            if (!(fabs((double)new[i] - expected[i]) <= bound))
                fail_msg("layer %u, position %zu, number %u: %g, expected %g within %g", layer, p, i, (double)new[i],
                         expected[i], bound);
        }
    }
}

static size_t check_rows(const setup *x, const rows *before, const rows *after, size_t from, size_t n,
                         facet_kv_type type) {
    const hparams *h = &x->model->hparams;
    size_t n_checked = 0;
    for (size_t p = from; p < after->n; p += 3) {
        size_t at = 0, value_at = 0;
        for (uint32_t l = 0; l < h->n_own; l++) {
            size_t floats = (size_t)h->layers[l].n_head_kv * h->layers[l].head_dim;
            size_t bytes = h->layers[l].n_head_kv * cpu_kv_row_bytes(type, h->layers[l].head_dim);
            bool seen = !h->layers[l].sliding || p + h->window >= after->n + 1;
            if (seen) {
                check_layer(x, before, after, l, at, p, n, type);
                assert_memory_equal(after->values + p * after->value_bytes + value_at,
                                    before->values + (p + n) * before->value_bytes + value_at, bytes);
                n_checked++;
            }
            at += floats;
            value_at += bytes;
        }
    }
    return n_checked;
}

static void test_rows(void **state) {
    (void)state;
    static const size_t cuts[][2] = {{20, 64}, {1, 1}, {100, 250}, {64, 128}, {77, 130}, {0, 300}};
    for (size_t m = 0; m <= N_MODELS; m++) {
        for (int type = 0; type < 3; type++) {
            bool tiny = m == N_MODELS; /* the heads of the others are too small for blocks of Q8_0 */
            if (tiny != (type == FACET_KV_Q8_0)) continue;
            setup x = tiny ? open_model(TINY, FACET_KV_Q8_0, 2, 96, CONTEXT)
                           : open_test_model(m, (facet_kv_type)type, 2, 96);
            int32_t tokens[LENGTH];
            fill(&x, tokens, LENGTH, 3);
            for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
                facet_session *s = open_session(&x);
                sync(s, tokens, LENGTH);
                assert_true(kv_shift_possible(s->kv, cuts[i][0], cuts[i][1]));
                rows before = read_rows(s);
                shift(s, cuts[i][0], cuts[i][1]);
                rows after = read_rows(s);
                assert_int_equal(after.n, LENGTH - cuts[i][1]);
                assert_true(check_rows(&x, &before, &after, cuts[i][0], cuts[i][1], (facet_kv_type)type) > 30);
                free_rows(&before);
                free_rows(&after);
                facet_session_free(s);
            }
            close_setup(&x);
        }
    }
}

/* In the first layer keys depend on the token and its position alone, so moved keys are those of the shorter text. */
static void test_first_layer(void **state) {
    (void)state;
    for (size_t m = 0; m < N_MODELS; m++) {
        setup x = open_test_model(m, FACET_KV_F32, 1, 64);
        const layer_hparams *l = &x.model->hparams.layers[0];
        size_t n = (size_t)l->n_head_kv * l->head_dim, window = x.model->hparams.window, from = 50, gone = 111;
        int32_t tokens[LENGTH], shorter[LENGTH];
        fill(&x, tokens, LENGTH, 4);
        without(shorter, tokens, LENGTH, from, gone);
        facet_session *a = open_session(&x), *b = open_session(&x);
        sync(a, tokens, LENGTH);
        shift(a, from, gone);
        sync(b, shorter, LENGTH - gone);
        rows moved = read_rows(a), computed = read_rows(b);
        assert_int_equal(moved.n, computed.n);
        for (size_t p = l->sliding && moved.n > window ? moved.n - window + 1 : 0; p < moved.n; p++) {
            const float *k = computed.keys + p * computed.floats;
            double difference = test_max_difference(moved.keys + p * moved.floats, k, n);
            if (!(difference <= 2e-6 * largest(k, n))) fail_msg("position %zu is off by %g", p, difference);
        }
        free_rows(&moved);
        free_rows(&computed);
        facet_session_free(a);
        facet_session_free(b);
        close_setup(&x);
    }
}

/* ---- bits */

/* Logits after a shift, and after more tokens. */
static float *run_shifts(const setup *x, const int32_t *tokens, facet_session *beside) {
    size_t n_vocab = (size_t)x->n_vocab;
    float *out = calloc(2 * n_vocab, sizeof *out);
    facet_session *s = open_session(x);
    int32_t more[CONTEXT];
    sync(s, tokens, 300);
    shift(s, 40, 70);
    size_t n = facet_session_length(s);
    assert_int_equal(n, 230);
    memcpy(more, facet_session_tokens(s), n * sizeof *more);
    memcpy(more + n, tokens + 300, 100 * sizeof *more);
    assert_int_equal(sync(s, more, n + 100), n);
    memcpy(out, facet_session_logits(s), n_vocab * sizeof *out);
    shift(s, 100, 40);
    if (beside) sync(beside, tokens, 250);
    n = facet_session_length(s);
    memcpy(more, facet_session_tokens(s), n * sizeof *more);
    memcpy(more + n, tokens + 400, 60 * sizeof *more);
    assert_int_equal(sync(s, more, n + 60), n);
    memcpy(out + n_vocab, facet_session_logits(s), n_vocab * sizeof *out);
    facet_session_free(s);
    return out;
}

static void test_same_bits(void **state) {
    (void)state;
    for (size_t m = 0; m < N_MODELS; m++) {
        float *first = NULL;
        size_t bytes = 0;
        for (int i = 0; i < 4; i++) {
            setup x = open_test_model(m, FACET_KV_F16, 1 + i % 2, i < 2 ? 64 : 23);
            int32_t tokens[LENGTH];
            fill(&x, tokens, LENGTH, 5);
            facet_session *beside = i % 2 ? open_session(&x) : NULL; /* holds the same pages */
            if (beside) sync(beside, tokens, 280);
            float *logits = run_shifts(&x, tokens, beside);
            bytes = 2 * (size_t)x.n_vocab * sizeof *logits;
            if (first) assert_memory_equal(logits, first, bytes);
            if (first)
                free(logits);
            else
                first = logits;
            facet_session_free(beside);
            close_setup(&x);
        }
        free(first);
    }
}

/* Sessions that hold the same pages, or come later, have what their own tokens give. */
static void test_private(void **state) {
    (void)state;
    for (size_t m = 0; m < N_MODELS; m++) {
        setup x = open_test_model(m, FACET_KV_F16, 1, 64);
        size_t bytes = (size_t)x.n_vocab * sizeof(float);
        int32_t tokens[LENGTH], shorter[LENGTH];
        fill(&x, tokens, LENGTH, 6);
        without(shorter, tokens, 400, 90, 120);
        facet_session *truth = open_session(&x), *a = open_session(&x), *b = open_session(&x);
        float *whole = malloc(bytes), *cut = malloc(bytes);
        sync(truth, shorter, 280);
        memcpy(cut, facet_session_logits(truth), bytes);
        sync(truth, tokens, 400);
        memcpy(whole, facet_session_logits(truth), bytes);
        sync(a, tokens, 399);
        sync(b, tokens, 350);
        shift(a, 90, 120);
        sync(b, tokens, 400);
        assert_memory_equal(facet_session_logits(b), whole, bytes);
        facet_session *late = open_session(&x);
        sync(late, shorter, 280);
        assert_memory_equal(facet_session_logits(late), cut, bytes);
        sync(a, tokens, 400); /* the timeline it had before */
        assert_memory_equal(facet_session_logits(a), whole, bytes);
        facet_session_free(truth);
        facet_session_free(a);
        facet_session_free(b);
        facet_session_free(late);
        free(whole);
        free(cut);
        close_setup(&x);
    }
}

/* Where the window reaches back to what is gone, the shorter text is computed. */
static void test_computed_anew(void **state) {
    (void)state;
    setup x = open_test_model(0, FACET_KV_F16, 1, 64);
    size_t bytes = (size_t)x.n_vocab * sizeof(float);
    int32_t tokens[LENGTH], shorter[LENGTH];
    fill(&x, tokens, LENGTH, 8);
    without(shorter, tokens, LENGTH, 100, LENGTH - 101);
    facet_session *a = open_session(&x), *b = open_session(&x);
    sync(a, tokens, LENGTH);
    assert_false(kv_shift_possible(a->kv, 100, LENGTH - 101));
    shift(a, 100, LENGTH - 101);
    assert_int_equal(facet_session_length(a), 101);
    sync(b, shorter, 101);
    assert_memory_equal(facet_session_logits(a), facet_session_logits(b), bytes);
    facet_session_free(a);
    facet_session_free(b);
    close_setup(&x);
}

static void test_arguments(void **state) {
    (void)state;
    setup x = open_test_model(0, FACET_KV_F16, 1, 64);
    facet_error error;
    int32_t tokens[LENGTH];
    fill(&x, tokens, LENGTH, 9);
    facet_session *s = open_session(&x);
    assert_int_equal(facet_session_shift(s, 0, 1, &error), FACET_ERROR_ARGUMENT);
    sync(s, tokens, 10);
    assert_int_equal(facet_session_shift(s, 0, 10, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(facet_session_shift(s, 3, 8, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(facet_session_shift(s, 10, 1, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(facet_session_shift(s, 3, SIZE_MAX, &error), FACET_ERROR_ARGUMENT);
    shift(s, 3, 0);
    assert_int_equal(facet_session_length(s), 10);
    shift(s, 9, 1);
    shift(s, 0, 1);
    assert_int_equal(facet_session_length(s), 8);
    assert_memory_equal(facet_session_tokens(s), tokens + 1, 8 * sizeof *tokens);
    size_t ends[] = {5, 5};
    facet_generation g;
    facet_generation_defaults(&g);
    g.shift_keep = 2;
    g.turn_ends = ends;
    g.n_turn_ends = 2;
    assert_int_equal(facet_session_generate(s, &g, NULL, NULL, NULL, &error), FACET_ERROR_ARGUMENT);
    ends[1] = 9;
    assert_int_equal(facet_session_generate(s, &g, NULL, NULL, NULL, &error), FACET_ERROR_ARGUMENT);
    facet_session_free(s);
    close_setup(&x);
}

/* ---- generation beyond the context */

typedef struct trace {
    int32_t ids[1000];
    size_t n;
    char text[16000];
    size_t n_text;
} trace;

static bool record(void *ctx, const facet_token *token) {
    trace *t = ctx;
    assert_true(t->n < 1000 && t->n_text + token->n_bytes < sizeof t->text);
    if (token->id >= 0) t->ids[t->n++] = token->id;
    memcpy(t->text + t->n_text, token->text, token->n_bytes + 1);
    t->n_text += token->n_bytes;
    return true;
}

static const int32_t *render(const setup *x, const char *text, size_t *n) {
    facet_error error;
    int32_t *ids;
    assert_ok(facet_tokenize(x->model, text, strlen(text), true, &ids, n, &error), &error);
    return ids;
}

static const char chat[] =
    "<bos><|turn>system\nAnswer in one sentence.<turn|>\n<|turn>user\nWhat is the capital of "
    "Italy?<turn|>\n<|turn>model\nThe capital of Italy is Rome.<turn|>\n<|turn>user\nWhat is 3 + "
    "4?<turn|>\n<|turn>model\n3 + 4 = 7<turn|>\n<|turn>user\nWrite a story.<turn|>\n<|turn>model\n";

static void generate(const setup *x, const facet_generation *g, trace *t, facet_generation_result *result,
                     int32_t *left, size_t *n_left) {
    facet_error error;
    size_t n;
    const int32_t *ids = render(x, chat, &n);
    facet_session *s = open_session(x);
    *t = (trace){.text = ""};
    *result = (facet_generation_result){.size = sizeof *result};
    sync(s, ids, n);
    assert_ok(facet_session_generate(s, g, record, t, result, &error), &error);
    assert_int_equal(facet_session_length(s), n + result->n_generated - result->n_shifted);
    *n_left = facet_session_length(s);
    memcpy(left, facet_session_tokens(s), *n_left * sizeof *left);
    facet_session_free(s);
    facet_free((void *)(uintptr_t)ids);
}

/* Where the turns end that the text shows: behind the line break of "<turn|>\n". */
static size_t turn_ends(const setup *x, size_t ends[8]) {
    size_t n, count = 0;
    const int32_t *ids = render(x, chat, &n);
    int32_t close = facet_token_find(x->model, "<turn|>", 7);
    for (size_t i = 0; i + 1 < n; i++)
        if (ids[i] == close) ends[count++] = i + 2;
    facet_free((void *)(uintptr_t)ids);
    assert_int_equal(count, 6);
    return count;
}

static void test_generation(void **state) {
    (void)state;
    setup x = open_model(TINY, FACET_KV_F16, 1, 64, 128), y = open_model(TINY, FACET_KV_F16, 2, 7, 128);
    static trace a, b;
    static int32_t left[128], left_too[128];
    facet_generation g;
    facet_generation_result result;
    size_t ends[8], n_left, n_prompt, n = turn_ends(&x, ends);
    const int32_t *prompt = render(&x, chat, &n_prompt);
    facet_generation_defaults(&g);
    g.ignore_end = true;
    g.sampling.seed = 11;
    g.max_tokens = 200;
    generate(&x, &g, &a, &result, left, &n_left); /* off */
    assert_int_equal(result.stop_reason, FACET_STOP_CONTEXT);
    assert_int_equal(result.n_generated, 128 - n_prompt);
    assert_int_equal(result.n_shifted, 0);
    g.shift_keep = ends[0];
    size_t turns[2] = {ends[2], ends[4]};
    g.turn_ends = turns;
    g.n_turn_ends = 2;
    assert_true(n >= 5);
    for (int speculate = 0; speculate < 2; speculate++) {
        g.speculation = speculate ? FACET_SPECULATE_LOOKUP : FACET_SPECULATE_NONE;
        generate(speculate ? &y : &x, &g, speculate ? &b : &a, &result, speculate ? left_too : left, &n_left);
        assert_int_equal(result.stop_reason, FACET_STOP_LENGTH);
        assert_int_equal(result.n_generated, 200);
        assert_true(result.n_shifted >= n_prompt + 200 - 128);
        assert_memory_equal(left, prompt, ends[0] * sizeof *left); /* the system prompt is there */
        assert_true(n_left <= 128);
    }
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.ids, b.ids, a.n * sizeof a.ids[0]);
    assert_memory_equal(left, left_too, n_left * sizeof *left);
    facet_free((void *)(uintptr_t)prompt);
    close_setup(&x);
    close_setup(&y);
}

/* Turns leave as whole ones first: what is left begins with a turn that follows them. */
static void test_whole_turns(void **state) {
    (void)state;
    setup x = open_model(TINY, FACET_KV_F16, 1, 64, 100);
    static trace t;
    static int32_t left[100];
    size_t ends[8], n_left, n_prompt;
    turn_ends(&x, ends);
    const int32_t *prompt = render(&x, chat, &n_prompt);
    facet_generation g;
    facet_generation_result result;
    facet_generation_defaults(&g);
    g.ignore_end = true;
    g.sampling.temperature = 0;
    g.shift_keep = ends[0];
    size_t turns[2] = {ends[2], ends[4]};
    g.turn_ends = turns;
    g.n_turn_ends = 2;
    g.max_tokens = (int32_t)(100 - n_prompt) + 1; /* one more than there is room for */
    generate(&x, &g, &t, &result, left, &n_left);
    assert_int_equal(result.stop_reason, FACET_STOP_LENGTH);
    assert_true(result.n_shifted == ends[2] - ends[0] || result.n_shifted == ends[4] - ends[0]);
    size_t next = result.n_shifted + ends[0];
    assert_memory_equal(left + ends[0], prompt + next, (n_prompt - next) * sizeof *left);
    facet_free((void *)(uintptr_t)prompt);
    close_setup(&x);
}

/* A grammar and stop strings do not notice. */
static void test_constraints(void **state) {
    (void)state;
    setup x = open_model(TINY, FACET_KV_Q8_0, 1, 64, 96);
    static trace t;
    static int32_t left[100];
    size_t n_left;
    facet_error error;
    facet_grammar *form;
    const char *gbnf = "root ::= \"[\" item{60} \"]\"\nitem ::= [0-9] \",\"";
    assert_ok(facet_grammar_from_gbnf(&form, x.model, gbnf, strlen(gbnf), &error), &error);
    facet_generation g;
    facet_generation_result result;
    facet_generation_defaults(&g);
    g.grammar = form;
    g.shift_keep = 1;
    generate(&x, &g, &t, &result, left, &n_left);
    assert_int_equal(result.stop_reason, FACET_STOP_END);
    assert_true(result.n_shifted > 0);
    assert_int_equal(t.n_text, 122);
    assert_int_equal(strspn(t.text, "[]0123456789,"), 122);
    const char *const stops[] = {"zz", "]"};
    g.stop = stops;
    g.n_stop = 2;
    generate(&x, &g, &t, &result, left, &n_left);
    assert_int_equal(result.stop_reason, FACET_STOP_STRING);
    assert_int_equal(result.stop_index, 1);
    assert_int_equal(t.n_text, 121);
    facet_grammar_free(form);
    close_setup(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),       cmocka_unit_test(test_first_layer),   cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_private),    cmocka_unit_test(test_computed_anew), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_generation), cmocka_unit_test(test_whole_turns),   cmocka_unit_test(test_constraints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
