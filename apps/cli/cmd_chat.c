/* facet chat: the loop of messages and answers. Each turn renders the whole history; the session keeps what it has of
 * it. */
#include "chat.h"
#include "commands.h"
#include "terminal.h"
#include "value.h"

#include <stdlib.h>
#include <string.h>

static bool push_answer(chat_state *c, const answer *out) {
    facet_value *m = cli_value_message("assistant", cli_text_get(&out->content), out->content.n);
    bool ok = m != NULL;
    if (out->reasoning.n)
        ok = cli_value_set(m, "reasoning", facet_value_string(out->reasoning.data, out->reasoning.n)) && ok;
    if (out->tool_calls) ok = cli_value_set(m, "tool_calls", cli_value_copy(out->tool_calls)) && ok;
    if (ok) return chat_history_push(&c->history, m);
    facet_value_free(m);
    return false;
}

int chat_answer(chat_state *c) {
    facet_prompt *prompt = NULL;
    chat_turns turns;
    int status = chat_prompt(c, &prompt);
    if (status) return status;
    facet_generation generation = c->setup.generation;
    size_t n;
    const int32_t *tokens = facet_prompt_tokens(prompt, &n);
    status = answer_allow_shift(&turns, &c->a, tokens, n, &generation);
    answer_free(&c->last);
    interrupt_clear();
    interrupt_watch(c->a.session);
    generation.sampling.choice = c->retry;
    if (!status) status = answer_chat(&c->last, &c->a, prompt, NULL, &generation);
    interrupt_watch(NULL);
    c->has_answer = !status;
    if (!status && c->last.interrupted) fputs("(stopped)\n", stderr);
    bool nothing = !c->last.content.n && !c->last.tool_calls && c->last.interrupted;
    if (!status && !nothing && !push_answer(c, &c->last)) status = report_no_memory();
    chat_turns_free(&turns);
    facet_prompt_free(prompt);
    return status;
}

/* A message without an answer leaves the history again, so that the next one may follow. */
static int say(chat_state *c, const char *line, size_t n) {
    size_t valid = cli_text_valid_utf8(line, n), before = c->history.n;
    if (valid < n) return report_error("the message is not valid UTF-8 at byte %zu", valid);
    if (!chat_history_push(&c->history, cli_value_message("user", line, n))) return report_no_memory();
    c->retry = 0;
    int status = chat_answer(c);
    if (c->history.n == before + 1) chat_history_truncate(&c->history, before);
    return status;
}

static bool is_blank(const char *line, size_t n) { return strspn(line, " \t\r\n") == n; }

static int converse(chat_state *c, chat_editor *editor) {
    int status = EXIT_OK;
    size_t n;
    for (const char *line; !c->quit && (line = chat_editor_read(editor, &n));) {
        if (is_blank(line, n)) continue;
        status = line[0] == '/' ? chat_command(c, line) : say(c, line, n);
        if (status && !chat_editor_interactive(editor)) break;
        if (ferror(stdout)) break;
    }
    return chat_editor_interactive(editor) && !ferror(stdout) ? EXIT_OK : status;
}

static void greet(const chat_state *c) {
    const char *name = c->a.info.name[0] ? c->a.info.name : app_model_name(c->a.options);
    fprintf(stderr, "%s; /help lists the commands, Ctrl-D leaves\n", name);
}

int cmd_chat(const cli_options *o) {
    chat_state c = {.settings = *o};
    chat_editor *editor = NULL;
    if (o->system && cli_text_valid_utf8(o->system, strlen(o->system)) < strlen(o->system))
        return report_usage("--system: the text is not valid UTF-8");
    int status = app_open_session(&c.a, &c.settings, 0);
    interrupt_watch(NULL);
    if (!status) status = generation_setup_init(&c.setup, &c.a);
    if (!status && o->system && !chat_history_set_system(&c.history, o->system)) status = report_no_memory();
    if (!status && !(editor = chat_editor_new())) status = report_no_memory();
    if (!status) {
        if (chat_editor_interactive(editor)) greet(&c);
        status = converse(&c, editor);
    }
    chat_editor_free(editor);
    chat_history_free(&c.history);
    answer_free(&c.last);
    generation_setup_free(&c.setup);
    app_close(&c.a);
    return status;
}
