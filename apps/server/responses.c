/* POST /v1/responses: whole answers, and the objects that its events hold too. */
#include "responses.h"
#include "constrain.h"

#include <stdlib.h>
#include <string.h>

static json_t *usage_json(const job *j) {
    return json_pack("{s:I,s:{s:I},s:I,s:{s:I},s:I}", "input_tokens", (json_int_t)j->prompt_tokens,
                     "input_tokens_details", "cached_tokens", (json_int_t)j->cached_tokens, "output_tokens",
                     (json_int_t)j->generated_tokens, "output_tokens_details", "reasoning_tokens",
                     (json_int_t)j->choices[0].n_reasoning, "total_tokens",
                     (json_int_t)(j->prompt_tokens + j->generated_tokens));
}

/* A field of the request as it was, or null. */
static json_t *echo(const job *j, const char *name) {
    const facet_value *value = facet_value_get(j->body, name);
    size_t n = 0;
    char *data = value ? facet_value_to_json(value, &n) : NULL;
    json_t *json =
        data ? json_loadb(data, n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL) : NULL;
    facet_free(data);
    return json ? json : json_null();
}

static json_t *echo_or(const job *j, const char *name, json_t *otherwise) {
    json_t *json = echo(j, name);
    if (!json_is_null(json)) {
        json_decref(otherwise);
        return json;
    }
    return otherwise;
}

static void add_settings(const job *j, json_t *r) {
    const facet_sampling *s = &j->generation.sampling;
    json_object_set_new(r, "instructions", echo(j, "instructions"));
    json_object_set_new(r, "metadata", echo_or(j, "metadata", json_object()));
    json_object_set_new(r, "tools", echo_or(j, "tools", json_array()));
    json_object_set_new(r, "tool_choice", echo_or(j, "tool_choice", json_string("auto")));
    json_object_set_new(r, "text", echo_or(j, "text", json_pack("{s:{s:s}}", "format", "type", "text")));
    json_object_set_new(r, "reasoning", echo_or(j, "reasoning", json_pack("{s:n,s:n}", "effort", "summary")));
    json_object_set_new(r, "top_logprobs", json_integer(j->generation.top_logprobs));
    json_object_set_new(r, "temperature", json_real((double)s->temperature));
    json_object_set_new(r, "top_p", json_real((double)s->top_p));
    json_object_set_new(r, "parallel_tool_calls", json_boolean(j->parallel_calls));
    bool limited = j->generation.max_tokens >= 0;
    json_object_set_new(r, "max_output_tokens", limited ? json_integer(j->generation.max_tokens) : json_null());
    json_object_set_new(r, "truncation", json_string("disabled"));
    json_object_set_new(r, "store", json_false());
    json_object_set_new(r, "user", json_null());
    json_object_set_new(r, "previous_response_id", json_null());
}

json_t *responses_json(const job *j, const char *status, json_t *output) {
    bool done = strcmp(status, "in_progress") != 0, cut = !strcmp(status, "incomplete");
    json_t *r = json_pack("{s:s,s:s,s:I,s:s,s:s,s:n,s:o,s:o,s:o}", "id", j->id, "object", "response", "created_at",
                          (json_int_t)j->created, "status", status, "model", j->server->options->model_name, "error",
                          "incomplete_details", cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null(),
                          "output", output, "usage", done ? usage_json(j) : json_null());
    if (r) add_settings(j, r);
    return r;
}

json_t *responses_reasoning(const char *id, const text *t) {
    return json_pack("{s:s,s:s,s:[],s:[{s:s,s:o}]}", "type", "reasoning", "id", id, "summary", "content", "type",
                     "reasoning_text", "text", json_stringn(cli_text_get(t), t->n));
}

json_t *responses_message(const char *id, const text *t, const char *status, json_t *logprobs) {
    return json_pack("{s:s,s:s,s:s,s:s,s:[{s:s,s:o,s:[],s:o}]}", "type", "message", "id", id, "status", status,
                     "role", "assistant", "content", "type", "output_text", "text",
                     json_stringn(cli_text_get(t), t->n), "annotations", "logprobs",
                     logprobs ? logprobs : json_array());
}

json_t *responses_call(const char *id, const json_t *call, const char *status) {
    return json_pack("{s:s,s:s,s:O,s:O,s:O,s:s}", "type", "function_call", "id", id, "call_id",
                     json_object_get(call, "id"), "name", json_object_get(call, "name"), "arguments",
                     json_object_get(call, "arguments"), "status", status);
}

static void end_whole(job *j) {
    choice *c = &j->choices[0];
    const char *status = c->finish == FINISH_LENGTH ? "incomplete" : "completed";
    json_t *output = json_array();
    char id[40];
    if (c->reasoning.n) {
        make_id(id, sizeof id, "rs_");
        json_array_append_new(output, responses_reasoning(id, &c->reasoning));
    }
    bool calls = json_array_size(c->calls) > 0;
    if (c->content.n || !calls) {
        make_id(id, sizeof id, "msg_");
        json_array_append_new(output, responses_message(id, &c->content, status, choice_fresh_logprobs(c)));
    }
    for (size_t i = 0; i < json_array_size(c->calls); i++) {
        make_id(id, sizeof id, "fc_");
        json_array_append_new(output, responses_call(id, json_array_get(c->calls, i), "completed"));
    }
    exchange_reply_json(j->x, 200, responses_json(j, status, output));
}

static const answer_shape whole = {.end = end_whole};

void openai_responses(exchange *x) {
    job *j = job_new(x, "resp_");
    if (!j) return;
    if (!responses_read(j) || !job_render(j) || !constrain_prepare(j) ||
        (j->stream && !responses_stream_prepare(j))) {
        job_refuse(j);
        return;
    }
    job_submit(j, j->stream ? &responses_stream : &whole);
}
