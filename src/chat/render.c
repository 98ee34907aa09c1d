/* The chat format: turns, thoughts, calls, answers, the generation prompt. See render.h. Source: the behaviour of
 * Google's canonical Gemma 4 chat template of 2026-07-09, its two kinds. Tools are declared in declare.c, values
 * written in argument.c, shapes checked in check.c. */
#include "chat/render.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/value.h"
#include "chat/argument.h"
#include "chat/check.h"
#include "chat/declare.h"
#include "chat/python.h"

/* What the last message ended with, as far as the generation prompt cares. */
typedef enum ending { ENDS_TURN, ENDS_CALL, ENDS_ANSWER } ending;

typedef struct renderer {
    const facet_chat *chat;
    chat_spans *out;
    facet_error *err;
    size_t first;                 /* message after the system turn */
    size_t n;                     /* messages */
    size_t user_end;              /* the message after the last user message; `first` where there is none */
    const facet_value *last_role; /* of the last message that is no tool's */
    ending ending;
} renderer;

static const facet_value *message_at(const renderer *r, size_t i) { return facet_value_at(r->chat->messages, i); }

static bool role_is(const facet_value *message, const char *role) {
    return value_is_text(facet_value_get(message, "role"), role);
}

static void write_string(chat_spans *out, const facet_value *string) {
    size_t n;
    const char *text = facet_value_text(string, &n);
    spans_text(out, text, n);
}

static void write_trimmed(chat_spans *out, const char *text, size_t n) {
    python_trim(&text, &n);
    spans_text(out, text, n);
}

/* ---- contents */

static const char *find(const char *text, size_t n, const char *needle) {
    return n ? memmem(text, n, needle, strlen(needle)) : NULL;
}

/* The text without its thoughts, trimmed: between two closings, only what comes before an opening stays. */
static void write_stripped(chat_spans *out, const char *text, size_t n) {
    static const char open[] = "<|channel>", close[] = "<channel|>";
    buffer kept = {0};
    for (;;) {
        const char *end = find(text, n, close);
        size_t part = end ? (size_t)(end - text) : n;
        const char *thought = find(text, part, open);
        buffer_append(&kept, text, thought ? (size_t)(thought - text) : part);
        if (!end) break;
        text += part + sizeof close - 1;
        n -= part + sizeof close - 1;
    }
    if (kept.failed) out->failed = true;
    if (kept.data) write_trimmed(out, kept.data, kept.n);
    buffer_free(&kept);
}

static void write_text(chat_spans *out, const facet_value *string, bool is_model) {
    size_t n;
    const char *text = facet_value_text(string, &n);
    if (!text) return;
    if (is_model) {
        write_stripped(out, text, n);
    } else {
        write_trimmed(out, text, n);
    }
}

static void write_media(chat_spans *out, const facet_value *part) {
    const facet_value *type = facet_value_get(part, "type");
    if (value_is_text(type, "image") || value_is_text(type, "image_url")) spans_control(out, "<|image|>");
    if (value_is_text(type, "audio") || value_is_text(type, "input_audio")) spans_control(out, "<|audio|>");
    if (value_is_text(type, "video")) spans_control(out, "<|video|>");
}

/* Returns whether anything but white space was written. */
static bool write_content(chat_spans *out, const facet_value *content, bool is_model) {
    size_t start = out->text.n;
    write_text(out, content, is_model);
    for (size_t i = 0; i < facet_value_count(content); i++) {
        const facet_value *part = facet_value_at(content, i);
        if (value_is_text(facet_value_get(part, "type"), "text")) {
            write_text(out, facet_value_get(part, "text"), is_model);
        } else {
            write_media(out, part);
        }
    }
    const char *text = out->text.data + start;
    size_t n = out->text.n - start;
    if (n) python_trim(&text, &n);
    return n > 0;
}

/* ---- the system turn */

static void write_system_text(chat_spans *out, const facet_value *content) {
    write_text(out, content, false);
    for (size_t i = 0; i < facet_value_count(content); i++) {
        write_text(out, facet_value_get(facet_value_at(content, i), "text"), false);
        spans_literal(out, " ");
    }
}

static facet_status write_system(renderer *r) {
    const facet_chat *chat = r->chat;
    const facet_value *message = message_at(r, 0);
    bool has_text = role_is(message, "system") || role_is(message, "developer");
    r->first = has_text;
    if (!has_text && !chat->enable_thinking && !facet_value_count(chat->tools)) return FACET_OK;
    spans_control(r->out, "<|turn>");
    spans_literal(r->out, "system\n");
    if (chat->enable_thinking) {
        spans_control(r->out, "<|think|>");
        spans_literal(r->out, "\n");
    }
    if (has_text) write_system_text(r->out, facet_value_get(message, "content"));
    for (size_t i = 0; i < facet_value_count(chat->tools); i++) {
        spans_control(r->out, "<|tool>");
        FACET_TRY(declare_tool(r->out, facet_value_at(chat->tools, i), i, r->err));
        spans_control(r->out, "<tool|>");
    }
    spans_control(r->out, "<turn|>");
    spans_literal(r->out, "\n");
    return FACET_OK;
}

/* ---- calls and answers */

static void write_thought(renderer *r, const facet_value *message, size_t i) {
    const facet_value *thought = facet_value_get(message, "reasoning");
    if (!python_is_true(thought)) thought = facet_value_get(message, "reasoning_content");
    bool kept = r->chat->preserve_thinking && facet_value_count(facet_value_get(message, "tool_calls"));
    if (!python_is_true(thought) || (i < r->user_end && !kept)) return;
    spans_control(r->out, "<|channel>");
    spans_literal(r->out, "thought\n");
    write_string(r->out, thought);
    spans_literal(r->out, "\n");
    spans_control(r->out, "<channel|>");
}

static void write_calls(chat_spans *out, const facet_value *calls) {
    for (size_t i = 0; i < facet_value_count(calls); i++) {
        const facet_value *function = facet_value_get(facet_value_at(calls, i), "function");
        spans_control(out, "<|tool_call>");
        spans_literal(out, "call:");
        write_string(out, facet_value_get(function, "name"));
        spans_literal(out, "{");
        argument_members(out, facet_value_get(function, "arguments"), false);
        spans_literal(out, "}");
        spans_control(out, "<tool_call|>");
    }
}

/* The name that an answer states itself; NULL where there is none. */
static const facet_value *own_name(const facet_value *answer) {
    const facet_value *name = facet_value_get(answer, "name");
    return python_is_true(name) ? name : NULL;
}

static void open_answer(chat_spans *out, const facet_value *name, bool is_object) {
    spans_control(out, "<|tool_response>");
    spans_literal(out, "response:");
    if (name) {
        write_string(out, name);
    } else {
        spans_literal(out, "unknown");
    }
    spans_literal(out, is_object ? "{" : "{value:");
}

static void close_answer(chat_spans *out) {
    spans_literal(out, "}");
    spans_control(out, "<tool_response|>");
}

static void write_answer(chat_spans *out, const facet_value *name, const facet_value *response) {
    bool is_object = facet_value_typeof(response) == FACET_VALUE_OBJECT;
    open_answer(out, name, is_object);
    if (is_object) {
        argument_members(out, response, false);
    } else {
        argument_write(out, response, false);
    }
    close_answer(out);
}

/* An answer in parts: the texts follow each other between one pair of quotes, the media come after it. */
static void write_answer_parts(chat_spans *out, const facet_value *name, const facet_value *parts) {
    open_answer(out, name, false);
    spans_control(out, CHAT_QUOTE);
    for (size_t i = 0; i < facet_value_count(parts); i++) {
        const facet_value *part = facet_value_at(parts, i);
        if (value_is_text(facet_value_get(part, "type"), "text")) write_string(out, facet_value_get(part, "text"));
    }
    spans_control(out, CHAT_QUOTE);
    close_answer(out);
    for (size_t i = 0; i < facet_value_count(parts); i++) write_media(out, facet_value_at(parts, i));
}

static void write_tool_message(chat_spans *out, const facet_value *name, const facet_value *message) {
    const facet_value *content = facet_value_get(message, "content");
    if (facet_value_typeof(content) == FACET_VALUE_ARRAY) {
        write_answer_parts(out, name, content);
    } else if (content) {
        write_answer(out, name, content);
    } else {
        open_answer(out, name, false);
        spans_literal(out, "null");
        close_answer(out);
    }
}

/* The names of an assistant message's calls by their ids; a call without an id answers to messages without one. */
typedef struct call_names {
    const facet_value *calls;
    facet_value *by_id;           /* id -> index of the call, as a number */
    const facet_value *anonymous; /* the name of the last call without an id */
} call_names;

static const facet_value *call_name(const facet_value *call) {
    return facet_value_get(facet_value_get(call, "function"), "name");
}

static bool call_names_init(call_names *names, const facet_value *calls) {
    *names = (call_names){.calls = calls, .by_id = facet_value_object()};
    if (!names->by_id) return false;
    for (size_t i = 0; i < facet_value_count(calls); i++) {
        const facet_value *call = facet_value_at(calls, i);
        size_t n;
        const char *id = facet_value_text(facet_value_get(call, "id"), &n);
        char place[24];
        if (!id) {
            names->anonymous = call_name(call);
        } else if (facet_value_set(names->by_id, id, n,
                                   facet_value_number(place, (size_t)snprintf(place, sizeof place, "%zu", i)))) {
            return false;
        }
    }
    return true;
}

static const facet_value *answer_name(const call_names *names, const facet_value *message) {
    size_t n;
    const char *id = facet_value_text(facet_value_get(message, "tool_call_id"), &n);
    const facet_value *name = names->anonymous;
    if (id) {
        const char *place = facet_value_text(value_get(names->by_id, id, n), NULL);
        name = place ? call_name(facet_value_at(names->calls, strtoul(place, NULL, 10))) : NULL;
    }
    return name ? name : own_name(message);
}

/* The tool messages that follow message i. */
static bool write_tool_messages(renderer *r, const facet_value *calls, size_t i) {
    if (!role_is(message_at(r, i + 1), "tool")) return false;
    call_names names;
    if (!call_names_init(&names, calls)) r->out->failed = true;
    while (role_is(message_at(r, ++i), "tool")) {
        write_tool_message(r->out, answer_name(&names, message_at(r, i)), message_at(r, i));
    }
    facet_value_free(names.by_id);
    return true;
}

/* The answers that belong to an assistant message: its own, or the tool messages after it. */
static bool write_answers(renderer *r, const facet_value *message, size_t i) {
    const facet_value *calls = facet_value_get(message, "tool_calls");
    const facet_value *responses = facet_value_get(message, "tool_responses");
    if (facet_value_count(responses)) {
        for (size_t k = 0; k < facet_value_count(responses); k++) {
            const facet_value *response = facet_value_at(responses, k);
            write_answer(r->out, own_name(response), facet_value_get(response, "response"));
        }
        return true;
    }
    return facet_value_count(calls) && write_tool_messages(r, calls, i);
}

/* ---- turns */

/* The next message that is no tool's, or NULL. */
static const facet_value *next_turn(const renderer *r, size_t i) {
    while (role_is(message_at(r, ++i), "tool")) continue;
    return message_at(r, i);
}

static bool is_continued(const renderer *r, size_t i) {
    const facet_value *message = message_at(r, i);
    return r->chat->continue_final_message && i + 1 == r->n && role_is(message, "assistant") &&
           !facet_value_count(facet_value_get(message, "tool_calls")) &&
           !facet_value_count(facet_value_get(message, "tool_responses"));
}

static void close_turn(renderer *r, size_t i, bool is_model, bool has_calls, bool has_answers, bool has_content) {
    const facet_value *next = next_turn(r, i);
    if (r->ending == ENDS_CALL) {
        spans_control(r->out, "<|tool_response>"); /* open: the answer is awaited */
        return;
    }
    if (is_model && role_is(next, "assistant") && (!has_calls || has_answers)) return; /* one turn with the next */
    if (has_answers && !has_content && !next) return;                                  /* the model goes on */
    spans_control(r->out, "<turn|>");
    spans_literal(r->out, "\n");
}

static void write_message(renderer *r, size_t i) {
    const facet_value *message = message_at(r, i), *calls = facet_value_get(message, "tool_calls");
    bool is_model = role_is(message, "assistant") || role_is(message, "model");
    if (!is_model || !value_is_text(r->last_role, "assistant")) {
        spans_control(r->out, "<|turn>");
        if (is_model) {
            spans_literal(r->out, "model");
        } else {
            write_string(r->out, facet_value_get(message, "role"));
        }
        spans_literal(r->out, "\n");
    }
    write_thought(r, message, i);
    write_calls(r->out, calls);
    bool has_answers = write_answers(r, message, i);
    bool has_content = write_content(r->out, facet_value_get(message, "content"), is_model);
    r->ending = has_answers ? ENDS_ANSWER : facet_value_count(calls) ? ENDS_CALL : ENDS_TURN;
    if (!is_continued(r, i)) close_turn(r, i, is_model, facet_value_count(calls) > 0, has_answers, has_content);
    r->last_role = facet_value_get(message, "role");
}

static void write_generation_prompt(renderer *r, facet_chat_kind kind) {
    bool thinks = r->chat->enable_thinking;
    if (r->ending == ENDS_TURN) {
        spans_control(r->out, "<|turn>");
        spans_literal(r->out, "model\n");
        if (kind != FACET_CHAT_LARGE || thinks) return;
        spans_control(r->out, "<|channel>");
        spans_literal(r->out, "thought\n");
        spans_control(r->out, "<channel|>");
    } else if (r->ending == ENDS_ANSWER && thinks) {
        spans_control(r->out, "<|channel>");
        spans_literal(r->out, "thought\n");
        r->out->opens_thought = true;
    }
}

facet_status chat_render(facet_chat_kind kind, const facet_chat *chat, chat_spans *out, facet_error *err) {
    FACET_TRY(check_chat(chat, err));
    renderer r = {.chat = chat, .out = out, .err = err, .n = facet_value_count(chat->messages)};
    spans_control(out, "<bos>");
    FACET_TRY(write_system(&r));
    for (size_t i = r.first; i < r.n; i++) {
        if (role_is(message_at(&r, i), "user")) r.user_end = i + 1;
    }
    for (size_t i = r.first; i < r.n; i++) {
        if (!role_is(message_at(&r, i), "tool")) write_message(&r, i);
    }
    out->n_history = out->n;
    if (chat->add_generation_prompt && !(r.n && is_continued(&r, r.n - 1))) write_generation_prompt(&r, kind);
    return spans_failed(out) ? error_memory(err, out->text.n) : FACET_OK;
}

void facet_chat_defaults(facet_chat *chat) {
    *chat = (facet_chat){.size = sizeof *chat, .add_generation_prompt = true};
}
