/* Routes without HTTP: see local.h. */
#include "local.h"
#include "routes.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct local_server {
    server server;
    server_options options;
};

local_server *local_server_new(const server_options *options, facet_model *model, facet_engine *engine) {
    local_server *l = calloc(1, sizeof *l);
    size_t n = (size_t)options->n_parallel;
    if (!l) return NULL;
    l->options = *options;
    l->options.n_queue = options->n_parallel;
    l->server =
        (server){.options = &l->options, .model = model, .engine = engine, .started = time(NULL), .ready = true};
    l->server.info.size = sizeof l->server.info;
    l->server.engine_info.size = sizeof l->server.engine_info;
    facet_model_get_info(model, &l->server.info);
    facet_engine_get_info(engine, &l->server.engine_info);
    pthread_mutex_init(&l->server.lock, NULL);
    metrics_init(&l->server.metrics);
    adapter_list_init(&l->server.adapters);
    bool ok = job_queue_start(&l->server.slots, n, n);
    for (size_t i = 0; ok && i < options->n_adapters; i++) {
        const server_adapter *a = &options->adapters[i];
        ok = adapter_list_add(&l->server.adapters, a->name, a->adapter, true, a->scale);
    }
    if (ok) return l;
    local_server_free(l);
    return NULL;
}

void local_server_free(local_server *l) {
    if (!l) return;
    job_queue_end(&l->server.slots);
    adapter_list_free(&l->server.adapters);
    pthread_mutex_destroy(&l->server.metrics.lock);
    pthread_mutex_destroy(&l->server.lock);
    free(l);
}

static const route *find(const char *path) {
    static const char *const paths[] = {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"};
    bool other;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!strcmp(paths[i], path)) return route_find("POST", path, &other);
    return NULL;
}

bool local_server_takes(const char *path) { return find(path) != NULL; }

int local_server_ask(local_server *l, const char *path, const char *body, size_t n, text *out, char id[32]) {
    const route *r = find(path);
    exchange *x = exchange_new(&l->server, NULL, "POST", path);
    int status = 0;
    if (!x) return 0;
    snprintf(id, 32, "%s", x->id);
    x->route = r;
    x->style = r->style;
    if (cli_text_append(&x->body, body, n)) {
        exchange_hold(x);
        r->answer(x);
        if (exchange_wait(x)) status = x->status;
        if (status && !cli_text_append(out, cli_text_get(&x->out), x->out.n)) status = 0;
    }
    exchange_release(x);
    return status;
}
