/* facet convert: a Hugging Face folder as a GGUF file. */
#include "app.h"
#include "commands.h"
#include "weights.h"

int cmd_convert(const cli_options *o) {
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
