/* Declarations of tools: JSON schemas in the template's own notation, keys in the order of dictsort. Byte for byte
 * what the macros format_function_declaration and format_parameters of Google's canonical template (2026-07-09)
 * print, their omissions included: `parameters` and `response` without a type stay unclosed. */
#include "chat/declare.h"

#include <stdlib.h>
#include <strings.h>

#include "chat/argument.h"
#include "chat/python.h"

typedef struct declaration {
    chat_spans *out;
    size_t index; /* of the tool */
    facet_error *err;
} declaration;

typedef facet_status (*member_fn)(declaration *d, const char *key, size_t n, const facet_value *value);
typedef bool (*skip_fn)(const char *key, size_t n, const facet_value *value);

/* Writes the members of an object that are not skipped, in order, with commas between. */
static facet_status each_sorted(declaration *d, const facet_value *object, skip_fn skip, member_fn member) {
    size_t count = facet_value_count(object), *order = python_dictsort(object);
    facet_status status = count && !order ? error_memory(d->err, count * sizeof *order) : FACET_OK;
    bool any = false;
    for (size_t i = 0; i < count && status == FACET_OK; i++) {
        size_t n;
        const char *key = facet_value_key(object, order[i], &n);
        const facet_value *value = facet_value_at(object, order[i]);
        if (skip && skip(key, n, value)) continue;
        if (any) spans_literal(d->out, ",");
        any = true;
        status = member(d, key, n, value);
    }
    free(order);
    return status;
}

static bool key_is(const char *key, size_t n, const char *text) {
    return n == strlen(text) && memcmp(key, text, n) == 0;
}

/* What the template gets by value['name']: nothing from what is no object. */
static const facet_value *field(const facet_value *value, const char *name) { return facet_value_get(value, name); }

static bool type_is(const facet_value *value, const char *upper) {
    size_t n;
    const char *text = facet_value_text(field(value, "type"), &n);
    return text && n == strlen(upper) && strncasecmp(text, upper, n) == 0;
}

static void write_upper(chat_spans *out, const facet_value *value) {
    size_t start = out->text.n;
    python_str(&out->text, value);
    python_upper(&out->text, start);
    spans_take(out, start);
}

/* name:<|"|>TEXT<|"|> where TEXT is what the value prints. */
static void write_field(chat_spans *out, const char *name, const facet_value *value, bool upper) {
    spans_literal(out, name);
    spans_control(out, CHAT_QUOTE);
    if (upper) {
        write_upper(out, value);
    } else {
        argument_value(out, value);
    }
    spans_control(out, CHAT_QUOTE);
}

static facet_status write_names(declaration *d, const facet_value *names) {
    if (facet_value_typeof(names) != FACET_VALUE_ARRAY) {
        return error_set(d->err, FACET_ERROR_FORMAT,
                         "tools[%zu].function: a \"required\" of its schema must be an array", d->index);
    }
    spans_literal(d->out, "required:[");
    for (size_t i = 0; i < facet_value_count(names); i++)
        write_field(d->out, i ? "," : "", facet_value_at(names, i), 0);
    spans_literal(d->out, "]");
    return FACET_OK;
}

static facet_status write_property(declaration *d, const char *key, size_t n, const facet_value *value);

/* ---- arrays: items:{...} */

static facet_status write_item_type(declaration *d, const facet_value *type) {
    spans_literal(d->out, "type:");
    if (facet_value_typeof(type) == FACET_VALUE_STRING) {
        write_field(d->out, "", type, true);
        return FACET_OK;
    }
    if (facet_value_typeof(type) != FACET_VALUE_ARRAY) {
        return error_set(d->err, FACET_ERROR_FORMAT, "tools[%zu].function: a \"type\" of its schema must be a string",
                         d->index);
    }
    spans_literal(d->out, "[");
    for (size_t i = 0; i < facet_value_count(type); i++)
        write_field(d->out, i ? "," : "", facet_value_at(type, i), true);
    spans_literal(d->out, "]");
    return FACET_OK;
}

static facet_status write_item(declaration *d, const char *key, size_t n, const facet_value *value) {
    if (key_is(key, n, "properties")) {
        spans_literal(d->out, "properties:{");
        if (facet_value_typeof(value) == FACET_VALUE_OBJECT) FACET_TRY(each_sorted(d, value, NULL, write_property));
        spans_literal(d->out, "}");
        return FACET_OK;
    }
    if (key_is(key, n, "required")) return write_names(d, value);
    if (key_is(key, n, "type")) return write_item_type(d, value);
    spans_text(d->out, key, n);
    spans_literal(d->out, ":");
    argument_write(d->out, value, true);
    return FACET_OK;
}

static bool is_null(const char *key, size_t n, const facet_value *value) {
    (void)key, (void)n;
    return facet_value_typeof(value) == FACET_VALUE_NULL;
}

static facet_status write_items(declaration *d, const facet_value *items) {
    spans_literal(d->out, "items:{");
    FACET_TRY(each_sorted(d, items, is_null, write_item));
    spans_literal(d->out, "}");
    return FACET_OK;
}

/* ---- one parameter: key:{description:..,enum:..,items:..,nullable:..,properties:..,required:..,type:..} */

static bool is_standard(const char *key, size_t n, const facet_value *value) {
    static const char *const names[] = {"description", "type", "properties", "required", "nullable"};
    (void)value;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (key_is(key, n, names[i])) return true;
    }
    return false;
}

static void comma(declaration *d, bool *any) {
    if (*any) spans_literal(d->out, ",");
    *any = true;
}

static facet_status write_object_fields(declaration *d, const facet_value *value, bool *any) {
    const facet_value *properties = field(value, "properties"), *required = field(value, "required");
    comma(d, any);
    spans_literal(d->out, "properties:{");
    if (facet_value_typeof(properties) == FACET_VALUE_OBJECT) {
        FACET_TRY(each_sorted(d, properties, NULL, write_property));
    } else { /* the object's other keys stand for them */
        FACET_TRY(each_sorted(d, value, is_standard, write_property));
    }
    spans_literal(d->out, "}");
    if (!python_is_true(required)) return FACET_OK;
    comma(d, any);
    return write_names(d, required);
}

static facet_status write_property(declaration *d, const char *key, size_t n, const facet_value *value) {
    const facet_value *description = field(value, "description"), *values = field(value, "enum");
    const facet_value *items = field(value, "items");
    bool any = false;
    spans_text(d->out, key, n);
    spans_literal(d->out, ":{");
    if (python_is_true(description)) {
        write_field(d->out, "description:", description, false);
        any = true;
    }
    if (type_is(value, "STRING") && python_is_true(values)) {
        comma(d, &any);
        spans_literal(d->out, "enum:");
        argument_write(d->out, values, true);
    }
    if (type_is(value, "ARRAY") && facet_value_typeof(items) == FACET_VALUE_OBJECT && facet_value_count(items)) {
        comma(d, &any);
        FACET_TRY(write_items(d, items));
    }
    if (python_is_true(field(value, "nullable"))) {
        comma(d, &any);
        spans_literal(d->out, "nullable:true");
    }
    if (type_is(value, "OBJECT")) FACET_TRY(write_object_fields(d, value, &any));
    comma(d, &any);
    write_field(d->out, "type:", field(value, "type"), true);
    spans_literal(d->out, "}");
    return FACET_OK;
}

/* ---- the tool */

static facet_status write_parameters(declaration *d, const facet_value *parameters) {
    const facet_value *properties = field(parameters, "properties"), *required = field(parameters, "required");
    spans_literal(d->out, ",parameters:{");
    if (python_is_true(properties)) {
        spans_literal(d->out, "properties:{");
        FACET_TRY(each_sorted(d, properties, NULL, write_property));
        spans_literal(d->out, "},");
    }
    if (python_is_true(required)) {
        FACET_TRY(write_names(d, required));
        spans_literal(d->out, ",");
    }
    if (python_is_true(field(parameters, "type"))) {
        write_field(d->out, "type:", field(parameters, "type"), true);
        spans_literal(d->out, "}");
    }
    return FACET_OK;
}

static void write_response(chat_spans *out, const facet_value *response) {
    spans_literal(out, ",response:{");
    if (python_is_true(field(response, "description"))) {
        write_field(out, "description:", field(response, "description"), false);
        spans_literal(out, ",");
    }
    if (type_is(response, "OBJECT")) {
        write_field(out, "type:", field(response, "type"), true);
        spans_literal(out, "}");
    }
}

facet_status declare_tool(chat_spans *out, const facet_value *tool, size_t index, facet_error *err) {
    declaration d = {out, index, err};
    const facet_value *function = field(tool, "function"), *response = field(function, "response");
    spans_literal(out, "declaration:");
    argument_value(out, field(function, "name"));
    write_field(out, "{description:", field(function, "description"), false);
    if (python_is_true(field(function, "parameters"))) FACET_TRY(write_parameters(&d, field(function, "parameters")));
    if (response) write_response(out, response);
    spans_literal(out, "}");
    return FACET_OK;
}
