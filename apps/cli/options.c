/* Parses the command line by the table in options.def. Owns: the table and cli_options. Numbers are read strictly:
 * the whole text, in range, and never NaN. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define C(name)    (1u << COMMAND_##name)
#define C_ANSWER   (C(run) | C(chat))
#define C_SAMPLING (C_ANSWER | C(serve) | C(batch))
#define C_ENGINE   (C_SAMPLING | C(info) | C(bench) | C(logits) | C(perplexity) | C(imatrix) | C(doctor))
#define C_MODEL    (C_ENGINE | C(tokenize) | C(detokenize) | C(render))
#define C_ALL      ((1u << N_COMMANDS) - 1)

const cli_command command_table[N_COMMANDS] = {
#define COMMAND(name, built, arguments, min, max, summary, description)                                              \
    {#name, built, arguments, min, max, summary, description},
#define OPTION(...)
#include "options.def"
};

const cli_option option_table[] = {
#define COMMAND(...)
#define OPTION(field, kind, short_name, name, value, initial, min, max, commands, help)                              \
    {offsetof(cli_options, field), OPTION_##kind, short_name, name, value, initial, min, max, commands, help},
#include "options.def"
};
const size_t n_options = sizeof option_table / sizeof option_table[0];

const cli_command *command_find(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (!strcmp(command_table[i].name, name)) return &command_table[i];
    return NULL;
}

const cli_option *option_find(command_id command, const char *name, size_t n_bytes) {
    for (size_t i = 0; i < n_options; i++) {
        const cli_option *o = &option_table[i];
        if (o->commands >> command & 1 && strlen(o->name) == n_bytes && !memcmp(o->name, name, n_bytes)) return o;
    }
    return NULL;
}

static const cli_option *find_short(command_id command, char name) {
    for (size_t i = 0; i < n_options; i++)
        if (option_table[i].commands >> command & 1 && option_table[i].short_name == name) return &option_table[i];
    return NULL;
}

static bool set_integer(const cli_option *what, int64_t *out, const char *text, char *why, size_t why_bytes) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    bool digits = (text[0] >= '0' && text[0] <= '9') || (text[0] == '-' && text[1] >= '0' && text[1] <= '9');
    if (!digits || *end || errno || (double)v < what->min || (double)v > what->max) {
        snprintf(why, why_bytes, "--%s: '%.60s' is not a whole number from %.0f to %.0f", what->name, text, what->min,
                 what->max);
        return false;
    }
    *out = v;
    return true;
}

static bool set_number(const cli_option *what, double *out, const char *text, char *why, size_t why_bytes) {
    char *end;
    double v = strtod(text, &end);
    bool begins = strchr("0123456789.-", text[0]) && text[0];
    if (!begins || *end || isnan(v) || v < what->min || v > what->max) {
        snprintf(why, why_bytes, "--%s: '%.60s' is not a number from %g to %g", what->name, text, what->min,
                 what->max);
        return false;
    }
    *out = v;
    return true;
}

static bool set_seed(const cli_option *what, option_seed *out, const char *text, char *why, size_t why_bytes) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno) {
        snprintf(why, why_bytes, "--%s: '%.60s' is not a whole number from 0 to 18446744073709551615", what->name,
                 text);
        return false;
    }
    *out = (option_seed){true, v};
    return true;
}

static bool set_choice(const cli_option *what, int *out, const char *text, char *why, size_t why_bytes) {
    int index = 0;
    for (const char *word = what->value; word; index++) {
        size_t n = strcspn(word, "|");
        if (strlen(text) == n && !memcmp(word, text, n)) {
            *out = index;
            return true;
        }
        word = word[n] ? word + n + 1 : NULL;
    }
    snprintf(why, why_bytes, "--%s: '%.60s' is not one of %s", what->name, text, what->value);
    return false;
}

static bool add_item(option_list *list, const char *text, char *why, size_t why_bytes) {
    const char **items = realloc(list->items, (list->n + 1) * sizeof *items);
    if (!items) {
        snprintf(why, why_bytes, "out of memory");
        return false;
    }
    items[list->n++] = text;
    list->items = items;
    return true;
}

bool cli_options_set(cli_options *o, const cli_option *what, const char *text, char *why, size_t why_bytes) {
    void *field = (char *)o + what->offset;
    switch (what->kind) {
    case OPTION_FLAG: *(bool *)field = true; return true;
    case OPTION_INTEGER: return set_integer(what, field, text, why, why_bytes);
    case OPTION_NUMBER: return set_number(what, field, text, why, why_bytes);
    case OPTION_SEED: return set_seed(what, field, text, why, why_bytes);
    case OPTION_CHOICE: return set_choice(what, field, text, why, why_bytes);
    case OPTION_TEXT: *(const char **)field = text; return true;
    case OPTION_LIST: return add_item(field, text, why, why_bytes);
    case OPTION_UNBUILT: snprintf(why, why_bytes, "--%s is not built yet", what->name); return false;
    }
    return false;
}

static bool set_initials(cli_options *o, char *why, size_t why_bytes) {
    for (size_t i = 0; i < n_options; i++) {
        const cli_option *what = &option_table[i];
        if (what->initial[0] && what->commands >> o->command & 1 &&
            !cli_options_set(o, what, what->initial, why, why_bytes))
            return false;
    }
    return true;
}

/* One option at argv[*i], with its value there or in the next argument. */
static bool parse_option(cli_options *o, int argc, char **argv, int *i, char *why, size_t why_bytes) {
    const char *arg = argv[*i], *value = NULL, *command = command_table[o->command].name;
    const cli_option *what;
    if (strcmp(arg, "-ngl") == 0) arg = "--ngl"; /* as other programs spell it */
    if (arg[1] == '-') {
        size_t n = strcspn(arg + 2, "=");
        what = option_find(o->command, arg + 2, n);
        if (arg[2 + n]) value = arg + 2 + n + 1;
    } else {
        what = find_short(o->command, arg[1]);
        if (arg[2]) value = arg + 2;
    }
    if (!what) {
        snprintf(why, why_bytes, "unknown option '%.80s'; 'facet help %s' lists what there is", arg, command);
        return false;
    }
    if (what->kind == OPTION_FLAG && value) {
        snprintf(why, why_bytes, "--%s takes no value", what->name);
        return false;
    }
    if (what->kind != OPTION_FLAG && what->kind != OPTION_UNBUILT && !value) {
        if (*i + 1 >= argc) {
            snprintf(why, why_bytes, "--%s needs a value: %s", what->name, what->value);
            return false;
        }
        value = argv[++*i];
    }
    return cli_options_set(o, what, value, why, why_bytes);
}

static bool parse_arguments(cli_options *o, int argc, char **argv, char *why, size_t why_bytes) {
    bool only_arguments = false;
    for (int i = 2; i < argc; i++) {
        const char *arg = argv[i];
        if (!only_arguments && !strcmp(arg, "--")) {
            only_arguments = true;
        } else if (!only_arguments && arg[0] == '-' && arg[1]) {
            if (!parse_option(o, argc, argv, &i, why, why_bytes)) return false;
        } else {
            o->arguments[o->n_arguments++] = arg;
        }
    }
    return true;
}

static bool check_arguments(const cli_options *o, char *why, size_t why_bytes) {
    const cli_command *c = &command_table[o->command];
    if (o->help) return true;
    if (o->n_arguments < (size_t)c->min_arguments) {
        snprintf(why, why_bytes, "%s needs %s", c->name, c->arguments);
        return false;
    }
    if (c->max_arguments >= 0 && o->n_arguments > (size_t)c->max_arguments) {
        const char *extra = o->arguments[c->max_arguments];
        snprintf(why, why_bytes, "%s: '%.60s' is one argument too many; put text with spaces in quotes", c->name,
                 extra);
        return false;
    }
    return true;
}

static bool parse_command(cli_options *o, const char *name, char *why, size_t why_bytes) {
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) name = "help";
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) name = "version";
    const cli_command *c = command_find(name);
    if (!c) {
        snprintf(why, why_bytes, "unknown command '%.60s'; 'facet help' lists them", name);
        return false;
    }
    if (!c->built) {
        snprintf(why, why_bytes, "'%s' is not built yet", c->name);
        return false;
    }
    o->command = (command_id)(c - command_table);
    return true;
}

bool cli_options_parse(cli_options *o, int argc, char **argv, char *why, size_t why_bytes) {
    *o = (cli_options){0};
    if (argc < 2) {
        snprintf(why, why_bytes, "no command given; 'facet help' lists them");
        return false;
    }
    o->arguments = calloc((size_t)argc, sizeof *o->arguments);
    if (!o->arguments) {
        snprintf(why, why_bytes, "out of memory");
        return false;
    }
    return parse_command(o, argv[1], why, why_bytes) && set_initials(o, why, why_bytes) &&
           parse_arguments(o, argc, argv, why, why_bytes) && check_arguments(o, why, why_bytes);
}

void cli_options_free(cli_options *o) {
    free(o->arguments);
    free(o->logit_bias.items);
    free(o->tensor_type.items);
    free(o->stop.items);
    free(o->adapters.items);
    free(o->api_key.items);
    free(o->cors.items);
    *o = (cli_options){0};
}
