/* facet convert: a Hugging Face folder as a GGUF file. */
#include "app.h"
#include "commands.h"
#include "terminal.h"

static bool on_progress(void *ctx, uint64_t done, uint64_t total) {
    progress_update(ctx, (size_t)(done >> 20), (size_t)(total >> 20));
    return !interrupt_seen();
}

int cmd_convert(const cli_options *o) {
    facet_convert_options options;
    facet_error error = {0};
    progress p;
    facet_convert_options_defaults(&options);
    options.type = o->type;
    options.tensor_types = o->tensor_type.items;
    options.n_tensor_types = o->tensor_type.n;
    options.threads = (int)o->threads;
    options.on_progress = on_progress;
    options.ctx = &p;
    progress_begin(&p, "converting", "MB");
    facet_status status = facet_convert(o->arguments[0], o->arguments[1], &options, &error);
    progress_end(&p);
    return status ? report_failure(&error, NULL) : EXIT_OK;
}
