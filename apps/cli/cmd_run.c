/* facet run: one prompt, one answer. */
#include "answer.h"
#include "commands.h"
#include "json.h"
#include "value.h"

#include <stdlib.h>
#include <string.h>

static int read_prompt(text *prompt, const cli_options *o) {
    int status = EXIT_OK;
    if (o->n_arguments) {
        if (!cli_text_append(prompt, o->arguments[0], strlen(o->arguments[0]))) status = report_no_memory();
    } else {
        status = app_read(prompt, NULL);
    }
    if (status) return status;
    if (!prompt->n) return report_error("the prompt is empty; give it as an argument or on the standard input");
    size_t valid = cli_text_valid_utf8(prompt->data, prompt->n);
    if (valid < prompt->n) return report_error("the prompt is not valid UTF-8 at byte %zu", valid);
    return EXIT_OK;
}

static facet_value *make_messages(const cli_options *o, const text *prompt) {
    facet_value *list = facet_value_array();
    bool failed = o->system && facet_value_append(list, cli_value_message("system", o->system, strlen(o->system)));
    if (failed || facet_value_append(list, cli_value_message("user", prompt->data, prompt->n))) {
        facet_value_free(list);
        return NULL;
    }
    return list;
}

static int read_tools(facet_value **tools, const char *path) {
    text file = {0};
    char why[200];
    int status = app_read(&file, path);
    if (!status) {
        *tools = json_parse(cli_text_get(&file), file.n, why, sizeof why);
        if (!*tools)
            status = report_error("%s: %s", path, why);
        else if (facet_value_typeof(*tools) != FACET_VALUE_ARRAY)
            status = report_error("%s: not a JSON array of tools", path);
    }
    cli_text_free(&file);
    return status;
}

/* The grammar of --grammar or --json-schema. */
static int read_grammar(facet_grammar **out, app *a, const cli_options *o) {
    const char *path = o->grammar ? o->grammar : o->json_schema;
    text file = {0};
    char why[200];
    facet_error error = {0};
    facet_value *schema = NULL;
    if (!path) return EXIT_OK;
    int status = app_read(&file, path);
    if (!status && o->grammar) {
        if (facet_grammar_from_gbnf(out, a->model, cli_text_get(&file), file.n, &error))
            status = report_error("%s: %s", path, error.message);
    } else if (!status) {
        schema = json_parse(cli_text_get(&file), file.n, why, sizeof why);
        if (!schema)
            status = report_error("%s: %s", path, why);
        else if (facet_grammar_from_schema(out, a->model, schema, &error))
            status = report_error("%s: %s", path, error.message);
    }
    facet_value_free(schema);
    cli_text_free(&file);
    return status;
}

static int answer_rendered(answer *out, app *a, const facet_prompt *prompt, const facet_value *tools,
                           facet_generation *generation) {
    chat_turns turns;
    size_t n;
    const int32_t *tokens = facet_prompt_tokens(prompt, &n);
    int status = answer_allow_shift(&turns, a, tokens, n, generation);
    if (!status) status = answer_chat(out, a, prompt, tools, generation);
    chat_turns_free(&turns);
    return status;
}

static int run_chat(answer *out, app *a, const text *prompt, facet_generation *generation) {
    const cli_options *o = a->options;
    facet_error error = {0};
    facet_value *tools = NULL, *messages = NULL;
    facet_prompt *rendered = NULL;
    int status = o->tools ? read_tools(&tools, o->tools) : EXIT_OK;
    if (status) goto done;
    messages = make_messages(o, prompt);
    if (!messages) {
        status = report_no_memory();
        goto done;
    }
    facet_chat chat;
    facet_chat_defaults(&chat);
    chat.messages = messages;
    chat.tools = tools;
    chat.enable_thinking = o->think;
    if (facet_chat_render(a->model, &chat, &rendered, &error))
        status = report_failure(&error, NULL);
    else
        status = answer_rendered(out, a, rendered, tools, generation);
done:
    facet_prompt_free(rendered);
    facet_value_free(messages);
    facet_value_free(tools);
    return status;
}

/* BOS and the tokens of the text, whose own BOS is not doubled. */
static int run_raw(answer *out, app *a, const text *prompt, facet_generation *generation) {
    facet_error error = {0};
    int32_t *ids = NULL, *all = NULL, bos = facet_token_bos(a->model);
    size_t n = 0;
    if (facet_tokenize(a->model, prompt->data, prompt->n, true, &ids, &n, &error))
        return report_failure(&error, NULL);
    all = malloc((n + 1) * sizeof *all);
    if (!all) {
        facet_free(ids);
        return report_no_memory();
    }
    size_t first = bos >= 0 && (!n || ids[0] != bos);
    if (first) all[0] = bos;
    if (n) memcpy(all + first, ids, n * sizeof *all);
    facet_free(ids);
    if (a->options->context_shift) generation->shift_keep = 1;
    int status = answer_raw(out, a, all, n + first, generation);
    free(all);
    return status;
}

int cmd_run(const cli_options *o) {
    text prompt = {0};
    app a = {0};
    generation_setup setup = {0};
    answer out = {0};
    facet_grammar *grammar = NULL;
    int status = EXIT_OK;
    if (o->grammar && o->json_schema) return report_usage("--grammar and --json-schema can't go together");
    if (o->raw && (o->system || o->think || o->tools))
        return report_usage("--raw has no chat format, so it can't go with --system, --think or --tools");
    if (o->system && cli_text_valid_utf8(o->system, strlen(o->system)) < strlen(o->system))
        return report_usage("--system: the text is not valid UTF-8");
    status = read_prompt(&prompt, o);
    if (!status) status = app_open_session(&a, o, 0);
    if (!status) status = generation_setup_init(&setup, &a);
    if (!status) status = read_grammar(&grammar, &a, o);
    setup.generation.grammar = grammar;
    setup.generation.grammar_after_thought = o->think;
    if (!status)
        status =
            o->raw ? run_raw(&out, &a, &prompt, &setup.generation) : run_chat(&out, &a, &prompt, &setup.generation);
    if (!status && o->stats && !out.interrupted) answer_print_stats(&out, setup.generation.sampling.seed);
    if (!status && out.interrupted) status = EXIT_INTERRUPTED;
    answer_free(&out);
    generation_setup_free(&setup);
    facet_grammar_free(grammar);
    app_close(&a);
    cli_text_free(&prompt);
    return status;
}
