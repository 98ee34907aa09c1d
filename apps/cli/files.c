/* Input and output files of the commands. A write that fails is told, also when the system reports it late. */
#include "app.h"

#include <errno.h>
#include <string.h>

static int report_read_error(const char *path) { return report_error("cannot read %s: %s", path, strerror(errno)); }

int report_write_error(const char *path) { return report_error("cannot write %s: %s", path, strerror(errno)); }

int app_read(text *t, const char *path) {
    bool is_stdin = !path || !strcmp(path, "-");
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    const char *name = is_stdin ? "the standard input" : path;
    if (!file) return report_read_error(name);
    bool ok = cli_text_read(t, file);
    int status = ok ? EXIT_OK : report_read_error(name);
    if (!is_stdin) fclose(file);
    return status;
}

int app_output_open(app_output *out, const char *path) {
    *out = (app_output){.path = path};
    if (!strcmp(path, "-")) return EXIT_OK;
    if (facet_output_open(&out->file, path, &out->error)) return report_failure(&out->error, path);
    return EXIT_OK;
}

bool app_output_write(app_output *out, const void *data, size_t n) {
    if (out->error.status) return false;
    if (!out->file) return fwrite(data, 1, n, stdout) == n; /* told by app_finish_stdout */
    return !facet_output_write(out->file, data, n, &out->error);
}

int app_output_finish(app_output *out, int status) {
    if (!out->file) return ferror(stdout) ? report_write_error("the standard output") : app_finish_stdout(status);
    if (out->error.status) status = report_failure(&out->error, out->path);
    if (status)
        facet_output_discard(out->file);
    else if (facet_output_commit(out->file, &out->error))
        status = report_failure(&out->error, out->path);
    out->file = NULL;
    return status;
}

int app_finish_stdout(int status) {
    bool failed = ferror(stdout) || fflush(stdout);
    if (failed && !status) status = report_write_error("the standard output");
    return status;
}
