/* Opening things by the options: see app.h. */
#include "app.h"
#include "embedded.h"
#include "terminal.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const char *app_model_name(const cli_options *o) { return o->model ? o->model : "the built-in model"; }

int report_no_memory(void) { return report_error("out of memory"); }

static int open_embedded(app *a, const facet_model_options *options) {
    facet_error error = {0};
    size_t n = (size_t)(embedded_model_end - embedded_model);
    fputs("facet: no -m FILE given, using the built-in demonstration model\n", stderr);
    if (facet_model_open_memory(&a->model, embedded_model, n, NULL, NULL, options, &error))
        return report_failure(&error, app_model_name(a->options));
    return EXIT_OK;
}

int app_open_model(app *a, const cli_options *o, app_model_kind kind) {
    facet_error error = {0};
    facet_model_options options;
    *a = (app){.options = o, .info = {.size = sizeof a->info}};
    facet_model_options_defaults(&options);
    options.vocabulary_only = kind == APP_VOCABULARY;
    options.use_mmap = !o->no_mmap;
    options.lock_memory = o->mlock;
    options.log = report_warning;
    int status = EXIT_OK;
    if (!o->model)
        status = open_embedded(a, &options);
    else if (remote_is_url(o->model))
        status = options.vocabulary_only ? remote_open_front(&a->model, o, &options)
                                         : remote_open(&a->remote, &a->model, o, &options);
    else if (facet_model_open(&a->model, o->model, &options, &error))
        status = report_failure(&error, o->model);
    if (status) return status;
    facet_model_get_info(a->model, &a->info);
    return EXIT_OK;
}

void app_engine_options(app *a, int64_t context, facet_engine_options *out) {
    const cli_options *o = a->options;
    facet_engine_options_defaults(out);
    out->n_threads = (int32_t)o->threads;
    out->max_context = (int32_t)(o->context ? o->context : context);
    out->kv_type = (facet_kv_type)o->kv;
    out->log = report_warning;
    devices_options(o, a->kernel_cache, out);
}

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c | 0x20) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The mask's last digit is processors 0 to 3. */
int app_set_processors(const char *mask) {
    const char *digits = mask[0] == '0' && (mask[1] | 0x20) == 'x' ? mask + 2 : mask;
    size_t n = strlen(digits);
    cpu_set_t set;
    CPU_ZERO(&set);
    bool valid = n > 0 && n <= CPU_SETSIZE / 4;
    for (size_t i = 0; valid && i < n; i++) {
        int digit = hex_digit(digits[n - 1 - i]);
        valid = digit >= 0;
        for (size_t bit = 0; valid && bit < 4; bit++)
            if (digit >> bit & 1) CPU_SET(4 * i + bit, &set);
    }
    if (!valid || !CPU_COUNT(&set))
        return report_usage("--cpu: '%.60s' is not a hexadecimal mask with a bit set, such as 0x3", mask);
    if (sched_setaffinity(0, sizeof set, &set))
        return report_usage("--cpu: none of the processors of '%.60s' can be used: %s", mask, strerror(errno));
    return EXIT_OK;
}

int app_open_adapters(app *a) {
    int status = EXIT_OK;
    for (size_t i = 0; !status && i < a->options->adapters.n; i++)
        status = adapters_add(a, a->options->adapters.items[i]);
    return status;
}

int app_new_engine(app *a, int64_t context) {
    facet_error error = {0};
    facet_engine_options options;
    int adapted = app_open_adapters(a);
    if (adapted) return adapted;
    app_engine_options(a, context, &options);
    if (a->options->cpu) {
        int status = app_set_processors(a->options->cpu);
        if (status) return status;
    }
    if (facet_engine_new(&a->engine, a->model, &options, &error))
        return report_failure(&error, app_model_name(a->options));
    return app_new_session(a);
}

int app_new_session(app *a) {
    facet_error error = {0};
    interrupt_watch(NULL);
    facet_session_free(a->session);
    facet_session_options options;
    facet_session_options_defaults(&options);
    options.share_prefix = !a->unshared;
    if (facet_session_new(&a->session, a->engine, &options, &error)) return report_failure(&error, NULL);
    interrupt_watch(a->session);
    return adapters_wear(a);
}

int app_open_session(app *a, const cli_options *o, int64_t context) {
    int status = app_open_model(a, o, APP_WEIGHTS);
    return status ? status : app_new_engine(a, context);
}

void app_close(app *a) {
    interrupt_watch(NULL);
    facet_session_free(a->session);
    adapters_clear(&a->adapters);
    facet_engine_free(a->engine);
    facet_model_free(a->model);
    remote_close(a->remote);
    *a = (app){0};
}

/* "ID:BIAS" */
static int parse_bias(const char *item, int32_t n_vocab, facet_logit_bias *out) {
    char *end;
    errno = 0;
    long id = strtol(item, &end, 10);
    bool has_id = item[0] >= '0' && item[0] <= '9' && *end == ':' && !errno;
    const char *number = has_id ? end + 1 : "";
    float bias = strtof(number, &end);
    if (!number[0] || *end || isnan(bias) || strchr(" \t\n", number[0]))
        return report_usage("--logit-bias: '%.60s' is not a token id, a colon and a number", item);
    if (id >= n_vocab)
        return report_usage("--logit-bias: there is no token %ld; the vocabulary ends at %d", id, n_vocab - 1);
    if (bias == INFINITY) return report_usage("--logit-bias: '%.60s': a bias of infinity is not possible", item);
    *out = (facet_logit_bias){(int32_t)id, bias};
    return EXIT_OK;
}

/* \n \r \t \\ are understood; other backslashes stay. */
static char *unescape(const char *s) {
    char *out = malloc(strlen(s) + 1), *to = out;
    if (!out) return NULL;
    for (; *s; s++) {
        const char *known = "n\nr\rt\t\\\\", *at = NULL;
        for (size_t i = 0; *s == '\\' && known[i]; i += 2)
            if (s[1] == known[i]) at = &known[i + 1];
        *to++ = at ? *at : *s;
        if (at) s++;
    }
    *to = '\0';
    return out;
}

static int setup_stop(generation_setup *g, const option_list *stop) {
    if (!stop->n) return EXIT_OK;
    g->stop = calloc(stop->n, sizeof *g->stop);
    if (!g->stop) return report_no_memory();
    for (size_t i = 0; i < stop->n; i++) {
        if (!stop->items[i][0]) return report_usage("--stop: the text is empty");
        if (cli_text_valid_utf8(stop->items[i], strlen(stop->items[i])) != strlen(stop->items[i]))
            return report_usage("--stop: the text is not valid UTF-8");
        g->stop[i] = unescape(stop->items[i]);
        if (!g->stop[i]) return report_no_memory();
        g->generation.n_stop++;
    }
    g->generation.stop = (const char *const *)g->stop;
    return EXIT_OK;
}

static int setup_bias(generation_setup *g, const option_list *list, int32_t n_vocab) {
    if (!list->n) return EXIT_OK;
    g->bias = calloc(list->n, sizeof *g->bias);
    if (!g->bias) return report_no_memory();
    for (size_t i = 0; i < list->n; i++) {
        int status = parse_bias(list->items[i], n_vocab, &g->bias[i]);
        if (status) return status;
    }
    g->generation.sampling.bias = g->bias;
    g->generation.sampling.n_bias = list->n;
    return EXIT_OK;
}

int generation_seed(const cli_options *o, uint64_t *seed) {
    *seed = o->seed.value;
    if (o->seed.given) return EXIT_OK;
    if (getrandom(seed, sizeof *seed, 0) != (ssize_t)sizeof *seed)
        return report_error("the system gave no random seed; give one with --seed");
    return EXIT_OK;
}

void app_sampling(facet_sampling *s, const cli_options *o) {
    s->temperature = (float)o->temperature;
    s->top_k = (int32_t)o->top_k;
    s->top_p = (float)o->top_p;
    s->min_p = (float)o->min_p;
    s->repeat_penalty = (float)o->repeat_penalty;
    s->presence_penalty = (float)o->presence_penalty;
    s->frequency_penalty = (float)o->frequency_penalty;
}

int generation_setup_init(generation_setup *g, const app *a) {
    const cli_options *o = a->options;
    *g = (generation_setup){0};
    facet_generation_defaults(&g->generation);
    g->generation.max_tokens = (int32_t)o->max_tokens;
    g->generation.speculation = (facet_speculation)o->speculate;
    app_sampling(&g->generation.sampling, o);
    int status = generation_seed(o, &g->generation.sampling.seed);
    if (!status) status = setup_stop(g, &o->stop);
    if (!status) status = setup_bias(g, &o->logit_bias, a->info.n_vocab);
    return status;
}

void generation_setup_free(generation_setup *g) {
    for (size_t i = 0; i < g->generation.n_stop; i++) free(g->stop[i]);
    free(g->stop);
    free(g->bias);
    *g = (generation_setup){0};
}
