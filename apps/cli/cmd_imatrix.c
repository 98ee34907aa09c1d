/* facet imatrix: the importance of every matrix's columns over a text, for quantize --imatrix. The text is read in
 * windows of -c tokens that start with BOS, each for itself. */
#include "app.h"
#include "commands.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

typedef struct collection {
    app a;
    facet_importance *importance;
    progress line;
} collection;

static int read_window(collection *c, const int32_t *window, size_t n) {
    facet_error error = {0};
    facet_status failed = facet_importance_add(c->importance, c->a.session, window, n, &error);
    return failed ? report_failure(&error, NULL) : EXIT_OK;
}

static int read_windows(collection *c, const int32_t *ids, size_t n_ids, size_t window) {
    int32_t *tokens = malloc(window * sizeof *tokens);
    int status = tokens ? EXIT_OK : report_no_memory();
    size_t per_window = window - 1, n_windows = (n_ids + per_window - 1) / per_window;
    progress_begin(&c->line, "reading", "tokens");
    for (size_t i = 0; !status && i < n_windows; i++) {
        size_t begin = i * per_window, n = n_ids - begin < per_window ? n_ids - begin : per_window;
        tokens[0] = facet_token_bos(c->a.model);
        memcpy(tokens + 1, ids + begin, n * sizeof *tokens);
        status = read_window(c, tokens, n + 1);
        progress_update(&c->line, begin + n, n_ids);
    }
    progress_end(&c->line);
    free(tokens);
    if (!status) fprintf(stderr, "%zu tokens in %zu windows\n", n_ids, n_windows);
    return status;
}

static int collect(collection *c, const text *input) {
    const cli_options *o = c->a.options;
    facet_error error = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    if (facet_tokenize(c->a.model, cli_text_get(input), input->n, o->special, &ids, &n, &error))
        return report_failure(&error, NULL);
    int status = n ? EXIT_OK : report_error("%s: the file is empty", o->file);
    if (!status && facet_importance_new(&c->importance, c->a.engine, &error)) status = report_failure(&error, NULL);
    if (!status) status = read_windows(c, ids, n, (size_t)o->context);
    if (!status && facet_importance_write(c->importance, o->output, o->file, &error))
        status = report_failure(&error, NULL);
    facet_importance_free(c->importance);
    facet_free(ids);
    return status;
}

int cmd_imatrix(const cli_options *o) {
    collection c = {0};
    text input = {0};
    if (!o->file) return report_usage("imatrix needs -f TEXT");
    if (!o->output) return report_usage("imatrix needs -o FILE");
    int status = app_read(&input, o->file);
    if (!status) status = app_open_session(&c.a, o, o->context);
    if (!status && facet_token_bos(c.a.model) < 0) status = report_error("the vocabulary has no BOS token");
    if (!status) status = collect(&c, &input);
    cli_text_free(&input);
    app_close(&c.a);
    return status;
}
