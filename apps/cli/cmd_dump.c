/* facet dump: one tensor as float32. */
#include "commands.h"
#include "inspect.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the output is little-endian; write the conversion for this machine"
#endif

static bool on_floats(void *ctx, const float *x, size_t n) { return app_output_write(ctx, x, n * sizeof *x); }

static int dump(const facet_gguf *gguf, size_t tensor, const char *path) {
    facet_error error = {0};
    app_output out;
    int status = app_output_open(&out, path);
    if (status) return status;
    facet_status failed = facet_gguf_read_floats(gguf, tensor, on_floats, &out, &error);
    if (failed == FACET_ERROR_CANCELLED)
        status = EXIT_ERROR; /* the output failed, app_output_finish tells */
    else if (failed)
        status = report_failure(&error, NULL);
    return app_output_finish(&out, status);
}

int cmd_dump(const cli_options *o) {
    facet_gguf *gguf = NULL;
    size_t tensor;
    const char *file = o->arguments[0], *name = o->arguments[1];
    if (!o->output) return report_usage("dump needs -o FILE");
    int status = inspect_open(&gguf, file, false);
    if (!status && !facet_gguf_find_tensor(gguf, name, &tensor))
        status = report_error("%s: there is no tensor '%s'; 'facet info' lists them", file, name);
    if (!status) status = dump(gguf, tensor, o->output);
    facet_gguf_free(gguf);
    return status;
}
