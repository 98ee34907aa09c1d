/* facet quantize: a GGUF file with its matrices in other types. */
#include "app.h"
#include "commands.h"
#include "weights.h"

#include <string.h>

static int report_type(const char *type) {
    char names[512] = "";
    for (size_t i = 0; facet_quantize_type(i); i++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", facet_quantize_type(i));
    }
    return report_usage("quantize: there is no type '%.40s'; there are %s", type, names);
}

static bool known(const char *type) {
    for (size_t i = 0; facet_quantize_type(i); i++) {
        if (!strcasecmp(facet_quantize_type(i), type)) return true;
    }
    return false;
}

int cmd_quantize(const cli_options *o) {
    const char *in = o->arguments[0], *out = o->arguments[1], *type = o->arguments[2];
    facet_quantize_options options;
    facet_quantize_result result = {.size = sizeof result};
    facet_error error = {0};
    progress p;
    facet_quantize_options_defaults(&options);
    options.type = !strcasecmp(type, "copy") ? NULL : type;
    options.tensor_types = o->tensor_type.items;
    options.n_tensor_types = o->tensor_type.n;
    options.importance = o->imatrix;
    options.threads = (int)o->threads;
    options.on_progress = weights_progress;
    options.ctx = &p;
    weights_begin(&p, "quantising");
    facet_status status = facet_quantize(in, out, &options, &result, &error);
    progress_end(&p);
    if (status == FACET_ERROR_ARGUMENT && options.type && !known(type)) return report_type(type);
    if (status) return report_failure(&error, NULL);
    if (result.n_requantised) {
        fprintf(stderr, "facet: %zu tensors were quantised before: quantising them again costs accuracy\n",
                result.n_requantised);
    }
    fprintf(stderr, "%zu of %zu tensors changed, %.1f MB became %.1f MB\n", result.n_changed, result.n_tensors,
            (double)result.in_bytes / 1e6, (double)result.out_bytes / 1e6);
    return EXIT_OK;
}
