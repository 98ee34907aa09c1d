/* Answers of Ollama's /api/chat and /api/generate: lines of JSON, or one object. */
#include "ollama.h"
#include "constrain.h"

#include <string.h>
#include <time.h>

void ollama_time(char *out, size_t n) {
    struct timespec t;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    size_t at = strftime(out, n, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + at, n - at, ".%06ldZ", t.tv_nsec / 1000);
}

/* The arguments are an object here. */
static json_t *call_json(const json_t *call) {
    json_t *arguments = json_object_get(call, "arguments");
    const char *data = json_string_value(arguments);
    size_t n = json_string_length(arguments);
    json_t *input = json_loadb(data, n, JSON_ALLOW_NUL, NULL);
    if (!input) input = json_loadb(data, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    return json_pack("{s:O,s:{s:O,s:o}}", "id", json_object_get(call, "id"), "function", "name",
                     json_object_get(call, "name"), "arguments", input ? input : json_object());
}

static json_t *line_json(const job *j, bool done) {
    char when[40];
    ollama_time(when, sizeof when);
    return json_pack("{s:s,s:s,s:b}", "model", j->server->options->model_name, "created_at", when, "done", done);
}

static json_t *nanoseconds(double seconds) { return json_integer((json_int_t)(seconds * 1e9)); }

static void add_end(const job *j, json_t *line) {
    json_object_set_new(line, "done_reason", json_string(j->choices[0].finish == FINISH_LENGTH ? "length" : "stop"));
    json_object_set_new(line, "total_duration", nanoseconds(clock_seconds() - j->x->received));
    json_object_set_new(line, "load_duration", json_integer(0));
    json_object_set_new(line, "prompt_eval_count", json_integer((json_int_t)j->prompt_tokens));
    json_object_set_new(line, "prompt_eval_duration", nanoseconds(j->prompt_seconds));
    json_object_set_new(line, "eval_count", json_integer((json_int_t)j->generated_tokens));
    json_object_set_new(line, "eval_duration", nanoseconds(j->decode_seconds));
}

static void send_line(job *j, json_t *line) {
    if (j->stream)
        exchange_line(j->x, line);
    else
        exchange_reply_json(j->x, 200, line);
}

/* ---- chat */

static void send_message(job *j, json_t *message) {
    json_t *line = line_json(j, false);
    json_object_set_new(line, "message", message);
    send_line(j, line);
}

static void chat_piece(job *j, size_t index, facet_reply_event_type type, const char *data, size_t n) {
    bool thought = type == FACET_REPLY_REASONING;
    json_t *message = json_pack("{s:s,s:s}", "role", "assistant", "content", "");
    (void)index;
    json_object_set_new(message, thought ? "thinking" : "content", json_stringn(data, n));
    send_message(j, message);
}

static void chat_call(job *j, size_t index, const json_t *call, size_t at) {
    (void)index;
    (void)at;
    send_message(j, json_pack("{s:s,s:s,s:[o]}", "role", "assistant", "content", "", "tool_calls", call_json(call)));
}

static json_t *whole_message(const choice *c) {
    json_t *message =
        json_pack("{s:s,s:o}", "role", "assistant", "content", json_stringn(cli_text_get(&c->content), c->content.n));
    if (c->reasoning.n) json_object_set_new(message, "thinking", json_stringn(c->reasoning.data, c->reasoning.n));
    json_t *calls = json_array();
    for (size_t i = 0; i < json_array_size(c->calls); i++)
        json_array_append_new(calls, call_json(json_array_get(c->calls, i)));
    if (json_array_size(calls))
        json_object_set_new(message, "tool_calls", calls);
    else
        json_decref(calls);
    return message;
}

static void chat_end(job *j) {
    json_t *line = line_json(j, true);
    json_object_set_new(line, "message",
                        j->stream ? json_pack("{s:s,s:s}", "role", "assistant", "content", "")
                                  : whole_message(&j->choices[0]));
    add_end(j, line);
    send_line(j, line);
}

static const answer_shape chat_stream = {.piece = chat_piece, .call = chat_call, .end = chat_end};
static const answer_shape chat_whole = {.end = chat_end};

/* ---- generate */

static void generate_piece(job *j, size_t index, facet_reply_event_type type, const char *data, size_t n) {
    json_t *line = line_json(j, false);
    (void)index;
    json_object_set_new(line, "response", json_string(""));
    json_object_set_new(line, type == FACET_REPLY_REASONING ? "thinking" : "response", json_stringn(data, n));
    send_line(j, line);
}

static void generate_end(job *j) {
    const choice *c = &j->choices[0];
    json_t *line = line_json(j, true);
    size_t n = j->stream ? 0 : c->content.n;
    json_object_set_new(line, "response", json_stringn(cli_text_get(&c->content), n));
    if (!j->stream && c->reasoning.n)
        json_object_set_new(line, "thinking", json_stringn(c->reasoning.data, c->reasoning.n));
    add_end(j, line);
    send_line(j, line);
}

static const answer_shape generate_stream = {.piece = generate_piece, .end = generate_end};
static const answer_shape generate_whole = {.end = generate_end};

/* ---- routes */

/* The model is always loaded. */
static void answer_load(job *j, bool chat) {
    json_t *line = line_json(j, true);
    json_object_set_new(line, "done_reason", json_string("load"));
    if (chat)
        json_object_set_new(line, "message", json_pack("{s:s,s:s}", "role", "assistant", "content", ""));
    else
        json_object_set_new(line, "response", json_string(""));
    exchange_reply_json(j->x, 200, line);
    job_free(j);
}

static void answer(exchange *x, bool (*read)(job *j, bool *loads), const answer_shape *stream,
                   const answer_shape *whole, bool chat) {
    bool loads = false;
    job *j = job_new(x, "");
    if (!j) return;
    if (!read(j, &loads) || (!loads && !constrain_prepare(j)))
        job_refuse(j);
    else if (loads)
        answer_load(j, chat);
    else
        job_submit(j, j->stream ? stream : whole);
}

void ollama_chat(exchange *x) { answer(x, ollama_read_chat, &chat_stream, &chat_whole, true); }
void ollama_generate(exchange *x) { answer(x, ollama_read_generate, &generate_stream, &generate_whole, false); }
