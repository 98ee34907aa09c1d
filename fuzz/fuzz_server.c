/* Bytes as the body of a request to each route that takes one, up to the point where it would generate: whatever they
 * are, there is an answer, it is JSON, and it is not the server's fault. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "routes.h"

static const char *const paths[] = {"/v1/chat/completions",
                                    "/v1/completions",
                                    "/v1/responses",
                                    "/v1/messages",
                                    "/api/chat",
                                    "/api/generate",
                                    "/v1/embeddings",
                                    "/tokenize",
                                    "/detokenize",
                                    "/apply-template",
                                    "/v1/messages/count_tokens"};
enum { N_PATHS = sizeof paths / sizeof *paths };

typedef struct fixture {
    server server;
    server_options options;
    facet_model *model;
} fixture;

/* No slots: what would generate is refused, after everything has been read. */
static bool open_fixture(fixture *f) {
    facet_model_options options;
    facet_model_options_defaults(&options);
    options.vocabulary_only = true;
    if (facet_model_open(&f->model, FACET_SOURCE_DIR "/models/tiny-q8_0.gguf", &options, NULL)) return false;
    f->options = (server_options){.model_name = "m", .n_parallel = 1, .max_tokens = -1};
    facet_sampling_defaults(&f->options.sampling);
    f->server = (server){.options = &f->options, .model = f->model};
    f->server.info.size = sizeof f->server.info;
    facet_model_get_info(f->model, &f->server.info);
    f->server.engine_info.max_context = 4096;
    metrics_init(&f->server.metrics);
    adapter_list_init(&f->server.adapters);
    pthread_mutex_init(&f->server.slots.lock, NULL);
    return true;
}

static void check_answer(const exchange *x) {
    json_t *json = json_loadb(cli_text_get(&x->out), x->out.n, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    bool expected = x->status == 200 || (x->status >= 400 && x->status < 500);
    if (!x->finished || !expected || !json) abort();
    json_decref(json);
}

static void ask(server *s, const char *path, const uint8_t *data, size_t n) {
    bool other;
    const route *r = route_find("POST", path, &other);
    exchange *x = exchange_new(s, NULL, "POST", path);
    if (!r || !x) abort();
    x->route = r;
    x->style = r->style;
    if (!cli_text_append(&x->body, (const char *)data, n)) abort();
    exchange_hold(x);
    r->answer(x);
    check_answer(x);
    exchange_release(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static fixture f;
    if (n > 1 << 16) return 0;
    if (!f.model && !open_fixture(&f)) abort();
    for (size_t i = 0; i < N_PATHS; i++) ask(&f.server, paths[i], data, n);
    return 0;
}
