/* facet serve: the options of the command line as those of the server, the model and the engine for it. */
#include "app.h"
#include "commands.h"
#include "server.h"
#include "serving.h"

#include <stdlib.h>
#include <string.h>

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
    if (!status) status = serving_adapters(&a, &adapters);
    if (!status) status = serving_engine(&a);
    if (!status) {
        serving_name(&a, name, sizeof name);
        fill(&options, o, name);
        options.adapters = adapters;
        options.n_adapters = a.adapters.n;
        status = server_run(&options, a.model, a.engine);
    }
    free(adapters);
    app_close(&a);
    return status;
}
