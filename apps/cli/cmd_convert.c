/* facet convert: a Hugging Face folder as a GGUF file, and its tensors back again. */
#include "app.h"
#include "commands.h"
#include "weights.h"

static int to_gguf(const cli_options *o) {
    facet_convert_options options;
    facet_error error = {0};
    progress p;
    facet_convert_options_defaults(&options);
    options.type = o->type;
    options.tensor_types = o->tensor_type.items;
    options.n_tensor_types = o->tensor_type.n;
    options.threads = (int)o->threads;
    options.on_progress = weights_progress;
    options.ctx = &p;
    weights_begin(&p, "converting");
    facet_status status = facet_convert(o->arguments[0], o->arguments[1], &options, &error);
    progress_end(&p);
    return status ? report_failure(&error, NULL) : EXIT_OK;
}

static int to_safetensors(const cli_options *o) {
    facet_to_safetensors_options options;
    facet_error error = {0};
    size_t n_files = 0;
    progress p;
    if (o->tensor_type.n) return report_usage("--tensor-type: not with --to-safetensors");
    facet_to_safetensors_options_defaults(&options);
    options.type = o->type;
    options.threads = (int)o->threads;
    options.on_progress = weights_progress;
    options.ctx = &p;
    weights_begin(&p, "converting");
    facet_status status = facet_to_safetensors(o->arguments[0], o->arguments[1], &options, &n_files, &error);
    progress_end(&p);
    if (status) return report_failure(&error, NULL);
    fprintf(stderr, "%zu file%s of tensors\n", n_files, n_files == 1 ? "" : "s");
    return EXIT_OK;
}

int cmd_convert(const cli_options *o) { return o->to_safetensors ? to_safetensors(o) : to_gguf(o); }
