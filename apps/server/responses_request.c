/* Requests of the responses API: items become messages of the chat API, which are then read as such. */
#include "constrain.h"
#include "messages.h"
#include "params.h"
#include "responses.h"
#include "value.h"

#include <string.h>

static bool copy_field(const fields *from, const char *name, facet_value *to, const char *as) {
    const facet_value *value = field_get(from, name);
    return !value || value_put(from->error, to, as, cli_value_copy(value));
}

static bool put_text(const fields *f, facet_value *to, const char *key, const char *value) {
    return value_put(f->error, to, key, cli_value_text(value));
}

static bool fill_message(const fields *item, facet_value *m) {
    facet_value *content = NULL;
    if (!field_has(item, "role")) return field_refuse(item, "role", "is missing");
    if (!content_value(item, "content", &content)) return false;
    return (!content || value_put(item->error, m, "content", content)) && copy_field(item, "role", m, "role");
}

static bool fill_call(const fields *item, facet_value *m) {
    facet_value *function = facet_value_object(), *call = facet_value_object(), *calls = facet_value_array();
    bool ok = field_has(item, "name") || field_refuse(item, "name", "is missing");
    ok = ok && copy_field(item, "name", function, "name") && copy_field(item, "arguments", function, "arguments") &&
         copy_field(item, "call_id", call, "id");
    ok = value_put(item->error, call, "function", function) && ok;
    ok = value_add(item->error, calls, call) && ok;
    return value_put(item->error, m, "tool_calls", calls) && ok && put_text(item, m, "role", "assistant");
}

static bool fill_output(const fields *item, facet_value *m) {
    facet_value *content = NULL;
    if (!content_value(item, "output", &content)) return false;
    return value_put(item->error, m, "content", content ? content : cli_value_text("")) &&
           put_text(item, m, "role", "tool") && copy_field(item, "call_id", m, "tool_call_id");
}

/* A thought stands before what it led to: a message of its own, which the chat format joins with the next. */
static bool fill_reasoning(const fields *item, facet_value *m) {
    const facet_value *parts;
    text all = {0};
    bool ok = field_array(item, "content", &parts);
    for (size_t i = 0; ok && i < facet_value_count(parts); i++) {
        size_t n = 0;
        const facet_value *part = facet_value_get(facet_value_at(parts, i), "text");
        const char *data = facet_value_typeof(part) == FACET_VALUE_STRING ? facet_value_text(part, &n) : "";
        ok = cli_text_append(&all, data, n) || request_refuse(item->error, 500, "", "", "out of memory");
    }
    ok = ok && put_text(item, m, "role", "assistant") &&
         value_put(item->error, m, "reasoning_content", facet_value_string(cli_text_get(&all), all.n));
    cli_text_free(&all);
    return ok;
}

static bool add_item(const fields *item, facet_value *messages) {
    static const char *const types[] = {"message", "function_call", "function_call_output", "reasoning", NULL};
    int type = 0;
    if (facet_value_typeof(item->object) != FACET_VALUE_OBJECT) return field_refuse(item, "", "must be an object");
    if (!field_word(item, "type", types, &type)) return false;
    facet_value *m = facet_value_object();
    bool (*const fill[])(const fields *, facet_value *) = {fill_message, fill_call, fill_output, fill_reasoning};
    bool ok = fill[type](item, m);
    return value_add(item->error, messages, m) && ok;
}

static bool add_input(const fields *f, facet_value *messages) {
    const facet_value *input = field_get(f, "input");
    const facet_value_type type = facet_value_typeof(input);
    if (type == FACET_VALUE_STRING) {
        facet_value *m = facet_value_object();
        bool ok = put_text(f, m, "role", "user") && copy_field(f, "input", m, "content");
        return value_add(f->error, messages, m) && ok;
    }
    if (type != FACET_VALUE_ARRAY || !facet_value_count(input))
        return field_refuse(f, "input", "must be a string or an array of one or more items");
    for (size_t i = 0; i < facet_value_count(input); i++) {
        char path[40];
        snprintf(path, sizeof path, "input[%zu]", i);
        const fields item = {facet_value_at(input, i), path, f->error};
        if (!add_item(&item, messages)) return false;
    }
    return true;
}

static bool add_instructions(const fields *f, facet_value *messages) {
    if (!field_has(f, "instructions")) return true;
    facet_value *m = facet_value_object();
    bool ok = put_text(f, m, "role", "system") && copy_field(f, "instructions", m, "content");
    return value_add(f->error, messages, m) && ok;
}

/* Tools lie flat here: {type: function, name, description, parameters}. */
static bool add_tools(const fields *f, facet_value *request) {
    const facet_value *array;
    if (!field_array(f, "tools", &array)) return false;
    facet_value *tools = facet_value_array();
    bool ok = true;
    for (size_t i = 0; ok && i < facet_value_count(array); i++) {
        char path[40];
        snprintf(path, sizeof path, "tools[%zu]", i);
        const fields tool = {facet_value_at(array, i), path, f->error};
        if (!value_says(field_get(&tool, "type"), "function")) {
            ok = field_refuse(&tool, "type", "must be: function");
            break;
        }
        facet_value *wrapper = facet_value_object();
        ok = copy_field(&tool, "type", wrapper, "type") &&
             value_put(f->error, wrapper, "function", cli_value_copy(tool.object));
        ok = value_add(f->error, tools, wrapper) && ok;
    }
    return value_put(f->error, request, "tools", tools) && ok;
}

/* text.format is response_format with the schema's fields one level higher. */
static bool add_format(const fields *f, facet_value *request) {
    const facet_value *outer, *format;
    if (!field_object(f, "text", &outer)) return false;
    const fields inner = {outer, "text", f->error};
    if (!outer || !field_object(&inner, "format", &format)) return !outer;
    if (!format) return true;
    facet_value *copy = cli_value_copy(format);
    bool ok = !value_says(facet_value_get(format, "type"), "json_schema") ||
              value_put(f->error, copy, "json_schema", cli_value_copy(format));
    return value_put(f->error, request, "response_format", copy) && ok;
}

static bool convert(job *j, const fields *f) {
    facet_value *messages = facet_value_array();
    j->request = facet_value_object();
    bool ok = add_instructions(f, messages) && add_input(f, messages);
    return value_put(f->error, j->request, "messages", messages) && ok && add_tools(f, j->request) &&
           copy_field(f, "tool_choice", j->request, "tool_choice") &&
           copy_field(f, "parallel_tool_calls", j->request, "parallel_tool_calls") && add_format(f, j->request);
}

/* What else is wanted; "message.output_text.logprobs" is the only one that means something here. */
static bool read_include(job *j, const fields *f) {
    const facet_value *array;
    if (!field_array(f, "include", &array)) return false;
    j->generation.logprobs = j->generation.top_logprobs > 0;
    for (size_t i = 0; i < facet_value_count(array); i++)
        j->generation.logprobs |= value_says(facet_value_at(array, i), "message.output_text.logprobs");
    return true;
}

bool responses_read(job *j) {
    if (!job_parse(j)) return false;
    const fields f = {j->body, "", &j->error};
    j->is_chat = true;
    if (field_has(&f, "previous_response_id"))
        return field_refuse(&f, "previous_response_id", "is not supported: nothing is stored; send the conversation");
    if (field_has(&f, "conversation"))
        return field_refuse(&f, "conversation", "is not supported: nothing is stored; send the conversation");
    if (!convert(j, &f)) return false;
    const fields converted = {j->request, "", &j->error};
    return messages_read(j, &converted) && tools_read(j, &converted) && constrain_read_format(j, &converted) &&
           params_sampling(j, &f) && params_thinking(j, &f) && field_bool(&f, "stream", &j->stream) &&
           field_int32(&f, "top_logprobs", 0, 20, &j->generation.top_logprobs) && read_include(j, &f) &&
           field_int32(&f, "max_output_tokens", 1, INT32_MAX, &j->generation.max_tokens);
}
