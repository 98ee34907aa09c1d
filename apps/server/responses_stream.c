/* The events of /v1/responses. Each item of the output is opened, filled by deltas, and told again as a whole when it
 * is done. */
#include "responses.h"

#include <stdlib.h>
#include <string.h>

typedef struct item {
    bool is_open;
    facet_reply_event_type type;
    char id[40];
    text content;
    json_t *logprobs; /* of the content so far; NULL: not wanted */
} item;

typedef struct events {
    json_int_t number; /* of the next event */
    json_int_t index;  /* of the open item, or of the next */
    item item;
    json_t *output; /* the items that are done */
} events;

static void free_events(void *state) {
    events *e = state;
    if (!e) return;
    cli_text_free(&e->item.content);
    json_decref(e->item.logprobs);
    json_decref(e->output);
    free(e);
}

/* Takes the JSON. */
static void send_event(job *j, const char *type, json_t *json) {
    events *e = j->state;
    if (json) {
        json_object_set_new(json, "type", json_string(type));
        json_object_set_new(json, "sequence_number", json_integer(e->number++));
    }
    exchange_event(j->x, type, json);
}

static json_t *where(const events *e) {
    return json_pack("{s:s,s:I,s:i}", "item_id", e->item.id, "output_index", e->index, "content_index", 0);
}

static void send_at(job *j, const char *type, const char *key, json_t *value) {
    json_t *json = where(j->state);
    json_object_set_new(json, key, value);
    send_event(j, type, json);
}

static void send_item(job *j, const char *type, json_t *value) {
    const events *e = j->state;
    send_event(j, type, json_pack("{s:I,s:o}", "output_index", e->index, "item", value));
}

static json_t *item_logprobs(const item *i) { return i->logprobs ? json_copy(i->logprobs) : json_array(); }

static json_t *text_part(const item *i) {
    bool thought = i->type == FACET_REPLY_REASONING;
    json_t *content = json_stringn(cli_text_get(&i->content), i->content.n);
    if (thought) return json_pack("{s:s,s:o}", "type", "reasoning_text", "text", content);
    return json_pack("{s:s,s:o,s:[],s:o}", "type", "output_text", "text", content, "annotations", "logprobs",
                     item_logprobs(i));
}

static json_t *whole_item(const item *i, const char *status) {
    if (i->type == FACET_REPLY_REASONING) return responses_reasoning(i->id, &i->content);
    return responses_message(i->id, &i->content, status, item_logprobs(i));
}

static json_t *empty_item(const item *i) {
    if (i->type == FACET_REPLY_REASONING)
        return json_pack("{s:s,s:s,s:[],s:[]}", "type", "reasoning", "id", i->id, "summary", "content");
    return json_pack("{s:s,s:s,s:s,s:s,s:[]}", "type", "message", "id", i->id, "status", "in_progress", "role",
                     "assistant", "content");
}

static void close_item(job *j, const char *status) {
    events *e = j->state;
    item *i = &e->item;
    if (!i->is_open) return;
    bool thought = i->type == FACET_REPLY_REASONING;
    json_t *done = where(e);
    json_object_set_new(done, "text", json_stringn(cli_text_get(&i->content), i->content.n));
    if (!thought) json_object_set_new(done, "logprobs", item_logprobs(i));
    send_event(j, thought ? "response.reasoning_text.done" : "response.output_text.done", done);
    send_at(j, "response.content_part.done", "part", text_part(i));
    send_item(j, "response.output_item.done", whole_item(i, status));
    json_array_append_new(e->output, whole_item(i, status));
    cli_text_clear(&i->content);
    json_decref(i->logprobs);
    i->logprobs = NULL;
    i->is_open = false;
    e->index++;
}

static void open_item(job *j, facet_reply_event_type type) {
    events *e = j->state;
    close_item(j, "completed");
    e->item.is_open = true;
    e->item.type = type;
    make_id(e->item.id, sizeof e->item.id, type == FACET_REPLY_REASONING ? "rs_" : "msg_");
    send_item(j, "response.output_item.added", empty_item(&e->item));
    send_at(j, "response.content_part.added", "part", text_part(&e->item));
}

static void start_stream(job *j) {
    send_event(j, "response.created", json_pack("{s:o}", "response", responses_json(j, "in_progress", json_array())));
    send_event(j, "response.in_progress",
               json_pack("{s:o}", "response", responses_json(j, "in_progress", json_array())));
}

/* Those that came with a piece; the item keeps them too. */
static json_t *fresh_logprobs(job *j, item *i) {
    json_t *fresh = choice_fresh_logprobs(&j->choices[0]);
    if (!fresh) return json_array();
    if (!i->logprobs) i->logprobs = json_array();
    json_array_extend(i->logprobs, fresh);
    return fresh;
}

static void send_piece(job *j, size_t index, facet_reply_event_type type, const char *data, size_t n) {
    events *e = j->state;
    bool thought = type == FACET_REPLY_REASONING;
    (void)index;
    if (!e->item.is_open || e->item.type != type) open_item(j, type);
    if (!cli_text_append(&e->item.content, data, n)) exchange_cancel(j->x);
    json_t *delta = where(e);
    json_object_set_new(delta, "delta", json_stringn(data, n));
    if (!thought) json_object_set_new(delta, "logprobs", fresh_logprobs(j, &e->item));
    send_event(j, thought ? "response.reasoning_text.delta" : "response.output_text.delta", delta);
}

static void send_call(job *j, size_t index, const json_t *call, size_t at) {
    events *e = j->state;
    char id[40];
    (void)index;
    (void)at;
    close_item(j, "completed");
    make_id(id, sizeof id, "fc_");
    json_t *added = responses_call(id, call, "in_progress"), *done = responses_call(id, call, "completed");
    json_object_set_new(added, "arguments", json_string(""));
    send_item(j, "response.output_item.added", added);
    send_event(j, "response.function_call_arguments.delta",
               json_pack("{s:s,s:I,s:O}", "item_id", id, "output_index", e->index, "delta",
                         json_object_get(call, "arguments")));
    send_event(j, "response.function_call_arguments.done",
               json_pack("{s:s,s:I,s:O,s:O}", "item_id", id, "output_index", e->index, "arguments",
                         json_object_get(call, "arguments"), "name", json_object_get(call, "name")));
    send_item(j, "response.output_item.done", json_incref(done));
    json_array_append_new(e->output, done);
    e->index++;
}

static void end_stream(job *j) {
    events *e = j->state;
    bool cut = j->choices[0].finish == FINISH_LENGTH;
    close_item(j, cut ? "incomplete" : "completed");
    send_event(
        j, cut ? "response.incomplete" : "response.completed",
        json_pack("{s:o}", "response", responses_json(j, cut ? "incomplete" : "completed", json_incref(e->output))));
}

bool responses_stream_prepare(job *j) {
    events *e = calloc(1, sizeof *e);
    if (e) e->output = json_array();
    j->state = e;
    j->free_state = free_events;
    return (e && e->output) || request_refuse(&j->error, 500, "", "", "out of memory");
}

const answer_shape responses_stream = {
    .start = start_stream, .piece = send_piece, .call = send_call, .end = end_stream};
