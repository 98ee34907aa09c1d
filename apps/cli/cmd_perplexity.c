/* facet perplexity: how well the model predicts a text, and how far it is from saved logits.
 *
 * The text is cut into windows of n tokens, the first of which is BOS. Scored are the tokens from position n/2 on, of
 * a shorter text all but BOS. perplexity = exp(mean of -ln p); its error is perplexity * standard error of that mean.
 * KL(base || model) = sum p_base ln(p_base / p_model), its mean with standard error. */
#include "app.h"
#include "commands.h"
#include "terminal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct average {
    double sum, squares;
    size_t n;
} average;

typedef struct study {
    app a;
    const int32_t *window; /* BOS and text */
    size_t n, first;       /* tokens of the window; the first position whose logits are scored */
    size_t done, total;    /* scored so far and in all */
    average surprise, divergence;
    size_t same_top;
    FILE *base; /* NULL: not asked for */
    float *base_row;
    bool base_short;
    app_output save;
    bool saving;
    progress line;
} study;

static void average_add(average *a, double x) {
    a->sum += x;
    a->squares += x * x;
    a->n++;
}
static double average_mean(const average *a) { return a->sum / (double)a->n; }
static double average_error(const average *a) {
    if (a->n < 2) return 0;
    double mean = average_mean(a), variance = (a->squares - (double)a->n * mean * mean) / (double)(a->n - 1);
    return variance > 0 ? sqrt(variance / (double)a->n) : 0;
}

/* ln of the sum of exp */
static double log_sum(const float *logits, size_t n, size_t *top) {
    *top = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[*top]) *top = i;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - (double)logits[*top]);
    return (double)logits[*top] + log(sum);
}

static bool compare_row(study *s, const float *logits, size_t n_vocab, double log_z, size_t top) {
    size_t base_top;
    if (fread(s->base_row, sizeof *s->base_row, n_vocab, s->base) != n_vocab) {
        s->base_short = true;
        return false;
    }
    double base_z = log_sum(s->base_row, n_vocab, &base_top), divergence = 0;
    for (size_t i = 0; i < n_vocab; i++) {
        double base = (double)s->base_row[i] - base_z, mine = (double)logits[i] - log_z;
        if (base > -700) divergence += exp(base) * (base - mine);
    }
    average_add(&s->divergence, divergence);
    s->same_top += base_top == top;
    return true;
}

static bool on_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    study *s = ctx;
    if (row < s->first || row + 1 >= s->n) return true; /* the last position predicts what is in no window */
    size_t top;
    double log_z = log_sum(logits, n_vocab, &top);
    average_add(&s->surprise, log_z - (double)logits[s->window[row + 1]]);
    if (s->base && !compare_row(s, logits, n_vocab, log_z, top)) return false;
    if (s->saving && !app_output_write(&s->save, logits, n_vocab * sizeof *logits)) return false;
    progress_update(&s->line, ++s->done, s->total);
    return true;
}

static int score_window(study *s) {
    facet_error error = {0};
    facet_status failed = facet_session_score(s->a.session, s->window, s->n, s->first, on_row, s, &error);
    if (s->base_short) return report_error("%s: not the logits of this text and window", s->a.options->kl_base);
    if (s->save.error.status) return EXIT_ERROR; /* app_output_finish tells */
    return failed ? report_failure(&error, NULL) : EXIT_OK;
}

static int score_text(study *s, const int32_t *ids, size_t n_ids, size_t window) {
    int32_t *tokens = malloc(window * sizeof *tokens);
    int status = tokens ? EXIT_OK : report_no_memory();
    size_t per_window = window - 1, n_windows = n_ids < per_window ? 1 : n_ids / per_window;
    bool is_short = n_ids < per_window;
    s->window = tokens;
    s->n = is_short ? n_ids + 1 : window;
    s->first = is_short ? 0 : window / 2 - 1;
    s->total = n_windows * (s->n - 1 - s->first);
    progress_begin(&s->line, "scoring", "tokens");
    for (size_t i = 0; !status && i < n_windows; i++) {
        tokens[0] = facet_token_bos(s->a.model);
        memcpy(tokens + 1, ids + i * per_window, (s->n - 1) * sizeof *tokens);
        status = score_window(s);
    }
    progress_end(&s->line);
    s->window = NULL;
    free(tokens);
    return status;
}

static int open_files(study *s) {
    const cli_options *o = s->a.options;
    if (o->kl_base) {
        s->base = fopen(o->kl_base, "rb");
        if (!s->base) return report_error("cannot read %s: %s", o->kl_base, strerror(errno));
        s->base_row = malloc((size_t)s->a.info.n_vocab * sizeof *s->base_row);
        if (!s->base_row) return report_no_memory();
    }
    int status = o->save_logits ? app_output_open(&s->save, o->save_logits) : EXIT_OK;
    s->saving = o->save_logits && !status;
    return status;
}

static void print_result(const study *s) {
    double perplexity = exp(average_mean(&s->surprise));
    printf("perplexity: %.4f +- %.4f over %zu tokens\n", perplexity, perplexity * average_error(&s->surprise),
           s->surprise.n);
    if (!s->base) return;
    printf("KL divergence: %.6g +- %.2g\n", average_mean(&s->divergence), average_error(&s->divergence));
    printf("same top token: %.2f%%\n", 100.0 * (double)s->same_top / (double)s->divergence.n);
}

static int study_text(study *s, const text *input) {
    facet_error error = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    if (facet_tokenize(s->a.model, cli_text_get(input), input->n, false, &ids, &n, &error))
        return report_failure(&error, NULL);
    int status = n ? EXIT_OK : report_error("%s: the file is empty", s->a.options->arguments[0]);
    if (!status) status = open_files(s);
    if (!status) status = score_text(s, ids, n, (size_t)s->a.options->context);
    if (!status && s->base && fgetc(s->base) != EOF)
        status = report_error("%s: not the logits of this text and window", s->a.options->kl_base);
    if (s->saving) status = app_output_finish(&s->save, status);
    if (!status) print_result(s);
    facet_free(ids);
    return status;
}

int cmd_perplexity(const cli_options *o) {
    study s = {0};
    text input = {0};
    if (o->save_logits && !strcmp(o->save_logits, "-"))
        return report_usage("--save-logits: the standard output holds the result; name a file");
    int status = app_read(&input, o->arguments[0]);
    if (!status) status = app_open_session(&s.a, o, o->context);
    if (!status && facet_token_bos(s.a.model) < 0) status = report_error("the vocabulary has no BOS token");
    if (!status) status = study_text(&s, &input);
    if (s.base) fclose(s.base);
    free(s.base_row);
    cli_text_free(&input);
    app_close(&s.a);
    return status;
}
