/* The commands of facet chat, by one table. */
#include "chat.h"
#include "json.h"
#include "value.h"

#include <stdlib.h>
#include <string.h>

static int help(chat_state *c, const char *argument);

static int set_system(chat_state *c, const char *argument) {
    if (cli_text_valid_utf8(argument, strlen(argument)) < strlen(argument))
        return report_error("the system message is not valid UTF-8");
    return chat_history_set_system(&c->history, argument) ? EXIT_OK : report_no_memory();
}

static int reset(chat_state *c, const char *argument) {
    (void)argument;
    chat_history_truncate(&c->history, chat_history_has_system(&c->history));
    return EXIT_OK;
}

static int retry(chat_state *c, const char *argument) {
    size_t last = chat_history_last_user(&c->history);
    (void)argument;
    if (last == c->history.n) return report_error("/retry: there is no message yet");
    chat_history_truncate(&c->history, last + 1);
    c->retry++;
    int status = chat_answer(c);
    if (c->history.n == last + 1) chat_history_truncate(&c->history, last);
    return status;
}

static int undo(chat_state *c, const char *argument) {
    size_t last = chat_history_last_user(&c->history);
    (void)argument;
    if (last == c->history.n) return report_error("/undo: there is no message yet");
    chat_history_truncate(&c->history, last);
    return EXIT_OK;
}

static int save(chat_state *c, const char *argument) {
    if (!argument[0]) return report_error("/save needs a file name");
    facet_value *request = facet_value_object();
    char *json = cli_value_set(request, "messages", chat_history_copy(&c->history))
                     ? facet_value_to_json(request, NULL)
                     : NULL;
    int status = json ? EXIT_OK : report_no_memory();
    app_output out;
    if (!status && !(status = app_output_open(&out, argument))) {
        bool ok = app_output_write(&out, json, strlen(json)) && app_output_write(&out, "\n", 1);
        status = app_output_finish(&out, ok ? EXIT_OK : EXIT_ERROR);
    }
    facet_free(json);
    facet_value_free(request);
    return status;
}

/* The chat is replaced only when the model's format takes all the messages. */
static int take_messages(chat_state *c, const facet_value *messages, const char *path) {
    facet_error error = {0};
    facet_chat chat;
    facet_prompt *prompt = NULL;
    facet_chat_defaults(&chat);
    chat.messages = messages;
    if (facet_chat_render(c->a.model, &chat, &prompt, &error)) return report_failure(&error, path);
    facet_prompt_free(prompt);
    chat_history loaded = {0};
    for (size_t i = 0; i < facet_value_count(messages); i++) {
        if (!chat_history_push(&loaded, cli_value_copy(facet_value_at(messages, i)))) {
            chat_history_free(&loaded);
            return report_no_memory();
        }
    }
    chat_history_free(&c->history);
    c->history = loaded;
    return EXIT_OK;
}

static int load(chat_state *c, const char *argument) {
    text file = {0};
    char why[200];
    if (!argument[0]) return report_error("/load needs a file name");
    int status = app_read(&file, argument);
    if (!status) {
        facet_value *request = json_parse_request(cli_text_get(&file), file.n, why, sizeof why);
        const facet_value *messages = facet_value_get(request, "messages");
        if (!request)
            status = report_error("%s: %s", argument, why);
        else if (facet_value_typeof(messages) != FACET_VALUE_ARRAY)
            status = report_error("%s: no array named messages", argument);
        else
            status = take_messages(c, messages, argument);
        facet_value_free(request);
    }
    cli_text_free(&file);
    return status;
}

/* The history stays; the next answer reads it anew with the adapters that are on then. */
static int adapter(chat_state *c, const char *argument) {
    const app_adapters *list = &c->a.adapters;
    int status = EXIT_OK;
    if (!strcmp(argument, "off"))
        adapters_clear(&c->a.adapters);
    else if (argument[0])
        status = adapters_add(&c->a, argument);
    if (!status && argument[0]) return adapters_wear(&c->a);
    if (!status && list->n == 0) fputs("  no adapter is on\n", stderr);
    for (size_t i = 0; !status && i < list->n; i++)
        fprintf(stderr, "  %s, scale %g\n", list->items[i].path, (double)list->items[i].scale);
    return status;
}

/* What /set may change: options of the answer alone that hold one value. */
static bool is_setting(const cli_option *o) {
    uint32_t answer_only = 1u << COMMAND_run | 1u << COMMAND_chat;
    bool one_value =
        o->kind == OPTION_INTEGER || o->kind == OPTION_NUMBER || o->kind == OPTION_SEED || o->kind == OPTION_FLAG;
    return (o->commands & ~(1u << COMMAND_serve | 1u << COMMAND_batch)) == answer_only && one_value;
}

static void print_setting(const chat_state *c, const cli_option *o) {
    const void *field = (const char *)&c->settings + o->offset;
    fprintf(stderr, "  %-18s ", o->name);
    switch (o->kind) {
    case OPTION_INTEGER: fprintf(stderr, "%lld\n", (long long)*(const int64_t *)field); break;
    case OPTION_NUMBER: fprintf(stderr, "%g\n", *(const double *)field); break;
    case OPTION_FLAG: fprintf(stderr, "%s\n", *(const bool *)field ? "on" : "off"); break;
    default: fprintf(stderr, "%llu\n", (unsigned long long)c->setup.generation.sampling.seed); break;
    }
}

static int change(chat_state *c, const cli_option *o, const char *value) {
    char why[200];
    cli_options before = c->settings;
    if (o->kind == OPTION_FLAG) {
        if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
            return report_error("/set %s: '%.60s' is neither on nor off", o->name, value);
        *(bool *)((char *)&c->settings + o->offset) = !strcmp(value, "on");
        return EXIT_OK;
    }
    if (!cli_options_set(&c->settings, o, value, why, sizeof why)) return report_error("%s", why);
    generation_setup setup;
    int status = generation_setup_init(&setup, &c->a);
    if (status) {
        generation_setup_free(&setup);
        c->settings = before;
        return status;
    }
    if (o->kind != OPTION_SEED) setup.generation.sampling.seed = c->setup.generation.sampling.seed;
    generation_setup_free(&c->setup);
    c->setup = setup;
    return EXIT_OK;
}

static int set(chat_state *c, const char *argument) {
    size_t n = strcspn(argument, " =");
    if (!n) {
        for (size_t i = 0; i < n_options; i++)
            if (is_setting(&option_table[i])) print_setting(c, &option_table[i]);
        return EXIT_OK;
    }
    const cli_option *o = option_find(COMMAND_chat, argument, n);
    if (!o || !is_setting(o))
        return report_error("/set: there is no setting '%.*s'; /set lists them", (int)n, argument);
    const char *value = argument + n + strspn(argument + n, " =");
    if (!value[0]) {
        print_setting(c, o);
        return EXIT_OK;
    }
    return change(c, o, value);
}

static int stats(chat_state *c, const char *argument) {
    (void)argument;
    if (!c->has_answer) return report_error("/stats: there is no answer yet");
    answer_print_stats(&c->last, c->setup.generation.sampling.seed);
    fprintf(stderr, "session: %zu tokens\n", facet_session_length(c->a.session));
    return EXIT_OK;
}

static int quit(chat_state *c, const char *argument) {
    (void)argument;
    c->quit = true;
    return EXIT_OK;
}

static const struct chat_command_entry {
    const char *name, *argument, *what;
    int (*run)(chat_state *, const char *);
} commands[] = {
    {"help", "", "show this", help},
    {"system", "[TEXT]", "set the system message, or remove it", set_system},
    {"reset", "", "forget everything but the system message", reset},
    {"retry", "", "another answer to the last message", retry},
    {"undo", "", "take back the last message and its answer", undo},
    {"save", "FILE", "write the conversation to a file", save},
    {"load", "FILE", "go on with a conversation from a file", load},
    {"adapter", "[FILE[:SCALE]]", "put an adapter on; off: all off; alone: list them", adapter},
    {"set", "[NAME VALUE]", "change a setting, or list them", set},
    {"stats", "", "tokens and speed of the last answer", stats},
    {"quit", "", "leave (Ctrl-D does too)", quit},
};

static int help(chat_state *c, const char *argument) {
    (void)c, (void)argument;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(stderr, "  /%-8s %-14s %s\n", commands[i].name, commands[i].argument, commands[i].what);
    fputs("  Ctrl-C stops an answer. A backslash at the end of a line goes on with the next.\n", stderr);
    return EXIT_OK;
}

int chat_command(chat_state *c, const char *line) {
    size_t n = strcspn(line + 1, " \t");
    const char *argument = line + 1 + n;
    argument += strspn(argument, " \t");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strlen(commands[i].name) == n && !memcmp(commands[i].name, line + 1, n))
            return commands[i].run(c, argument);
    return report_error("unknown command '%.*s'; /help lists the commands", (int)n + 1, line);
}
