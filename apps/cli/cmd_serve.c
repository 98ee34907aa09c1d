/* facet serve: the options of the command line as those of the server, the model and the engine for it. */
#include "app.h"
#include "commands.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

/* The name of the model inside the file, else the file's own without folder and ending. */
static void name_model(const app *a, char *out, size_t n) {
    const char *path = a->options->model, *alias = a->options->alias;
    const char *name = alias ? alias : a->info.name;
    if (!name[0] && path) {
        const char *slash = strrchr(path, '/');
        name = slash ? slash + 1 : path;
    }
    snprintf(out, n, "%s", name[0] ? name : "facet");
    char *dot = strrchr(out, '.');
    if (dot && !strcmp(dot, ".gguf")) *dot = '\0';
}

static int check_options(const cli_options *o) {
    if (!o->tls_cert != !o->tls_key) return report_usage("--tls-cert and --tls-key go together");
    if (o->unix_path && o->tls_cert) return report_usage("--tls-cert can't go with --unix");
    if (o->alias && (!o->alias[0] || cli_text_valid_utf8(o->alias, strlen(o->alias)) != strlen(o->alias)))
        return report_usage("--alias: the name is empty or not valid UTF-8");
    return EXIT_OK;
}

static void fill(server_options *s, const cli_options *o, const char *name) {
    *s = (server_options){.host = o->host,
                          .port = (int)o->port,
                          .unix_path = o->unix_path,
                          .tls_certificate = o->tls_cert,
                          .tls_key = o->tls_key,
                          .api_keys = o->api_key.items,
                          .n_api_keys = o->api_key.n,
                          .api_key_file = o->api_key_file,
                          .cors = o->cors.items,
                          .n_cors = o->cors.n,
                          .access_log = o->access_log,
                          .model_name = name,
                          .force = o->force,
                          .n_parallel = (int)o->parallel,
                          .n_queue = (int)o->queue,
                          .max_body_bytes = (size_t)o->max_body << 20,
                          .timeout_seconds = (int)o->timeout,
                          .drain_seconds = (int)o->drain,
                          .max_tokens = (int32_t)o->max_tokens,
                          .context_shift = o->context_shift};
    facet_sampling_defaults(&s->sampling);
    app_sampling(&s->sampling, o);
}

/* Memory for the keys and values of all requests that run at once, each with a full context. */
static int make_engine(app *a) {
    facet_error error = {0};
    facet_engine_options options;
    facet_fit fit = {.size = sizeof fit};
    app_engine_options(a, 0, &options);
    if (a->options->cpu) {
        int status = app_set_processors(a->options->cpu);
        if (status) return status;
    }
    facet_status status = facet_fit_compute(a->model, &options, &fit, &error);
    options.kv_bytes = fit.kv_bytes * (uint64_t)a->options->parallel;
    if (!status) status = facet_engine_new(&a->engine, a->model, &options, &error);
    return status ? report_failure(&error, app_model_name(a->options)) : EXIT_OK;
}

/* The adapters of --adapter under the names of their files. Frees nothing: the list is for the caller. */
static int name_adapters(const app *a, server_adapter **out) {
    size_t n = a->adapters.n;
    *out = calloc(n ? n : 1, sizeof **out);
    if (!*out) return report_no_memory();
    for (size_t i = 0; i < n; i++) {
        const app_adapter *item = &a->adapters.items[i];
        const char *slash = strrchr(item->path, '/');
        (*out)[i] = (server_adapter){item->adapter, slash ? slash + 1 : item->path, item->scale};
    }
    return EXIT_OK;
}

int cmd_serve(const cli_options *o) {
    app a = {0};
    server_options options;
    server_adapter *adapters = NULL;
    char name[200];
    int status = check_options(o);
    if (status) return status;
    server_block_signals();
    status = app_open_model(&a, o, APP_WEIGHTS);
    if (!status) status = app_open_adapters(&a);
    if (!status) status = name_adapters(&a, &adapters);
    if (!status) status = make_engine(&a);
    if (!status) {
        name_model(&a, name, sizeof name);
        fill(&options, o, name);
        options.adapters = adapters;
        options.n_adapters = a.adapters.n;
        status = server_run(&options, a.model, a.engine);
    }
    free(adapters);
    app_close(&a);
    return status;
}
