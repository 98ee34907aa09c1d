/* The forward pass against independent truth: small models of every Gemma 4 kind with the logits and hidden states
 * that transformers computes for them; and against itself where the numeric contract promises the same bits: any
 * ubatch, any number of threads, any instruction set, prompt or token by token, early exit or not. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/session.h"
#include "support.h"

static const char *const kinds[] = {"ple-shared", "ple-gqa", "dense-keqv", "moe-keqv"};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

typedef struct setup {
    int32_t threads, ubatch;
    uint32_t features;
    facet_kv_type kv;
} setup;

typedef struct fixture {
    facet_model *model;
    golden truth;
    const int32_t *ids;
    size_t n, n_vocab, n_embd;
    const float *logits;
} fixture;

static fixture fixture_open(const char *kind) {
    fixture x = {0};
    facet_error error;
    char path[512], name[64];
    snprintf(path, sizeof path, FACET_TEST_DATA "/models/%s.gguf", kind);
    assert_ok(facet_model_open(&x.model, path, NULL, &error), &error);
    snprintf(name, sizeof name, "models/%s.golden.gguf", kind);
    x.truth = golden_open(name);
    x.ids = golden_data(&x.truth, "ids", &x.n);
    size_t n_logits;
    x.logits = golden_data(&x.truth, "logits", &n_logits);
    x.n_vocab = x.model->hparams.n_vocab;
    x.n_embd = x.model->hparams.n_embd;
    assert_int_equal(n_logits, x.n * x.n_vocab);
    return x;
}

static void fixture_close(fixture *x) {
    facet_model_free(x->model);
    golden_close(&x->truth);
}

static facet_session *session_open(const fixture *x, const setup *s) {
    facet_engine_options o;
    facet_engine_options_defaults(&o);
    o.n_threads = s->threads;
    o.ubatch = s->ubatch;
    o.cpu_features = s->features;
    o.kv_type = s->kv;
    o.max_context = 256;
    facet_engine *engine;
    facet_session *session;
    facet_error error;
    assert_ok(facet_engine_new(&engine, x->model, &o, &error), &error);
    assert_ok(facet_session_new(&session, engine, NULL, &error), &error);
    facet_engine_free(engine);
    return session;
}

typedef struct rows {
    float *logits; /* [n][n_vocab] */
    float *hidden; /* [n_layer][n][n_embd] */
    size_t n, at;
} rows;

static bool take_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    rows *r = ctx;
    memcpy(r->logits + row * n_vocab, logits, n_vocab * sizeof *logits);
    return true;
}

/* Hidden states of a step, appended behind those of earlier steps. */
static void take_hidden(void *ctx, uint32_t layer, const float *x, size_t n_rows, size_t n_embd) {
    rows *r = ctx;
    memcpy(r->hidden + ((size_t)layer * r->n + r->at) * n_embd, x, n_rows * n_embd * sizeof *x);
}

static void advance(void *ctx, uint32_t layer, const float *x, size_t n_rows, size_t n_embd) {
    take_hidden(ctx, layer, x, n_rows, n_embd);
}

static rows score(const fixture *x, const setup *s) {
    rows r = {.n = x->n};
    uint32_t n_layer = x->model->hparams.n_layer;
    r.logits = malloc(x->n * x->n_vocab * sizeof *r.logits);
    r.hidden = malloc(n_layer * x->n * x->n_embd * sizeof *r.hidden);
    facet_session *session = session_open(x, s);
    facet_error error;
    forward_observe(session->engine->forward, advance, &r);
    size_t step = (size_t)session->engine->options.ubatch;
    for (size_t at = 0; at < x->n; at += step) { /* the same timeline, longer each time: one chunk a call */
        r.at = at;
        size_t n = at + step < x->n ? at + step : x->n;
        assert_ok(facet_session_score(session, x->ids, n, at, take_row, &r, &error), &error);
    }
    facet_session_free(session);
    return r;
}

static void rows_free(rows *r) {
    free(r->logits);
    free(r->hidden);
}

static void test_golden(void **state) {
    (void)state;
    for (int k = 0; k < N_KINDS; k++) {
        fixture x = fixture_open(kinds[k]);
        rows r =
            score(&x, &(setup){.threads = 1, .ubatch = 256, .features = FACET_CPU_REFERENCE, .kv = FACET_KV_F32});
        for (uint32_t l = 0; l < x.model->hparams.n_layer; l++) {
            char name[32];
            size_t n;
            snprintf(name, sizeof name, "hidden.%u", l);
            const float *want = golden_data(&x.truth, name, &n);
            double d = test_max_difference(r.hidden + l * x.n * x.n_embd, want, n);
            if (!(d <= 3e-3))
                fail_msg("%s: hidden states after layer %u are %g from the golden ones", kinds[k], l, d);
        }
        double d = test_max_difference(r.logits, x.logits, x.n * x.n_vocab);
        if (!(d <= 1e-3)) fail_msg("%s: logits are %g from the golden ones", kinds[k], d);
        rows_free(&r);
        fixture_close(&x);
    }
}

static void assert_same_rows(const fixture *x, const rows *a, const rows *b, const char *what) {
    if (memcmp(a->logits, b->logits, x->n * x->n_vocab * sizeof *a->logits) != 0) {
        fail_msg("%s: logits differ by %g", what, test_max_difference(a->logits, b->logits, x->n * x->n_vocab));
    }
    size_t n = x->model->hparams.n_layer * x->n * x->n_embd;
    if (memcmp(a->hidden, b->hidden, n * sizeof *a->hidden) != 0) {
        fail_msg("%s: hidden states differ by %g", what, test_max_difference(a->hidden, b->hidden, n));
    }
}

static void test_same_bits(void **state) {
    (void)state;
    static const facet_kv_type kv[] = {FACET_KV_F32, FACET_KV_F16, FACET_KV_Q8_0};
    static const setup others[] = {
        {.threads = 2, .ubatch = 256, .features = FACET_CPU_ALL},
        {.threads = 1, .ubatch = 1, .features = FACET_CPU_ALL},
        {.threads = 3, .ubatch = 7, .features = FACET_CPU_AVX2},
        {.threads = 2, .ubatch = 13, .features = 0},
        {.threads = 3, .ubatch = 3, .features = FACET_CPU_ALL},
        {.threads = 2, .ubatch = 31, .features = FACET_CPU_AVX2},
    };
    for (int k = 0; k < N_KINDS; k++) {
        fixture x = fixture_open(kinds[k]);
        for (size_t t = 0; t < sizeof kv / sizeof kv[0]; t++) {
            if (kv[t] == FACET_KV_Q8_0 && x.model->hparams.layers[0].head_dim % 32)
                continue; /* cannot hold heads of 16 */
            setup first = {.threads = 1, .ubatch = 256, .features = FACET_CPU_REFERENCE, .kv = kv[t]};
            rows want = score(&x, &first);
            for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
                setup s = others[i];
                s.kv = kv[t];
                rows got = score(&x, &s);
                char what[96];
                snprintf(what, sizeof what, "%s, kv %d, setup %zu", kinds[k], (int)kv[t], i);
                assert_same_rows(&x, &want, &got, what);
                rows_free(&got);
            }
            rows_free(&want);
        }
        fixture_close(&x);
    }
}

/* Prompts end with one wanted token, the others leave early: the logits must not notice. Then decode, cut back,
 * resume. */
static void test_early_exit(void **state) {
    (void)state;
    for (int k = 0; k < N_KINDS; k++) {
        fixture x = fixture_open(kinds[k]);
        setup s = {.threads = 2, .ubatch = 16, .features = FACET_CPU_ALL, .kv = FACET_KV_F16};
        rows want = score(&x, &s);
        facet_session *session = session_open(&x, &s);
        static const size_t lengths[] = {5, 6, 40, 41, 42, 56, 30, 56, 1, 55, 56};
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            size_t n = lengths[i], reused;
            facet_error error;
            assert_true(n <= x.n);
            assert_ok(facet_session_sync(session, x.ids, n, NULL, NULL, &reused, &error), &error);
            assert_true(reused < n);
            const float *logits = facet_session_logits(session);
            if (memcmp(logits, want.logits + (n - 1) * x.n_vocab, x.n_vocab * sizeof *logits) != 0) {
                fail_msg("%s: logits after %zu tokens differ by %g", kinds[k], n,
                         test_max_difference(logits, want.logits + (n - 1) * x.n_vocab, x.n_vocab));
            }
        }
        facet_session_free(session);
        rows_free(&want);
        fixture_close(&x);
    }
}

/* The mean of the golden hidden states after the output norm, in double. */
static void golden_embedding(const fixture *x, double *out) {
    char name[32];
    size_t count;
    const weights *w = &x->model->weights;
    snprintf(name, sizeof name, "hidden.%u", (unsigned)(x->model->hparams.n_layer - 1));
    const float *hidden = golden_data(&x->truth, name, &count);
    for (size_t i = 0; i < x->n_embd; i++) out[i] = 0;
    for (size_t t = 0; t < x->n; t++) {
        const float *row = hidden + t * x->n_embd;
        double ss = 0;
        for (size_t i = 0; i < x->n_embd; i++) ss += (double)row[i] * (double)row[i];
        double scale = 1 / sqrt(ss / (double)x->n_embd + (double)x->model->hparams.eps) / (double)x->n;
        for (size_t i = 0; i < x->n_embd; i++) out[i] += (double)row[i] * scale * (double)w->output_norm[i];
    }
}

static void test_embedding(void **state) {
    (void)state;
    for (int k = 0; k < N_KINDS; k++) {
        fixture x = fixture_open(kinds[k]);
        double *want = malloc(x.n_embd * sizeof *want);
        float *got = malloc(2 * x.n_embd * sizeof *got), *again = got + x.n_embd;
        facet_error error;
        golden_embedding(&x, want);
        for (int32_t ubatch = 7; ubatch <= 256; ubatch += 249) {
            setup s = {.threads = 1, .ubatch = ubatch, .features = FACET_CPU_REFERENCE, .kv = FACET_KV_F32};
            facet_session *session = session_open(&x, &s);
            assert_ok(facet_session_embed(session, x.ids, x.n, got, &error), &error);
            assert_ok(facet_session_embed(session, x.ids, x.n, again, &error), &error);
            assert_memory_equal(got, again, x.n_embd * sizeof *got);
            for (size_t i = 0; i < x.n_embd; i++) {
                if (!(fabs((double)got[i] - want[i]) <= 1e-3))
                    fail_msg("%s: embedding[%zu] is %g, expected %g", kinds[k], i, (double)got[i], want[i]);
            }
            float d = (float)test_max_difference(facet_session_logits(session), x.logits + (x.n - 1) * x.n_vocab,
                                                 x.n_vocab);
            assert_true(d <= 1e-3f); /* and the session goes on */
            facet_session_free(session);
        }
        free(got);
        free(want);
        fixture_close(&x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_early_exit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
