/* Streaming an answer. Owns what goes where: content to the standard output, the thought dimmed or apart from it, a
 * tool call as a line of JSON. */
#include "answer.h"
#include "terminal.h"
#include "value.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define DIM   "\033[2m"
#define PLAIN "\033[0m"

typedef struct stream {
    answer *out;
    const facet_model *model;
    facet_reply_parser *parser; /* NULL: raw */
    FILE *thought_file;
    bool colour;
    facet_reply_event_type last; /* of the piece shown last */
    bool started;
    bool line_open; /* the output does not end in a line break */
    bool write_failed, no_memory;
    int write_errno;
} stream;

static void show(stream *s, FILE *file, const char *data, size_t n) {
    if (s->write_failed || !n) return;
    errno = 0;
    if (fwrite(data, 1, n, file) != n || fflush(file)) {
        s->write_failed = true;
        s->write_errno = errno;
    }
    if (file == stdout) s->line_open = data[n - 1] != '\n';
}

static void show_text(stream *s, FILE *file, const char *data) { show(s, file, data, strlen(data)); }

/* Between thought, answer and tool calls: colours, and a line break where the shown text needs one. */
static void change_to(stream *s, facet_reply_event_type type) {
    bool was_thought = s->started && s->last == FACET_REPLY_REASONING;
    if (s->started && s->last == type && type != FACET_REPLY_TOOL_CALL) return;
    if (was_thought && type != FACET_REPLY_REASONING) {
        if (s->colour) show_text(s, s->thought_file, PLAIN);
        show_text(s, s->thought_file, s->thought_file == stdout ? "\n\n" : "\n");
    } else if (s->line_open && (type != FACET_REPLY_CONTENT || s->last == FACET_REPLY_TOOL_CALL)) {
        show_text(s, stdout, "\n");
    }
    if (type == FACET_REPLY_REASONING && s->colour) show_text(s, s->thought_file, DIM);
    s->last = type;
    s->started = true;
}

static void keep(stream *s, text *t, const char *data, size_t n) {
    if (!cli_text_append(t, data, n)) s->no_memory = true;
}

static void keep_call(stream *s, const facet_reply_event *event) {
    facet_value *function = facet_value_object(), *call = facet_value_object();
    if (!s->out->tool_calls) s->out->tool_calls = facet_value_array();
    bool ok = cli_value_set(function, "name", facet_value_string(event->name, event->name_bytes));
    ok = cli_value_set(function, "arguments", cli_value_copy(event->arguments)) && ok;
    ok = cli_value_set(call, "type", cli_value_text("function")) && ok;
    ok = cli_value_set(call, "function", function) && ok;
    ok = !facet_value_append(s->out->tool_calls, call) && ok;
    if (!ok) s->no_memory = true;
}

static void show_call(stream *s, const facet_reply_event *event) {
    facet_value *name = facet_value_string(event->name, event->name_bytes);
    size_t n = 0;
    char *json = facet_value_to_json(name, &n);
    if (json) {
        show_text(s, stdout, "{\"name\":");
        show(s, stdout, json, n);
        show_text(s, stdout, ",\"arguments\":");
        show(s, stdout, event->text, event->n_bytes);
        show_text(s, stdout, "}\n");
    } else {
        s->no_memory = true;
    }
    facet_free(json);
    facet_value_free(name);
}

static void on_event(void *ctx, const facet_reply_event *event) {
    stream *s = ctx;
    if (event->type != FACET_REPLY_TOOL_CALL && !event->n_bytes) return;
    change_to(s, event->type);
    switch (event->type) {
    case FACET_REPLY_CONTENT:
        show(s, stdout, event->text, event->n_bytes);
        keep(s, &s->out->content, event->text, event->n_bytes);
        break;
    case FACET_REPLY_REASONING:
        show(s, s->thought_file, event->text, event->n_bytes);
        keep(s, &s->out->reasoning, event->text, event->n_bytes);
        break;
    case FACET_REPLY_TOOL_CALL:
        show_call(s, event);
        keep_call(s, event);
        break;
    }
}

static bool on_token(void *ctx, const facet_token *token) {
    stream *s = ctx;
    if (s->parser) {
        if (facet_reply_parser_push(s->parser, token->text, token->n_bytes, token->control)) s->no_memory = true;
    } else if (!token->control || !facet_token_is_end(s->model, token->id)) {
        show(s, stdout, token->text, token->n_bytes);
        keep(s, &s->out->content, token->text, token->n_bytes);
    }
    return !s->write_failed && !s->no_memory;
}

static bool on_progress(void *ctx, size_t done, size_t total) {
    progress_update(ctx, done, total);
    return true;
}

static void finish_display(stream *s) {
    if (s->started && s->last == FACET_REPLY_REASONING) {
        if (s->colour) show_text(s, s->thought_file, PLAIN);
        show_text(s, s->thought_file, "\n");
    } else if (s->parser && s->line_open) {
        show_text(s, stdout, "\n");
    }
}

static int sync_prompt(app *a, const int32_t *tokens, size_t n, answer *out, facet_error *error) {
    progress p;
    progress_begin(&p, "reading the prompt", "tokens");
    facet_status status = facet_session_sync(a->session, tokens, n, on_progress, &p, &out->n_reused, error);
    progress_end(&p);
    if (status == FACET_ERROR_CANCELLED) {
        out->interrupted = true;
        return EXIT_OK;
    }
    return status ? report_failure(error, NULL) : EXIT_OK;
}

static int stream_answer(stream *s, app *a, const int32_t *tokens, size_t n, const facet_generation *generation) {
    facet_error error = {0};
    answer *out = s->out;
    out->result = (facet_generation_result){.size = sizeof out->result};
    int status = sync_prompt(a, tokens, n, out, &error);
    if (status || out->interrupted) return status;
    facet_status failed = facet_session_generate(a->session, generation, on_token, s, &out->result, &error);
    if (s->parser && facet_reply_parser_finish(s->parser)) s->no_memory = true;
    finish_display(s);
    if (s->write_failed) {
        errno = s->write_errno;
        return report_write_error("the standard output");
    }
    if (s->no_memory) return report_no_memory();
    if (failed) return report_failure(&error, NULL);
    out->interrupted = out->result.stop_reason == FACET_STOP_CANCELLED;
    if (out->result.stop_reason == FACET_STOP_CONTEXT)
        report_warning(NULL, "the context is full, the answer may be cut off; -c N makes it larger");
    return EXIT_OK;
}

int answer_chat(answer *out, app *a, const facet_prompt *prompt, const facet_value *tools,
                const facet_generation *generation) {
    facet_error error = {0};
    bool apart = !isatty(STDOUT_FILENO);
    stream s = {.out = out, .model = a->model, .thought_file = apart ? stderr : stdout};
    s.colour = terminal_has_colour(s.thought_file);
    if (facet_reply_parser_new(&s.parser, prompt, tools, on_event, &s, &error)) return report_failure(&error, NULL);
    size_t n;
    const int32_t *tokens = facet_prompt_tokens(prompt, &n);
    int status = stream_answer(&s, a, tokens, n, generation);
    facet_reply_parser_free(s.parser);
    return status;
}

int answer_raw(answer *out, app *a, const int32_t *tokens, size_t n, const facet_generation *generation) {
    stream s = {.out = out, .model = a->model, .thought_file = stdout};
    return stream_answer(&s, a, tokens, n, generation);
}

int answer_allow_shift(chat_turns *turns, const app *a, const int32_t *tokens, size_t n,
                       facet_generation *generation) {
    *turns = (chat_turns){0};
    if (!a->options->context_shift) return EXIT_OK;
    if (!chat_turns_find(turns, a->model, tokens, n)) return report_no_memory();
    chat_turns_use(turns, generation);
    return EXIT_OK;
}

void answer_free(answer *out) {
    cli_text_free(&out->content);
    cli_text_free(&out->reasoning);
    facet_value_free(out->tool_calls);
    *out = (answer){0};
}

static double rate(size_t n, double seconds) { return seconds > 0 ? (double)n / seconds : 0; }

void answer_print_stats(const answer *a, uint64_t seed) {
    const facet_generation_result *r = &a->result;
    static const char *const why[] = {"end of turn", "stop text", "length", "context full", "interrupted", "stopped"};
    fprintf(stderr, "prompt: %zu tokens read, %zu kept, %.3f s, %.1f tokens/s\n", r->prompt_tokens, a->n_reused,
            r->prompt_seconds, rate(r->prompt_tokens, r->prompt_seconds));
    fprintf(stderr, "answer: %zu tokens, %.3f s, %.1f tokens/s, ended by: %s\n", r->n_generated, r->decode_seconds,
            rate(r->n_generated, r->decode_seconds), why[r->stop_reason]);
    if (r->n_guessed) fprintf(stderr, "guesses: %zu tokens, %zu of them right\n", r->n_guessed, r->n_accepted);
    fprintf(stderr, "seed: %llu\n", (unsigned long long)seed);
}
