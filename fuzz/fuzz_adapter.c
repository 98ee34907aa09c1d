/* Any bytes as an adapter for a small model of every kind (per-layer embeddings and shared KV, or experts): what
 * opens is worn by a session that computes with it. The models are the tests' own files. */
#include <stdint.h>
#include <stdlib.h>

#include "facet.h"

typedef struct target {
    facet_model *model;
    facet_session *session;
} target;

static void check(int good) {
    if (!good) abort();
}

static target target_open(const char *path) {
    target t;
    facet_engine *engine;
    facet_engine_options o;
    facet_engine_options_defaults(&o);
    o.n_threads = 1;
    o.max_context = 16;
    check(facet_model_open(&t.model, path, NULL, NULL) == FACET_OK);
    check(facet_engine_new(&engine, t.model, &o, NULL) == FACET_OK);
    check(facet_session_new(&t.session, engine, NULL, NULL) == FACET_OK);
    facet_engine_free(engine);
    return t;
}

static void try_on(target *t, const uint8_t *data, size_t n) {
    static const int32_t ids[] = {2, 9, 4};
    facet_adapter *a;
    facet_error error = {0};
    facet_adapter_info info = {.size = sizeof info};
    if (facet_adapter_open_memory(&a, t->model, data, n, NULL, NULL, &error) != FACET_OK) {
        check(!a && error.status && error.message[0]);
        return;
    }
    check(facet_adapter_get_info(a, &info) == FACET_OK);
    facet_adapter_use uses[] = {{a, 1.0f}, {a, -0.5f}};
    check(facet_session_set_adapters(t->session, uses, 2, NULL) == FACET_OK);
    facet_adapter_free(a);
    check(facet_session_sync(t->session, ids, 3, NULL, NULL, NULL, NULL) == FACET_OK);
    check(facet_session_set_adapters(t->session, NULL, 0, NULL) == FACET_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static target targets[2]; /* opened once, for good: every input finds them as they were */
    if (!targets[0].model) {
        targets[0] = target_open(FACET_SOURCE_DIR "/tests/data/models/ple-shared.gguf");
        targets[1] = target_open(FACET_SOURCE_DIR "/tests/data/models/moe-keqv.gguf");
    }
    for (int i = 0; i < 2; i++) try_on(&targets[i], data, n);
    return 0;
}
