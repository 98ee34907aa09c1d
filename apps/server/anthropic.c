/* POST /v1/messages and /v1/messages/count_tokens: Anthropic's answers, whole and as events. */
#include "anthropic.h"
#include "constrain.h"

#include <stdlib.h>
#include <string.h>

static const char *stop_reason(const choice *c) {
    if (c->finish == FINISH_LENGTH) return "max_tokens";
    if (c->finish == FINISH_TOOL_CALLS) return "tool_use";
    return c->stop ? "stop_sequence" : "end_turn";
}

static json_t *usage_json(const job *j) {
    return json_pack("{s:I,s:I,s:i,s:I}", "input_tokens", (json_int_t)(j->prompt_tokens - j->cached_tokens),
                     "cache_read_input_tokens", (json_int_t)j->cached_tokens, "cache_creation_input_tokens", 0,
                     "output_tokens", (json_int_t)j->generated_tokens);
}

/* ---- whole */

static json_t *call_block(const json_t *call) {
    json_t *arguments = json_object_get(call, "arguments");
    const char *data = json_string_value(arguments);
    size_t n = json_string_length(arguments);
    json_t *input = json_loadb(data, n, JSON_ALLOW_NUL, NULL);
    if (!input) input = json_loadb(data, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL); /* beyond 64 bits */
    return json_pack("{s:s,s:O,s:O,s:o}", "type", "tool_use", "id", json_object_get(call, "id"), "name",
                     json_object_get(call, "name"), "input", input ? input : json_object());
}

static json_t *content_json(const choice *c) {
    json_t *blocks = json_array();
    if (c->reasoning.n)
        json_array_append_new(blocks, json_pack("{s:s,s:o,s:s}", "type", "thinking", "thinking",
                                                json_stringn(c->reasoning.data, c->reasoning.n), "signature", ""));
    if (c->content.n)
        json_array_append_new(
            blocks, json_pack("{s:s,s:o}", "type", "text", "text", json_stringn(c->content.data, c->content.n)));
    for (size_t i = 0; i < json_array_size(c->calls); i++)
        json_array_append_new(blocks, call_block(json_array_get(c->calls, i)));
    return blocks;
}

static json_t *message_json(const job *j, json_t *content, const char *reason, const char *sequence) {
    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:s?,s:s?,s:o}", "id", j->id, "type", "message", "role", "assistant",
                     "model", j->server->options->model_name, "content", content, "stop_reason", reason,
                     "stop_sequence", sequence, "usage", usage_json(j));
}

static void end_whole(job *j) {
    const choice *c = &j->choices[0];
    exchange_reply_json(j->x, 200, message_json(j, content_json(c), stop_reason(c), j->choices[0].stop));
}

static const answer_shape whole = {.end = end_whole};

/* ---- stream */

typedef struct blocks {
    bool is_open;
    facet_reply_event_type type; /* of the open one */
    json_int_t index;            /* of the open one, or of the next */
} blocks;

static void send_event(job *j, const char *name, json_t *json) { exchange_event(j->x, name, json); }

static void close_block(job *j, blocks *b) {
    if (!b->is_open) return;
    if (b->type == FACET_REPLY_REASONING)
        send_event(j, "content_block_delta",
                   json_pack("{s:s,s:I,s:{s:s,s:s}}", "type", "content_block_delta", "index", b->index, "delta",
                             "type", "signature_delta", "signature", ""));
    send_event(j, "content_block_stop", json_pack("{s:s,s:I}", "type", "content_block_stop", "index", b->index));
    b->is_open = false;
    b->index++;
}

static void open_block(job *j, blocks *b, facet_reply_event_type type, json_t *block) {
    close_block(j, b);
    b->is_open = true;
    b->type = type;
    send_event(j, "content_block_start",
               json_pack("{s:s,s:I,s:o}", "type", "content_block_start", "index", b->index, "content_block", block));
}

static void send_delta(job *j, const blocks *b, const char *type, const char *key, json_t *value) {
    send_event(j, "content_block_delta",
               json_pack("{s:s,s:I,s:{s:s,s:o}}", "type", "content_block_delta", "index", b->index, "delta", "type",
                         type, key, value));
}

static void start_stream(job *j) {
    json_t *message = message_json(j, json_array(), NULL, NULL);
    json_t *usage = json_object_get(message, "usage");
    json_object_set_new(usage, "input_tokens", json_integer((json_int_t)j->prompts[0].n));
    send_event(j, "message_start", json_pack("{s:s,s:o}", "type", "message_start", "message", message));
    send_event(j, "ping", json_pack("{s:s}", "type", "ping"));
}

static void send_piece(job *j, size_t index, facet_reply_event_type type, const char *data, size_t n) {
    blocks *b = j->state;
    bool thought = type == FACET_REPLY_REASONING;
    (void)index;
    if (!b->is_open || b->type != type)
        open_block(j, b, type,
                   thought ? json_pack("{s:s,s:s,s:s}", "type", "thinking", "thinking", "", "signature", "")
                           : json_pack("{s:s,s:s}", "type", "text", "text", ""));
    send_delta(j, b, thought ? "thinking_delta" : "text_delta", thought ? "thinking" : "text", json_stringn(data, n));
}

static void send_call(job *j, size_t index, const json_t *call, size_t at) {
    blocks *b = j->state;
    (void)index;
    (void)at;
    open_block(j, b, FACET_REPLY_TOOL_CALL,
               json_pack("{s:s,s:O,s:O,s:{}}", "type", "tool_use", "id", json_object_get(call, "id"), "name",
                         json_object_get(call, "name"), "input"));
    send_delta(j, b, "input_json_delta", "partial_json", json_incref(json_object_get(call, "arguments")));
    close_block(j, b);
}

static void end_stream(job *j) {
    close_block(j, j->state);
    send_event(j, "message_delta",
               json_pack("{s:s,s:{s:s,s:s?},s:o}", "type", "message_delta", "delta", "stop_reason",
                         stop_reason(&j->choices[0]), "stop_sequence", j->choices[0].stop, "usage", usage_json(j)));
    send_event(j, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static const answer_shape stream = {.start = start_stream, .piece = send_piece, .call = send_call, .end = end_stream};

void anthropic_messages(exchange *x) {
    job *j = job_new(x, "msg_");
    if (!j) return;
    j->state = calloc(1, sizeof(blocks));
    j->free_state = free;
    if (!j->state) request_refuse(&j->error, 500, "", "", "out of memory");
    if (!j->state || !anthropic_read(j, false) || !job_render(j) || !constrain_prepare(j)) {
        job_refuse(j);
        return;
    }
    job_submit(j, j->stream ? &stream : &whole);
}

void anthropic_count_tokens(exchange *x) {
    job *j = job_new(x, "");
    if (!j) return;
    if (!anthropic_read(j, true) || !job_render(j)) {
        job_refuse(j);
        return;
    }
    exchange_reply_json(x, 200, json_pack("{s:I}", "input_tokens", (json_int_t)j->prompts[0].n));
    job_free(j);
}
