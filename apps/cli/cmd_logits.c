/* facet logits: rows of logits for a list of ids. */
#include "app.h"
#include "commands.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the output is little-endian; write the conversion for this machine"
#endif

typedef struct sink {
    app_output out;
    size_t total;
    progress line;
} sink;

static bool on_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    sink *s = ctx;
    progress_update(&s->line, row + 1, s->total);
    return app_output_write(&s->out, logits, n_vocab * sizeof *logits);
}

static int score(app *a, const int32_t *ids, size_t n, const char *path) {
    facet_error error = {0};
    sink s = {.total = n};
    int status = app_output_open(&s.out, path);
    if (status) return status;
    progress_begin(&s.line, "computing", "tokens");
    facet_status failed = facet_session_score(a->session, ids, n, 0, on_row, &s, &error);
    progress_end(&s.line);
    /* When the output failed, that is the reason, and app_output_finish tells it. */
    bool output_failed = s.out.error.status || ferror(stdout);
    if (failed) status = output_failed ? EXIT_ERROR : report_failure(&error, NULL);
    return app_output_finish(&s.out, status);
}

static int read_ids(const app *a, const char *path, int32_t **ids, size_t *n) {
    text file = {0};
    char why[160];
    int status = app_read(&file, path);
    const char *name = strcmp(path, "-") ? path : "the standard input";
    if (!status && !cli_text_parse_ids(cli_text_get(&file), file.n, a->info.n_vocab, ids, n, why, sizeof why))
        status = report_error("%s: %s", name, why);
    if (!status && !*n) status = report_error("%s: no ids", name);
    cli_text_free(&file);
    return status;
}

int cmd_logits(const cli_options *o) {
    app a = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    if (!o->ids) return report_usage("logits needs --ids FILE");
    if (!o->output) return report_usage("logits needs -o FILE");
    int status = app_open_model(&a, o, APP_WEIGHTS);
    if (!status) status = read_ids(&a, o->ids, &ids, &n);
    if (!status && n > INT32_MAX) status = report_error("%s: more ids than a context can hold", o->ids);
    if (!status) status = app_new_engine(&a, (int64_t)n);
    if (!status) status = score(&a, ids, n, o->output);
    free(ids);
    app_close(&a);
    return status;
}
