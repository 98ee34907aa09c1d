/* facet tokenize and detokenize: text to ids and back, whole or line by line. */
#include "app.h"
#include "commands.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

static void print_ids(const int32_t *ids, size_t n, int32_t bos, bool json) {
    const char *separator = json ? "," : " ", *before = "";
    if (json) putchar('[');
    if (bos >= 0) {
        printf("%d", bos);
        before = separator;
    }
    for (size_t i = 0; i < n; i++) {
        printf("%s%d", before, ids[i]);
        before = separator;
    }
    puts(json ? "]" : "");
}

static int tokenize_text(app *a, const char *data, size_t n, bool json) {
    facet_error error = {0};
    int32_t *ids = NULL, bos = a->options->bos ? facet_token_bos(a->model) : -1;
    size_t n_ids = 0;
    if (a->options->bos && bos < 0) return report_error("the vocabulary has no BOS token, which --bos asks for");
    if (facet_tokenize(a->model, data, n, !a->options->no_special, &ids, &n_ids, &error))
        return report_failure(&error, NULL);
    print_ids(ids, n_ids, bos, json);
    facet_free(ids);
    return EXIT_OK;
}

static int tokenize_line(app *a, const char *line, size_t n, size_t number) {
    char why[200];
    size_t n_bytes = 0;
    facet_value *value = json_parse(line, n, why, sizeof why);
    if (!value) return report_error("line %zu: %s", number, why);
    int status;
    if (facet_value_typeof(value) != FACET_VALUE_STRING) {
        status = report_error("line %zu: not a JSON string", number);
    } else {
        const char *data = facet_value_text(value, &n_bytes);
        status = tokenize_text(a, data, n_bytes, true);
    }
    facet_value_free(value);
    return status;
}

/* The ids' text, as it is or as a JSON string. In JSON, what is not UTF-8 becomes U+FFFD. */
static int print_text(const char *data, size_t n, bool json) {
    if (!json) {
        fwrite(data, 1, n, stdout);
        return EXIT_OK;
    }
    text clean = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < n;) {
        size_t valid = cli_text_valid_utf8(data + i, n - i);
        ok = cli_text_append(&clean, data + i, valid);
        i += valid;
        if (i < n) {
            ok = ok && cli_text_append(&clean, "\xef\xbf\xbd", 3);
            i++;
        }
    }
    facet_value *value = ok ? facet_value_string(cli_text_get(&clean), clean.n) : NULL;
    char *out = value ? facet_value_to_json(value, NULL) : NULL;
    if (out) puts(out);
    int status = out ? EXIT_OK : report_no_memory();
    facet_free(out);
    facet_value_free(value);
    cli_text_free(&clean);
    return status;
}

/* `where`: put before a message, "line 3: " or "". */
static int detokenize_ids(app *a, const char *data, size_t n, bool json, const char *where) {
    facet_error error = {0};
    char why[160], *out = NULL;
    int32_t *ids;
    size_t n_ids, n_bytes = 0;
    if (!cli_text_parse_ids(data, n, a->info.n_vocab, &ids, &n_ids, why, sizeof why))
        return report_error("%s%s", where, why);
    int status;
    if (facet_detokenize(a->model, ids, n_ids, !a->options->no_special, &out, &n_bytes, &error))
        status = report_failure(&error, NULL);
    else
        status = print_text(out, n_bytes, json);
    facet_free(out);
    free(ids);
    return status;
}

static int detokenize_line(app *a, const char *line, size_t n, size_t number) {
    char where[40], why[200];
    snprintf(where, sizeof where, "line %zu: ", number);
    facet_value *value = json_parse(line, n, why, sizeof why);
    if (!value) return report_error("%s%s", where, why);
    bool is_array = facet_value_typeof(value) == FACET_VALUE_ARRAY;
    facet_value_free(value);
    if (!is_array) return report_error("%snot a JSON array of ids", where);
    return detokenize_ids(a, line, n, true, where);
}

/* Each line is answered before the next is read, so a program may talk to this one. */
static int each_line(app *a, int (*work)(app *, const char *, size_t, size_t)) {
    char *line = NULL;
    size_t capacity = 0, number = 0;
    int status = EXIT_OK;
    for (ssize_t n; !status && (n = getline(&line, &capacity, stdin)) >= 0;) {
        number++;
        if (n > 0 && line[n - 1] == '\n') n--;
        status = work(a, line, (size_t)n, number);
        if (!status && fflush(stdout)) status = report_write_error("the standard output");
    }
    free(line);
    if (!status && ferror(stdin)) status = report_error("cannot read the standard input");
    return status;
}

/* The arguments with spaces between, or the standard input. */
static int read_input(text *input, const cli_options *o) {
    if (!o->n_arguments) return app_read(input, NULL);
    for (size_t i = 0; i < o->n_arguments; i++) {
        const char *arg = o->arguments[i];
        if ((i && !cli_text_append(input, " ", 1)) || !cli_text_append(input, arg, strlen(arg)))
            return report_no_memory();
    }
    return EXIT_OK;
}

static int check_usage(const cli_options *o) {
    if (o->jsonl && o->n_arguments) return report_usage("--jsonl reads the standard input; it takes no argument");
    if (o->jsonl && o->json) return report_usage("--jsonl and --json can't go together");
    return EXIT_OK;
}

static int convert(const cli_options *o, int (*line)(app *, const char *, size_t, size_t), bool to_ids) {
    app a = {0};
    text input = {0};
    int status = check_usage(o);
    if (!status) status = app_open_model(&a, o, APP_VOCABULARY);
    if (!status && o->jsonl) {
        status = each_line(&a, line);
    } else if (!status) {
        status = read_input(&input, o);
        if (!status)
            status = to_ids ? tokenize_text(&a, cli_text_get(&input), input.n, o->json)
                            : detokenize_ids(&a, cli_text_get(&input), input.n, o->json, "");
    }
    cli_text_free(&input);
    app_close(&a);
    return status;
}

int cmd_tokenize(const cli_options *o) { return convert(o, tokenize_line, true); }
int cmd_detokenize(const cli_options *o) { return convert(o, detokenize_line, false); }
