/* facet adapter: a PEFT directory as a GGUF adapter, and adapters merged into a model. */
#include "adapters.h"
#include "app.h"
#include "commands.h"
#include "weights.h"

#include <stdlib.h>

static int convert(const cli_options *o) {
    facet_adapter_convert_options options;
    facet_error error = {0};
    size_t n_pairs = 0;
    progress p;
    if (o->n_arguments != 2) return report_usage("adapter: name a directory and the file to write");
    if (o->tensor_type.n) return report_usage("--tensor-type: works with --merge only");
    facet_adapter_convert_options_defaults(&options);
    options.type = o->type;
    options.base = o->model;
    options.threads = (int)o->threads;
    options.on_progress = weights_progress;
    options.ctx = &p;
    weights_begin(&p, "converting");
    facet_status status = facet_adapter_convert(o->arguments[0], o->arguments[1], &options, &n_pairs, &error);
    progress_end(&p);
    if (status) return report_failure(&error, NULL);
    fprintf(stderr, "%zu matrices changed by the adapter\n", n_pairs);
    return EXIT_OK;
}

static int merge_all(const cli_options *o, const facet_merge *merges, size_t n) {
    facet_quantize_options options;
    facet_quantize_result result = {.size = sizeof result};
    facet_error error = {0};
    progress p;
    facet_quantize_options_defaults(&options);
    options.type = o->type;
    options.tensor_types = o->tensor_type.items;
    options.n_tensor_types = o->tensor_type.n;
    options.merges = merges;
    options.n_merges = n;
    options.threads = (int)o->threads;
    options.on_progress = weights_progress;
    options.ctx = &p;
    weights_begin(&p, "merging");
    facet_status status = facet_quantize(o->merge, o->arguments[n], &options, &result, &error);
    progress_end(&p);
    if (status) return report_failure(&error, NULL);
    fprintf(stderr, "%zu of %zu tensors merged\n", result.n_merged, result.n_tensors);
    return EXIT_OK;
}

static int merge(const cli_options *o) {
    size_t n = o->n_arguments - 1;
    if (o->model) return report_usage("adapter: --merge names the model, -m is for directories");
    if (n < 1) return report_usage("adapter: --merge needs an adapter and the file to write");
    facet_merge *merges = calloc(n, sizeof *merges);
    char **paths = calloc(n, sizeof *paths);
    int status = merges && paths ? EXIT_OK : report_no_memory();
    for (size_t i = 0; !status && i < n; i++) {
        merges[i].scale = 1;
        paths[i] = adapters_path(o->arguments[i], &merges[i].scale);
        merges[i].path = paths[i];
        if (!paths[i]) status = report_no_memory();
    }
    if (!status) status = merge_all(o, merges, n);
    for (size_t i = 0; paths && i < n; i++) free(paths[i]);
    free(paths);
    free(merges);
    return status;
}

int cmd_adapter(const cli_options *o) { return o->merge ? merge(o) : convert(o); }
