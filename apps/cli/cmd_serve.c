/* facet serve: the options of the command line as those of the server, the model and the engine for it. */
#include "app.h"
#include "commands.h"
#include "server.h"
#include "serving.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

static int check_options(const cli_options *o) {
    if (!o->tls_cert != !o->tls_key) return report_usage("--tls-cert and --tls-key go together");
    if (o->unix_path && o->tls_cert) return report_usage("--tls-cert can't go with --unix");
    if (o->alias && (!o->alias[0] || cli_text_valid_utf8(o->alias, strlen(o->alias)) != strlen(o->alias)))
        return report_usage("--alias: the name is empty or not valid UTF-8");
    return EXIT_OK;
}

static void fill(server_options *s, const cli_options *o) {
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

typedef struct served {
    app app;
    const cli_options *options;
    server_adapter *adapters;
    char name[200];
} served;

static int open_served(void *ctx, server_options *s, facet_model **model, facet_engine **engine) {
    served *d = ctx;
    app *a = &d->app;
    int status = app_open_model(a, d->options, APP_WEIGHTS);
    if (!status) status = app_open_adapters(a);
    if (!status) status = serving_adapters(a, &d->adapters);
    if (!status) status = serving_engine(a);
    if (status) return status;
    serving_name(a, d->name, sizeof d->name);
    s->model_name = d->name;
    s->adapters = d->adapters;
    s->n_adapters = a->adapters.n;
    *model = a->model;
    *engine = a->engine;
    return EXIT_OK;
}

static void cancel(void *ctx) {
    (void)ctx;
    interrupt_raise();
}

int cmd_serve(const cli_options *o) {
    served d = {.options = o};
    server_load load = {open_served, cancel, &d};
    server_options options;
    int status = check_options(o);
    if (status) return status;
    server_block_signals();
    fill(&options, o);
    status = server_run(&options, &load);
    free(d.adapters);
    app_close(&d.app);
    return status;
}
