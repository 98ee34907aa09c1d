/* Checks the shape of a chat. See check.h. Unknown fields, roles and kinds of parts pass: the template decides. */
#include "chat/check.h"

#include <stdio.h>

#include "base/value.h"

enum { MAY_BE_ABSENT = 1 << 8 }; /* or null; beside the types below, bit t for facet_value_type t */
enum {
    STRING = 1 << FACET_VALUE_STRING,
    ARRAY = 1 << FACET_VALUE_ARRAY,
    OBJECT = 1 << FACET_VALUE_OBJECT,
    SCALAR = 1 << FACET_VALUE_NUMBER | 1 << FACET_VALUE_BOOL
};

/* Where the checking is, for messages: "messages[2].tool_calls[0].function". */
typedef struct place {
    char text[160];
    facet_error *err;
} place;

static place place_item(const place *parent, const char *name, size_t i) {
    place p = {.err = parent->err};
    snprintf(p.text, sizeof p.text, "%.100s%s%s[%zu]", parent->text, parent->text[0] ? "." : "", name, i);
    return p;
}

static place place_member(const place *parent, const char *name) {
    place p = {.err = parent->err};
    snprintf(p.text, sizeof p.text, "%.120s%s%s", parent->text, parent->text[0] ? "." : "", name);
    return p;
}

static const char *expected(int types) {
    if (types & ARRAY && types & STRING) return "a string or an array";
    return types & STRING ? "a string" : types & ARRAY ? "an array" : "an object";
}

static facet_status check_type(const place *p, const facet_value *value, int types) {
    bool absent = facet_value_typeof(value) == FACET_VALUE_NULL;
    if (absent && types & MAY_BE_ABSENT) return FACET_OK;
    if (!absent && types & 1 << facet_value_typeof(value)) return FACET_OK;
    if (!value) return error_set(p->err, FACET_ERROR_FORMAT, "%s is missing", p->text);
    return error_set(p->err, FACET_ERROR_FORMAT, "%s must be %s", p->text, expected(types));
}

static facet_status check_field(const place *p, const facet_value *object, const char *name, int types) {
    place at = place_member(p, name);
    return check_type(&at, facet_value_get(object, name), types);
}

typedef facet_status (*item_fn)(const place *p, const facet_value *item);

/* The objects of an array that may be absent. */
static facet_status check_items(const place *p, const facet_value *object, const char *name, item_fn check) {
    const facet_value *array = facet_value_get(object, name);
    FACET_TRY(check_field(p, object, name, ARRAY | MAY_BE_ABSENT));
    for (size_t i = 0; i < facet_value_count(array); i++) {
        place at = place_item(p, name, i);
        FACET_TRY(check_type(&at, facet_value_at(array, i), OBJECT));
        FACET_TRY(check(&at, facet_value_at(array, i)));
    }
    return FACET_OK;
}

static facet_status check_part(const place *p, const facet_value *part) {
    FACET_TRY(check_field(p, part, "type", STRING));
    bool is_text = value_is_text(facet_value_get(part, "type"), "text");
    return check_field(p, part, "text", is_text ? STRING : STRING | MAY_BE_ABSENT);
}

static facet_status check_call(const place *p, const facet_value *call) {
    const facet_value *function = facet_value_get(call, "function");
    FACET_TRY(check_field(p, call, "id", STRING | MAY_BE_ABSENT));
    FACET_TRY(check_field(p, call, "function", OBJECT));
    place at = place_member(p, "function");
    FACET_TRY(check_field(&at, function, "name", STRING));
    if (!facet_value_get(function, "arguments")) return check_field(&at, function, "arguments", OBJECT);
    return check_field(&at, function, "arguments", OBJECT | MAY_BE_ABSENT);
}

static facet_status check_response(const place *p, const facet_value *response) {
    return check_field(p, response, "name", STRING | MAY_BE_ABSENT);
}

static facet_status check_content(const place *p, const facet_value *message, bool is_tool) {
    const facet_value *content = facet_value_get(message, "content");
    if (facet_value_typeof(content) == FACET_VALUE_ARRAY) return check_items(p, message, "content", check_part);
    return check_field(p, message, "content", STRING | ARRAY | MAY_BE_ABSENT | (is_tool ? OBJECT | SCALAR : 0));
}

static facet_status check_message(const place *p, const facet_value *message) {
    FACET_TRY(check_field(p, message, "role", STRING));
    bool is_tool = value_is_text(facet_value_get(message, "role"), "tool");
    FACET_TRY(check_content(p, message, is_tool));
    if (is_tool) {
        FACET_TRY(check_field(p, message, "name", STRING | MAY_BE_ABSENT));
        return check_field(p, message, "tool_call_id", STRING | MAY_BE_ABSENT);
    }
    FACET_TRY(check_field(p, message, "reasoning", STRING | MAY_BE_ABSENT));
    FACET_TRY(check_field(p, message, "reasoning_content", STRING | MAY_BE_ABSENT));
    FACET_TRY(check_items(p, message, "tool_calls", check_call));
    return check_items(p, message, "tool_responses", check_response);
}

static facet_status check_tool(const place *p, const facet_value *tool) {
    const facet_value *function = facet_value_get(tool, "function");
    FACET_TRY(check_field(p, tool, "function", OBJECT));
    place at = place_member(p, "function");
    FACET_TRY(check_field(&at, function, "name", STRING));
    FACET_TRY(check_field(&at, function, "parameters", OBJECT | MAY_BE_ABSENT));
    place in = place_member(&at, "parameters");
    return check_field(&in, facet_value_get(function, "parameters"), "properties", OBJECT | MAY_BE_ABSENT);
}

static facet_status check_list(const char *name, const facet_value *list, item_fn check, facet_error *err) {
    const place top = {.err = err};
    if (value_depth(list) > CHAT_MAX_DEPTH) {
        return error_set(err, FACET_ERROR_FORMAT, "%s: nested more than %d deep", name, CHAT_MAX_DEPTH);
    }
    for (size_t i = 0; i < facet_value_count(list); i++) {
        place at = place_item(&top, name, i);
        FACET_TRY(check_type(&at, facet_value_at(list, i), OBJECT));
        FACET_TRY(check(&at, facet_value_at(list, i)));
    }
    return FACET_OK;
}

facet_status check_chat(const facet_chat *chat, facet_error *err) {
    if (!chat || chat->size < sizeof *chat) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_chat: fill it with facet_chat_defaults first");
    }
    place messages = {.text = "messages", .err = err}, tools = {.text = "tools", .err = err};
    FACET_TRY(check_type(&messages, chat->messages, ARRAY));
    FACET_TRY(check_type(&tools, chat->tools, ARRAY | MAY_BE_ABSENT));
    FACET_TRY(check_list("messages", chat->messages, check_message, err));
    return check_list("tools", chat->tools, check_tool, err);
}
