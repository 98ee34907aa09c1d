/* What the tests of devices share: engines on a device, and logits of the CPU beside those of a device. */
#ifndef FACET_TESTS_DEVICE_SUPPORT_H
#define FACET_TESTS_DEVICE_SUPPORT_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

typedef struct device_run {
    const char *model;  /* a path */
    const char *device; /* NULL: the CPU */
    int32_t n_layers;   /* on the device */
    facet_kv_type kv;
    int32_t ubatch;
    const char *adapter; /* a path, or NULL */
    size_t n;            /* tokens */
    bool one_by_one;
} device_run;

typedef struct device_result {
    float *logits; /* [n][n_vocab] */
    size_t n_vocab;
    int32_t n_device_layers, n_layer;
    char log[512]; /* the last line */
} device_result;

static void keep_log(void *ctx, const char *line) {
    device_result *r = ctx;
    snprintf(r->log, sizeof r->log, "%s", line);
}

static bool keep_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    device_result *r = ctx;
    memcpy(r->logits + row * n_vocab, logits, n_vocab * sizeof *logits);
    return true;
}

static void device_tokens(int32_t *ids, size_t n, size_t n_vocab) {
    for (size_t i = 0; i < n; i++) ids[i] = i ? (int32_t)((i * 7919 + 13) % n_vocab) : 2;
}

static facet_engine *device_engine(facet_model *model, const device_run *run, device_result *r) {
    facet_engine_options o;
    facet_engine *engine;
    facet_error error;
    facet_engine_info info = {.size = sizeof info};
    facet_engine_options_defaults(&o);
    o.device = run->device;
    o.n_device_layers = run->n_layers;
    o.kv_type = run->kv;
    o.max_context = 1024;
    o.n_threads = 2;
    if (run->ubatch) o.ubatch = run->ubatch;
    o.log = keep_log;
    o.log_ctx = r;
    assert_ok(facet_engine_new(&engine, model, &o, &error), &error);
    assert_int_equal(facet_engine_get_info(engine, &info), FACET_OK);
    r->n_device_layers = info.n_device_layers;
    return engine;
}

/* The logits after every token of a prompt; free them. */
static device_result device_logits(const device_run *run) {
    device_result r = {0};
    facet_model *model;
    facet_session *session;
    facet_error error;
    facet_model_info info = {.size = sizeof info};
    int32_t ids[1024];
    assert_ok(facet_model_open(&model, run->model, NULL, &error), &error);
    assert_int_equal(facet_model_get_info(model, &info), FACET_OK);
    r.n_vocab = (size_t)info.n_vocab;
    r.n_layer = info.n_layer;
    r.logits = malloc(run->n * r.n_vocab * sizeof *r.logits);
    assert_non_null(r.logits);
    device_tokens(ids, run->n, r.n_vocab);
    facet_engine *engine = device_engine(model, run, &r);
    assert_ok(facet_session_new(&session, engine, NULL, &error), &error);
    if (run->adapter) {
        facet_adapter *adapter;
        assert_ok(facet_adapter_open(&adapter, model, run->adapter, &error), &error);
        facet_adapter_use use = {.adapter = adapter, .scale = 0.75f};
        assert_ok(facet_session_set_adapters(session, &use, 1, &error), &error);
        facet_adapter_free(adapter);
    }
    if (!run->one_by_one) {
        assert_ok(facet_session_score(session, ids, run->n, 0, keep_row, &r, &error), &error);
    }
    for (size_t i = 0; run->one_by_one && i < run->n; i++) {
        assert_ok(facet_session_sync(session, ids, i + 1, NULL, NULL, NULL, &error), &error);
        keep_row(&r, i, facet_session_logits(session), r.n_vocab);
    }
    facet_session_free(session);
    facet_engine_free(engine);
    facet_model_free(model);
    return r;
}

/* Within the bounds of devices; `exact`: the device rounds as IEEE has it, then the bits are the CPU's. */
static inline void assert_like_cpu(const device_run *run, bool exact, int32_t n_device_layers) {
    device_run plain = *run;
    plain.device = NULL;
    plain.one_by_one = false;
    device_result want = device_logits(&plain), got = device_logits(run);
    if (got.n_device_layers != n_device_layers) print_message("%s: %s\n", run->model, got.log);
    assert_int_equal(got.n_device_layers, n_device_layers);
    double difference = test_max_difference(want.logits, got.logits, run->n * want.n_vocab), most = 0;
    for (size_t i = 0; i < run->n; i++) {
        double kl = test_kl(want.logits + i * want.n_vocab, got.logits + i * want.n_vocab, want.n_vocab);
        if (!(kl <= most)) most = kl;
    }
    print_message("%s, %d layers: largest difference %.2e, KL divergence %.2e\n", run->model, (int)n_device_layers,
                  difference, most);
    assert_true(difference <= 1e-2);
    assert_true(most <= 1e-4);
    if (exact) assert_memory_equal(want.logits, got.logits, run->n * want.n_vocab * sizeof *want.logits);
    free(want.logits);
    free(got.logits);
}

#endif
