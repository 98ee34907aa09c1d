/* Bytes as a model's output, through a small grammar of pieces, flagged or not: the same events in one go and byte by
 * byte, no byte twice, arguments always an object. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chat/prompt.h"

static const char *const fragments[] = {"<|channel>",
                                        "<channel|>",
                                        "<|tool_call>",
                                        "<tool_call|>",
                                        "<|\"|>",
                                        "<turn|>",
                                        "<|tool_response>",
                                        "<eos>",
                                        "<|image|>", /* these nine may be flagged */
                                        "thought\n",
                                        "call:f{",
                                        "a:",
                                        "a:b:",
                                        "1",
                                        "true",
                                        ",",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        ":",
                                        "\n",
                                        "<",
                                        "x",
                                        "k",
                                        "\xc3\xa9",
                                        "\xff"};
enum { N_CONTROL = 9, N_FRAGMENTS = sizeof fragments / sizeof *fragments };

typedef struct log {
    buffer text; /* all events, kinds marked where they change */
    size_t n_plain;
    int last;
} event_log;

static void on_event(void *ctx, const facet_reply_event *event) {
    event_log *log = ctx;
    if (event->n_bytes == 0 || event->text[event->n_bytes] != '\0') abort();
    if (log->last != (int)event->type || event->type == FACET_REPLY_TOOL_CALL) {
        buffer_byte(&log->text, (char)('0' + (int)event->type));
    }
    log->last = (int)event->type;
    buffer_append(&log->text, event->text, event->n_bytes);
    if (event->type != FACET_REPLY_TOOL_CALL) {
        log->n_plain += event->n_bytes;
        return;
    }
    if (facet_value_typeof(event->arguments) != FACET_VALUE_OBJECT || event->name_bytes == 0) abort();
    buffer_append(&log->text, event->name, event->name_bytes);
}

static void push(facet_reply_parser *parser, const char *text, size_t n, bool control, bool bytewise) {
    size_t step = control || !bytewise ? n : 1;
    for (size_t i = 0; i < n; i += step) {
        if (facet_reply_parser_push(parser, text + i, step, control)) abort();
    }
}

/* What was pushed, in bytes. */
static size_t read_all(const uint8_t *data, size_t n, bool bytewise, const facet_value *tools, event_log *log) {
    facet_reply_parser *parser;
    size_t total = 0;
    const struct facet_prompt prompt = {.opens_thought = data[0] & 1};
    bool raw = data[0] & 2;
    if (facet_reply_parser_new(&parser, &prompt, tools, on_event, log, NULL)) abort();
    if (raw) {
        push(parser, (const char *)data + 1, n - 1, false, bytewise);
        total = n - 1;
    }
    for (size_t i = 1; i < n && !raw; i++) {
        size_t k = (data[i] & 127) % N_FRAGMENTS;
        const char *text = fragments[k];
        push(parser, text, strlen(text), k < N_CONTROL && data[i] & 128, bytewise);
        total += strlen(text);
    }
    if (facet_reply_parser_finish(parser)) abort();
    facet_reply_parser_free(parser);
    return total;
}

static facet_value *declared(void) {
    static const char *const names[] = {"a", "a:b", "a:b:a"};
    facet_value *properties = facet_value_object(), *parameters = facet_value_object();
    for (size_t i = 0; i < 3; i++) facet_value_set(properties, names[i], strlen(names[i]), facet_value_null());
    facet_value_set(parameters, "properties", 10, properties);
    facet_value *function = facet_value_object(), *tool = facet_value_object(), *tools = facet_value_array();
    facet_value_set(function, "name", 4, facet_value_string("f", 1));
    facet_value_set(function, "parameters", 10, parameters);
    facet_value_set(tool, "function", 8, function);
    facet_value_append(tools, tool);
    return tools;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0 || n > 1 << 16) return 0;
    event_log whole = {.last = -1}, bytewise = {.last = -1};
    facet_value *tools = data[0] & 4 ? declared() : NULL;
    size_t total = read_all(data, n, false, tools, &whole);
    read_all(data, n, true, tools, &bytewise);
    if (whole.n_plain > total || whole.n_plain != bytewise.n_plain || whole.text.n != bytewise.text.n) abort();
    if (whole.text.n && memcmp(whole.text.data, bytewise.text.data, whole.text.n) != 0) abort();
    buffer_free(&whole.text);
    buffer_free(&bytewise.text);
    facet_value_free(tools);
    return 0;
}
