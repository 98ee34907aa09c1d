/* Requests of Anthropic's messages API: blocks of content become messages of OpenAI's shape. */
#include "anthropic.h"
#include "messages.h"
#include "params.h"
#include "value.h"

#include <string.h>

static bool no_memory(request_error *e) { return request_refuse(e, 500, "", "", "out of memory"); }

/* What the blocks of one message become. */
typedef struct turn {
    facet_value *messages; /* borrowed: tool results go here at once */
    text content, thought;
    facet_value *calls; /* NULL: none */
    bool has_content;
} turn;

static void turn_free(turn *t) {
    cli_text_free(&t->content);
    cli_text_free(&t->thought);
    facet_value_free(t->calls);
}

static bool add_text(const fields *block, const char *key, text *to) {
    const char *data = NULL;
    size_t n = 0;
    if (!field_string(block, key, &data, &n)) return false;
    if (!data) return field_refuse(block, key, "is missing");
    return cli_text_append(to, data, n) || no_memory(block->error);
}

static bool take_string(const fields *f, const char *name, facet_value *to, const char *as) {
    const char *data = NULL;
    size_t n = 0;
    if (!field_string(f, name, &data, &n)) return false;
    if (!data || !n) return field_refuse(f, name, "is missing");
    return value_put(f->error, to, as, facet_value_string(data, n));
}

static bool add_call(const fields *block, turn *t) {
    facet_value *call = facet_value_object(), *function = facet_value_object(), *arguments = NULL;
    bool ok = take_string(block, "name", function, "name") && arguments_value(block, "input", &arguments) &&
              value_put(block->error, function, "arguments", arguments);
    ok = value_put(block->error, call, "function", function) && ok;
    ok = ok && take_string(block, "id", call, "id");
    if (!t->calls) t->calls = facet_value_array();
    return value_add(block->error, t->calls, call) && ok;
}

static bool add_result(const fields *block, turn *t) {
    facet_value *content = NULL, *message = facet_value_object();
    bool ok = value_put(block->error, message, "role", cli_value_text("tool")) &&
              take_string(block, "tool_use_id", message, "tool_call_id") &&
              content_value(block, "content", &content) &&
              value_put(block->error, message, "content", content ? content : cli_value_text(""));
    return value_add(block->error, t->messages, message) && ok;
}

static bool add_block(const fields *block, bool is_assistant, turn *t) {
    static const char *const types[] = {"text",  "tool_use", "tool_result", "thinking", "redacted_thinking",
                                        "image", "document", NULL};
    int type = -1;
    if (facet_value_typeof(block->object) != FACET_VALUE_OBJECT) return field_refuse(block, "", "must be an object");
    if (!field_word(block, "type", types, &type)) return false;
    switch (type) {
    case -1: return field_refuse(block, "type", "is missing");
    case 0: t->has_content = true; return add_text(block, "text", &t->content);
    case 1: return is_assistant ? add_call(block, t) : field_refuse(block, "type", "belongs to the assistant");
    case 2: return is_assistant ? field_refuse(block, "type", "belongs to the user") : add_result(block, t);
    case 3: return add_text(block, "thinking", &t->thought);
    case 4: return true;
    default: return field_refuse(block, "type", "is %s: only text is supported", types[type]);
    }
}

/* The message of what is left after its tool results. */
static bool end_turn(turn *t, bool is_assistant, request_error *e) {
    if (!is_assistant && !t->has_content) return true;
    facet_value *m = facet_value_object();
    bool ok = value_put(e, m, "role", cli_value_text(is_assistant ? "assistant" : "user")) &&
              value_put(e, m, "content", facet_value_string(cli_text_get(&t->content), t->content.n));
    if (ok && t->thought.n)
        ok = value_put(e, m, "reasoning_content", facet_value_string(t->thought.data, t->thought.n));
    if (ok && t->calls) {
        ok = value_put(e, m, "tool_calls", t->calls);
        t->calls = NULL;
    }
    return value_add(e, t->messages, m) && ok;
}

static bool add_message(const fields *m, facet_value *messages) {
    static const char *const roles[] = {"user", "assistant", NULL};
    int role = -1;
    char path[80];
    if (facet_value_typeof(m->object) != FACET_VALUE_OBJECT) return field_refuse(m, "", "must be an object");
    if (!field_word(m, "role", roles, &role)) return false;
    if (role < 0) return field_refuse(m, "role", "is missing");
    const facet_value *content = field_get(m, "content");
    turn t = {.messages = messages};
    bool ok = true;
    if (facet_value_typeof(content) == FACET_VALUE_STRING) {
        t.has_content = true;
        ok = add_text(m, "content", &t.content);
    } else if (facet_value_typeof(content) != FACET_VALUE_ARRAY) {
        ok = field_refuse(m, "content", "must be a string or an array of blocks");
    }
    for (size_t i = 0; ok && i < facet_value_count(content); i++) {
        snprintf(path, sizeof path, "%.40s.content[%zu]", m->prefix, i);
        const fields block = {facet_value_at(content, i), path, m->error};
        ok = add_block(&block, role == 1, &t);
    }
    ok = ok && end_turn(&t, role == 1, m->error);
    turn_free(&t);
    return ok;
}

static bool read_system(job *j, const fields *f) {
    facet_value *content = NULL;
    if (!content_value(f, "system", &content)) return false;
    if (!content) return true;
    facet_value *m = facet_value_object();
    bool ok = value_put(f->error, m, "role", cli_value_text("system"));
    ok = value_put(f->error, m, "content", content) && ok;
    return value_add(f->error, j->messages, m) && ok;
}

static bool read_messages(job *j, const fields *f) {
    const facet_value *array;
    if (!field_array(f, "messages", &array)) return false;
    size_t n = facet_value_count(array);
    if (!n) return field_refuse(f, "messages", "must be an array of one or more messages");
    j->messages = facet_value_array();
    if (!j->messages) return no_memory(f->error);
    if (!read_system(j, f)) return false;
    for (size_t i = 0; i < n; i++) {
        char path[40];
        snprintf(path, sizeof path, "messages[%zu]", i);
        const fields m = {facet_value_at(array, i), path, f->error};
        if (!add_message(&m, j->messages)) return false;
    }
    const facet_value *last = facet_value_at(j->messages, facet_value_count(j->messages) - 1);
    j->continues = value_says(facet_value_get(last, "role"), "assistant") && !facet_value_get(last, "tool_calls");
    return true;
}

static bool add_tool(const fields *tool, facet_value *tools) {
    const facet_value *schema, *description = field_get(tool, "description");
    if (facet_value_typeof(tool->object) != FACET_VALUE_OBJECT) return field_refuse(tool, "", "must be an object");
    const facet_value *type = field_get(tool, "type");
    if (type && !value_says(type, "custom")) return field_refuse(tool, "type", "must be: custom");
    if (!field_object(tool, "input_schema", &schema)) return false;
    facet_value *function = facet_value_object(), *copy = facet_value_object();
    bool ok = take_string(tool, "name", function, "name");
    if (ok && description) ok = value_put(tool->error, function, "description", cli_value_copy(description));
    if (ok && schema) ok = value_put(tool->error, function, "parameters", cli_value_copy(schema));
    ok = value_put(tool->error, copy, "function", function) && ok;
    ok = value_put(tool->error, copy, "type", cli_value_text("function")) && ok;
    return value_add(tool->error, tools, copy) && ok;
}

/* tool_choice in OpenAI's words; NULL: nothing to say. */
static bool choice_value(const fields *f, facet_value **out, bool *parallel) {
    static const char *const types[] = {"auto", "any", "tool", "none", NULL};
    static const char *const words[] = {"auto", "required", NULL, "none"};
    const facet_value *object;
    int type = -1;
    bool alone = false;
    *out = NULL;
    if (!field_object(f, "tool_choice", &object)) return false;
    if (!object) return true;
    const fields chosen = {object, "tool_choice", f->error};
    if (!field_word(&chosen, "type", types, &type) || !field_bool(&chosen, "disable_parallel_tool_use", &alone))
        return false;
    if (type < 0) return field_refuse(&chosen, "type", "is missing");
    if (alone) *parallel = false;
    if (type != 2) {
        *out = cli_value_text(words[type]);
        return true;
    }
    facet_value *function = facet_value_object();
    *out = facet_value_object();
    bool ok = take_string(&chosen, "name", function, "name");
    return value_put(f->error, *out, "function", function) && ok;
}

static bool read_tools(job *j, const fields *f) {
    const facet_value *array;
    facet_value *request = facet_value_object(), *tools = facet_value_array(), *chosen = NULL;
    bool ok = field_array(f, "tools", &array);
    for (size_t i = 0; ok && i < facet_value_count(array); i++) {
        char path[40];
        snprintf(path, sizeof path, "tools[%zu]", i);
        const fields tool = {facet_value_at(array, i), path, f->error};
        ok = add_tool(&tool, tools);
    }
    ok = value_put(f->error, request, "tools", tools) && ok;
    ok = ok && choice_value(f, &chosen, &j->parallel_calls);
    if (chosen) ok = value_put(f->error, request, "tool_choice", chosen) && ok;
    const fields converted = {request, "", f->error};
    ok = ok && tools_read(j, &converted);
    j->request = request; /* the name of the tool lives there */
    return ok;
}

static bool read_thinking(job *j, const fields *f) {
    static const char *const types[] = {"disabled", "enabled", "adaptive", NULL};
    const facet_value *object;
    int type = 0;
    if (!field_object(f, "thinking", &object)) return false;
    if (!object) return true;
    const fields thinking = {object, "thinking", f->error};
    if (!field_word(&thinking, "type", types, &type)) return false;
    j->thinking = type > 0;
    return field_int32(&thinking, "budget_tokens", 0, INT32_MAX, &j->thinking_budget);
}

bool anthropic_read(job *j, bool count) {
    if (!job_parse(j)) return false;
    const fields f = {j->body, "", &j->error};
    j->is_chat = true;
    if (!read_messages(j, &f) || !read_tools(j, &f) || !read_thinking(j, &f)) return false;
    if (count) return true;
    if (!field_has(&f, "max_tokens")) return field_refuse(&f, "max_tokens", "is missing");
    return params_sampling(j, &f) && params_stop(j, &f, "stop_sequences") && params_stream(j, &f) &&
           field_int32(&f, "max_tokens", 1, INT32_MAX, &j->generation.max_tokens);
}
