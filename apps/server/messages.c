/* Messages: see messages.h. */
#include "messages.h"
#include "json.h"
#include "value.h"

#include <string.h>

static bool no_memory(request_error *e) { return request_refuse(e, 500, "", "", "out of memory"); }

bool value_put(request_error *e, facet_value *object, const char *key, facet_value *item) {
    return cli_value_set(object, key, item) || no_memory(e);
}

bool value_add(request_error *e, facet_value *array, facet_value *item) {
    return !facet_value_append(array, item) || no_memory(e);
}

/* ---- contents */

static bool is_text_type(const facet_value *type) {
    return value_says(type, "text") || value_says(type, "input_text") || value_says(type, "output_text");
}

static bool add_part(const fields *part, facet_value *parts) {
    const facet_value *type = field_get(part, "type");
    const char *key = value_says(type, "refusal") ? "refusal" : "text", *data = NULL;
    size_t n = 0;
    if (!is_text_type(type) && !value_says(type, "refusal")) {
        const char *name = facet_value_typeof(type) == FACET_VALUE_STRING ? facet_value_text(type, NULL) : NULL;
        if (!name) return field_refuse(part, "type", "is missing");
        return field_refuse(part, "type", "is %.40s: only text is supported", name);
    }
    if (!field_string(part, key, &data, &n)) return false;
    if (!data) return field_refuse(part, key, "is missing");
    facet_value *copy = facet_value_object();
    bool ok = value_put(part->error, copy, "type", cli_value_text("text")) &&
              value_put(part->error, copy, "text", facet_value_string(data, n));
    if (!ok) {
        facet_value_free(copy);
        return false;
    }
    return value_add(part->error, parts, copy);
}

static bool parts_value(const fields *f, const char *name, const facet_value *array, facet_value **out) {
    char prefix[160], path[160];
    field_path(f, name, prefix, sizeof prefix);
    facet_value *parts = facet_value_array();
    bool ok = parts || no_memory(f->error);
    for (size_t i = 0; ok && i < facet_value_count(array); i++) {
        snprintf(path, sizeof path, "%.130s[%zu]", prefix, i);
        const fields part = {facet_value_at(array, i), path, f->error};
        ok = facet_value_typeof(part.object) == FACET_VALUE_OBJECT ? add_part(&part, parts)
                                                                   : field_refuse(&part, "", "must be an object");
    }
    if (!ok) facet_value_free(parts);
    *out = ok ? parts : NULL;
    return ok;
}

bool content_value(const fields *f, const char *name, facet_value **out) {
    const facet_value *value = field_get(f, name);
    *out = NULL;
    if (!value) return true;
    if (facet_value_typeof(value) == FACET_VALUE_ARRAY) return parts_value(f, name, value, out);
    if (facet_value_typeof(value) != FACET_VALUE_STRING)
        return field_refuse(f, name, "must be a string or an array of parts");
    *out = cli_value_copy(value);
    return *out || no_memory(f->error);
}

/* ---- tool calls */

bool arguments_value(const fields *f, const char *name, facet_value **out) {
    const facet_value *value = field_get(f, name);
    size_t n = 0;
    const char *data = facet_value_typeof(value) == FACET_VALUE_STRING ? facet_value_text(value, &n) : NULL;
    bool empty = !value || (data && strspn(data, " \t\r\n") == n);
    *out = NULL;
    if (empty) {
        *out = facet_value_object();
    } else if (data) {
        char why[200];
        facet_value *inner = json_parse(data, n, why, sizeof why);
        if (!inner && json_lacked_memory(why)) return no_memory(f->error);
        if (!inner) return field_refuse(f, name, "holds no JSON object: %s", why);
        if (facet_value_typeof(inner) != FACET_VALUE_OBJECT) {
            facet_value_free(inner);
            return field_refuse(f, name, "holds no JSON object");
        }
        *out = inner;
    } else if (facet_value_typeof(value) == FACET_VALUE_OBJECT) {
        *out = cli_value_copy(value);
    } else {
        return field_refuse(f, name, "must be a string that holds a JSON object");
    }
    return *out || no_memory(f->error);
}

static bool add_call(const fields *call, facet_value *calls) {
    const facet_value *function;
    const char *id = NULL, *name = NULL;
    size_t id_bytes = 0, name_bytes = 0;
    char prefix[160];
    if (!field_string(call, "id", &id, &id_bytes) || !field_object(call, "function", &function)) return false;
    if (!function) return field_refuse(call, "function", "is missing");
    field_path(call, "function", prefix, sizeof prefix);
    const fields f = {function, prefix, call->error};
    if (!field_string(&f, "name", &name, &name_bytes)) return false;
    if (!name || !name_bytes) return field_refuse(&f, "name", "is missing");
    facet_value *arguments = NULL;
    if (!arguments_value(&f, "arguments", &arguments)) return false;
    facet_value *inner = facet_value_object(), *copy = facet_value_object();
    bool ok = value_put(f.error, inner, "name", facet_value_string(name, name_bytes));
    ok = value_put(f.error, inner, "arguments", arguments) && ok;
    ok = value_put(f.error, copy, "function", inner) && ok;
    ok = value_put(f.error, copy, "type", cli_value_text("function")) && ok;
    if (id) ok = value_put(f.error, copy, "id", facet_value_string(id, id_bytes)) && ok;
    return value_add(f.error, calls, copy) && ok;
}

static bool add_calls(const fields *message, facet_value *copy) {
    const facet_value *array;
    if (!field_array(message, "tool_calls", &array)) return false;
    if (!facet_value_count(array)) return true;
    facet_value *calls = facet_value_array();
    bool ok = calls || no_memory(message->error);
    for (size_t i = 0; ok && i < facet_value_count(array); i++) {
        char path[160];
        snprintf(path, sizeof path, "%.120s.tool_calls[%zu]", message->prefix, i);
        const fields call = {facet_value_at(array, i), path, message->error};
        ok = facet_value_typeof(call.object) == FACET_VALUE_OBJECT ? add_call(&call, calls)
                                                                   : field_refuse(&call, "", "must be an object");
    }
    return value_put(message->error, copy, "tool_calls", calls) && ok;
}

/* ---- messages */

static bool copy_text(const fields *from, const char *name, facet_value *to, const char *as) {
    const char *data = NULL;
    size_t n = 0;
    if (!field_string(from, name, &data, &n)) return false;
    return !data || value_put(from->error, to, as, facet_value_string(data, n));
}

static bool fill_assistant(const fields *m, facet_value *copy) {
    return copy_text(m, "reasoning", copy, "reasoning_content") &&
           copy_text(m, "reasoning_content", copy, "reasoning_content") && add_calls(m, copy);
}

static bool fill_message(const fields *m, int role, facet_value *copy) {
    static const char *const names[] = {"system", "developer", "user", "assistant", "tool", "tool", "assistant"};
    facet_value *content = NULL;
    if (!value_put(m->error, copy, "role", cli_value_text(names[role])) || !content_value(m, "content", &content))
        return false;
    bool may_lack = role >= 3;
    if (!content && !may_lack) return field_refuse(m, "content", "is missing");
    if (content && !value_put(m->error, copy, "content", content)) return false;
    if (role == 3 || role == 6) return fill_assistant(m, copy);
    if (role < 4) return true;
    if (!content && !value_put(m->error, copy, "content", cli_value_text(""))) return false;
    return copy_text(m, "tool_call_id", copy, "tool_call_id") && copy_text(m, "name", copy, "name");
}

static bool add_message(const fields *m, facet_value *messages) {
    static const char *const roles[] = {"system", "developer", "user",  "assistant",
                                        "tool",   "function",  "model", NULL};
    int role = -1;
    if (facet_value_typeof(m->object) != FACET_VALUE_OBJECT) return field_refuse(m, "", "must be an object");
    if (!field_word(m, "role", roles, &role)) return false;
    if (role < 0) return field_refuse(m, "role", "is missing");
    facet_value *copy = facet_value_object();
    if (!copy) return no_memory(m->error);
    if (!fill_message(m, role, copy)) {
        facet_value_free(copy);
        return false;
    }
    return value_add(m->error, messages, copy);
}

bool messages_read(job *j, const fields *f) {
    const facet_value *array;
    if (!field_array(f, "messages", &array)) return false;
    size_t n = facet_value_count(array);
    if (!n) return field_refuse(f, "messages", "must be an array of one or more messages");
    j->messages = facet_value_array();
    if (!j->messages) return no_memory(f->error);
    for (size_t i = 0; i < n; i++) {
        char path[40];
        snprintf(path, sizeof path, "messages[%zu]", i);
        const fields m = {facet_value_at(array, i), path, f->error};
        if (!add_message(&m, j->messages)) return false;
    }
    const facet_value *last = facet_value_at(j->messages, n - 1);
    j->continues = value_says(facet_value_get(last, "role"), "assistant") && !facet_value_get(last, "tool_calls");
    return true;
}

/* ---- tools */

static bool check_tool(const fields *tool) {
    const facet_value *function;
    const char *name = NULL;
    size_t n = 0;
    char prefix[160];
    if (facet_value_typeof(tool->object) != FACET_VALUE_OBJECT) return field_refuse(tool, "", "must be an object");
    const facet_value *type = field_get(tool, "type");
    if (type && !value_says(type, "function")) return field_refuse(tool, "type", "must be: function");
    if (!field_object(tool, "function", &function)) return false;
    if (!function) return field_refuse(tool, "function", "is missing");
    field_path(tool, "function", prefix, sizeof prefix);
    const fields f = {function, prefix, tool->error};
    const facet_value *parameters;
    if (!field_string(&f, "name", &name, &n) || !field_object(&f, "parameters", &parameters)) return false;
    return n ? true : field_refuse(&f, "name", "is missing");
}

static bool has_tool(const job *j, const char *name) {
    for (size_t i = 0; i < facet_value_count(j->tools); i++) {
        const facet_value *function = facet_value_get(facet_value_at(j->tools, i), "function");
        if (value_says(facet_value_get(function, "name"), name)) return true;
    }
    return false;
}

static bool read_named(job *j, const fields *f, const facet_value *chosen) {
    const facet_value *function;
    const fields c = {chosen, "tool_choice", f->error};
    if (!field_object(&c, "function", &function)) return false;
    const fields inner = {function ? function : chosen, "tool_choice.function", f->error};
    if (!field_string(&inner, "name", &j->tool_name, NULL)) return false;
    if (!j->tool_name) return field_refuse(&inner, "name", "is missing");
    if (!has_tool(j, j->tool_name)) return field_refuse(&inner, "name", "is none of the tools");
    j->tool_mode = TOOLS_NAMED;
    return true;
}

static bool read_choice(job *j, const fields *f) {
    static const char *const words[] = {"auto", "none", "required", NULL};
    static const tool_mode modes[] = {TOOLS_AUTO, TOOLS_NONE, TOOLS_REQUIRED};
    const facet_value *chosen = field_get(f, "tool_choice");
    int word = 0;
    if (facet_value_typeof(chosen) == FACET_VALUE_OBJECT) return read_named(j, f, chosen);
    if (!field_word(f, "tool_choice", words, &word)) return false;
    j->tool_mode = modes[word];
    if (j->tool_mode == TOOLS_REQUIRED && !j->tools)
        return field_refuse(f, "tool_choice", "is required, but there are no tools");
    return true;
}

bool tools_read(job *j, const fields *f) {
    const facet_value *array;
    if (!field_array(f, "tools", &array)) return false;
    for (size_t i = 0; i < facet_value_count(array); i++) {
        char path[40];
        snprintf(path, sizeof path, "tools[%zu]", i);
        const fields tool = {facet_value_at(array, i), path, f->error};
        if (!check_tool(&tool)) return false;
    }
    if (facet_value_count(array)) {
        j->tools = cli_value_copy(array);
        if (!j->tools) return no_memory(f->error);
    }
    if (!read_choice(j, f) || !field_bool(f, "parallel_tool_calls", &j->parallel_calls)) return false;
    if (j->tool_mode == TOOLS_NONE) {
        facet_value_free(j->tools);
        j->tools = NULL;
    }
    return true;
}
