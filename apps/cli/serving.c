/* What serve and batch share: see serving.h. */
#include "serving.h"

#include <stdlib.h>
#include <string.h>

/* The name of the model inside the file, else the file's own without folder and ending. */
void serving_name(const app *a, char *out, size_t n) {
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

/* Memory for the keys and values of all requests that run at once, each with a full context. */
int serving_engine(app *a) {
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
int serving_adapters(const app *a, server_adapter **out) {
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
