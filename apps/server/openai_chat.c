/* POST /v1/chat/completions: OpenAI's chat, whole and as a stream of chunks. */
#include "constrain.h"
#include "messages.h"
#include "openai.h"
#include "params.h"

#include <string.h>

/* ---- the request */

static bool read_logprobs(job *j, const fields *f) {
    bool *wanted = &j->generation.logprobs;
    if (!field_bool(f, "logprobs", wanted) || !field_int32(f, "top_logprobs", 0, 20, &j->generation.top_logprobs))
        return false;
    if (j->generation.top_logprobs && !*wanted) return field_refuse(f, "top_logprobs", "needs logprobs to be true");
    return true;
}

bool openai_read_messages(job *j) {
    if (!job_parse(j)) return false;
    const fields f = {j->body, "", &j->error};
    j->is_chat = true;
    return messages_read(j, &f) && tools_read(j, &f) && params_thinking(j, &f);
}

static bool read_request(job *j) {
    const fields f = {j->body, "", &j->error};
    return params_read(j, &f) && field_int32(&f, "max_completion_tokens", 1, INT32_MAX, &j->generation.max_tokens) &&
           read_logprobs(j, &f) && constrain_read_format(j, &f);
}

/* ---- pieces that both forms share */

static json_t *text_or_null(const text *t) { return t->n ? json_stringn(t->data, t->n) : json_null(); }

static json_t *call_json(const json_t *call, size_t index, bool with_index) {
    json_t *json =
        json_pack("{s:O,s:s,s:{s:O,s:O}}", "id", json_object_get(call, "id"), "type", "function", "function", "name",
                  json_object_get(call, "name"), "arguments", json_object_get(call, "arguments"));
    if (json && with_index) json_object_set_new(json, "index", json_integer((json_int_t)index));
    return json;
}

static json_t *logprobs_json(json_t *content) {
    return content ? json_pack("{s:o,s:n}", "content", content, "refusal") : json_null();
}

/* ---- whole */

static json_t *message_json(const choice *c) {
    bool calls = json_array_size(c->calls) > 0;
    json_t *message = json_pack("{s:s,s:o,s:n}", "role", "assistant", "content",
                                calls || c->content.n ? text_or_null(&c->content) : json_string(""), "refusal");
    if (c->reasoning.n) json_object_set_new(message, "reasoning_content", text_or_null(&c->reasoning));
    if (!calls) return message;
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(c->calls); i++)
        json_array_append_new(list, call_json(json_array_get(c->calls, i), i, false));
    json_object_set_new(message, "tool_calls", list);
    return message;
}

static json_t *choices_json(job *j) {
    json_t *list = json_array();
    for (size_t i = 0; i < j->n_choices; i++) {
        choice *c = &j->choices[i];
        json_t *json = json_pack("{s:I,s:o,s:o,s:s}", "index", (json_int_t)i, "message", message_json(c), "logprobs",
                                 logprobs_json(choice_fresh_logprobs(c)), "finish_reason", finish_name(c->finish));
        json_array_append_new(list, choice_add_stop(c, json));
    }
    return list;
}

static void end_whole(job *j) {
    exchange_reply_json(j->x, 200,
                        json_pack("{s:s,s:s,s:I,s:s,s:o,s:o,s:o,s:n}", "id", j->id, "object", "chat.completion",
                                  "created", (json_int_t)j->created, "model", j->server->options->model_name,
                                  "choices", choices_json(j), "usage", job_usage(j), "timings", job_timings(j),
                                  "system_fingerprint"));
}

static const answer_shape whole = {.end = end_whole};

/* ---- stream */

static json_t *chunk_json(const job *j, json_t *choices) {
    json_t *chunk = json_pack("{s:s,s:s,s:I,s:s,s:n,s:o}", "id", j->id, "object", "chat.completion.chunk", "created",
                              (json_int_t)j->created, "model", j->server->options->model_name, "system_fingerprint",
                              "choices", choices);
    if (chunk && j->include_usage) json_object_set_new(chunk, "usage", json_null());
    return chunk;
}

static void send_delta(job *j, size_t index, json_t *delta, const char *finish) {
    json_t *logprobs = logprobs_json(choice_fresh_logprobs(&j->choices[index]));
    json_t *json = json_pack("{s:I,s:o,s:o,s:s?}", "index", (json_int_t)index, "delta", delta, "logprobs", logprobs,
                             "finish_reason", finish);
    if (finish) choice_add_stop(&j->choices[index], json);
    exchange_event(j->x, NULL, chunk_json(j, json_pack("[o]", json)));
}

static void start_stream(job *j) {
    exchange_begin_stream(j->x, "text/event-stream");
    for (size_t i = 0; i < j->n_choices; i++)
        send_delta(j, i, json_pack("{s:s,s:s}", "role", "assistant", "content", ""), NULL);
}

static void send_piece(job *j, size_t index, facet_reply_event_type type, const char *data, size_t n) {
    const char *key = type == FACET_REPLY_REASONING ? "reasoning_content" : "content";
    send_delta(j, index, json_pack("{s:o}", key, json_stringn(data, n)), NULL);
}

static void send_call(job *j, size_t index, const json_t *call, size_t at) {
    json_t *head = json_pack("{s:I,s:O,s:s,s:{s:O,s:s}}", "index", (json_int_t)at, "id", json_object_get(call, "id"),
                             "type", "function", "function", "name", json_object_get(call, "name"), "arguments", "");
    json_t *arguments = json_pack("{s:I,s:{s:O}}", "index", (json_int_t)at, "function", "arguments",
                                  json_object_get(call, "arguments"));
    send_delta(j, index, json_pack("{s:[o]}", "tool_calls", head), NULL);
    send_delta(j, index, json_pack("{s:[o]}", "tool_calls", arguments), NULL);
}

static void send_choice_end(job *j, size_t index) {
    send_delta(j, index, json_object(), finish_name(j->choices[index].finish));
}

static void end_stream(job *j) {
    if (j->include_usage) {
        json_t *chunk = chunk_json(j, json_array());
        json_object_set_new(chunk, "usage", job_usage(j));
        json_object_set_new(chunk, "timings", job_timings(j));
        exchange_event(j->x, NULL, chunk);
    }
    exchange_write(j->x, "data: [DONE]\n\n", strlen("data: [DONE]\n\n"));
}

static const answer_shape stream = {
    .start = start_stream, .piece = send_piece, .call = send_call, .choice_end = send_choice_end, .end = end_stream};

void openai_chat(exchange *x) {
    job *j = job_new(x, "chatcmpl-");
    if (!j) return;
    if (!openai_read_messages(j) || !read_request(j) || !job_render(j) || !constrain_prepare(j)) {
        job_refuse(j);
        return;
    }
    job_submit(j, j->stream ? &stream : &whole);
}
