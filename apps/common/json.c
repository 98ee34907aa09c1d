/* How numbers keep their spelling: jansson would turn them into int64 or double. So every string of the text gets an
 * 's' as its first character, and every number becomes a string that starts with 'n'; then jansson parses, and the
 * mark is taken off again. Jansson judges everything but the numbers, which facet_value_number judges. */
#include "json.h"
#include "text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char no_memory[] = "out of memory";

bool json_lacked_memory(const char *why) { return strcmp(why, no_memory) == 0; }

static bool in_number(char c) { return c && strchr("0123456789+-.eE", c); }

/* Bytes of the string that starts at data[0] == '"', its quotes included (or what is left of the text). */
static size_t string_length(const char *data, size_t n) {
    size_t i = 1;
    while (i < n && data[i] != '"') i += data[i] == '\\' && i + 1 < n ? 2 : 1;
    return i < n ? i + 1 : n;
}

/* Writes the marked text. *stop: an offset in it; becomes the offset in `data` that it came from. */
static bool mark(text *out, const char *data, size_t n, size_t *stop) {
    size_t wanted = *stop;
    bool ok = cli_text_append(out, "", 0);
    for (size_t i = 0, length; ok && i < n; i += length) {
        char c = data[i];
        length = 1;
        if (out->n <= wanted) *stop = i;
        if (c == '"') {
            length = string_length(data + i, n - i);
            ok = cli_text_append(out, "\"s", 2) && cli_text_append(out, data + i + 1, length - 1);
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            while (i + length < n && in_number(data[i + length])) length++;
            ok = cli_text_append(out, "\"n", 2) && cli_text_append(out, data + i, length) &&
                 cli_text_append(out, "\"", 1);
        } else {
            ok = cli_text_append(out, &c, 1);
        }
    }
    return ok;
}

static void tell_where(const char *data, size_t at, const char *what, char *why, size_t why_bytes) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        column++;
        if (data[i] == '\n') {
            line++;
            column = 1;
        }
    }
    snprintf(why, why_bytes, "not valid JSON at line %zu, column %zu: %s", line, column, what);
}

/* Jansson's words without its "near '...'", which would show our marks. */
static void tell_error(const char *data, size_t n, const json_error_t *error, char *why, size_t why_bytes) {
    text again = {0};
    size_t at = error->position > 0 ? (size_t)error->position - 1 : 0;
    char what[JSON_ERROR_TEXT_LENGTH];
    snprintf(what, sizeof what, "%s", error->text);
    char *near = strstr(what, " near '");
    if (near) *near = '\0';
    if (!mark(&again, data, n, &at)) at = 0;
    cli_text_free(&again);
    tell_where(data, at < n ? at : n, what, why, why_bytes);
}

static json_t *load_marked(const char *data, size_t n, char *why, size_t why_bytes) {
    size_t valid = cli_text_valid_utf8(data, n);
    if (valid < n) {
        tell_where(data, valid, "invalid UTF-8", why, why_bytes);
        return NULL;
    }
    text marked = {0};
    json_error_t error = {0};
    size_t stop = 0;
    json_t *json = NULL;
    if (!mark(&marked, data, n, &stop)) {
        snprintf(why, why_bytes, "%s", no_memory);
    } else {
        json = json_loadb(marked.data, marked.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        if (!json && json_error_code(&error) == json_error_out_of_memory)
            snprintf(why, why_bytes, "%s", no_memory);
        else if (!json)
            tell_error(data, n, &error, why, why_bytes);
    }
    cli_text_free(&marked);
    return json;
}

static facet_value *convert(const json_t *json, char *why, size_t why_bytes);

static const char *digits_end(const char *s) { return s + strspn(s, "0123456789"); }

static bool is_number(const char *s) {
    s += *s == '-';
    const char *end = *s == '0' ? s + 1 : digits_end(s);
    if (end == s) return false;
    if (*end == '.') {
        const char *fraction = end + 1;
        end = digits_end(fraction);
        if (end == fraction) return false;
    }
    if ((*end | 0x20) == 'e') {
        const char *exponent = end + 1 + (end[1] == '+' || end[1] == '-');
        end = digits_end(exponent);
        if (end == exponent) return false;
    }
    return *end == '\0';
}

static facet_value *convert_text(const json_t *json, char *why, size_t why_bytes) {
    const char *s = json_string_value(json);
    size_t n = json_string_length(json);
    if (s[0] != 'n') return facet_value_string(s + 1, n - 1);
    facet_value *value = facet_value_number(s + 1, n - 1);
    if (!value && !is_number(s + 1)) snprintf(why, why_bytes, "not valid JSON: '%.40s' is not a number", s + 1);
    return value;
}

static facet_value *convert_array(const json_t *json, char *why, size_t why_bytes) {
    facet_value *array = facet_value_array();
    for (size_t i = 0; array && i < json_array_size(json); i++) {
        if (facet_value_append(array, convert(json_array_get(json, i), why, why_bytes))) {
            facet_value_free(array);
            return NULL;
        }
    }
    return array;
}

static facet_value *convert_object(json_t *json, char *why, size_t why_bytes) {
    facet_value *object = facet_value_object();
    for (void *it = json_object_iter(json); object && it; it = json_object_iter_next(json, it)) {
        const char *key = json_object_iter_key(it);
        bool is_number = key[0] == 'n';
        if (is_number) snprintf(why, why_bytes, "not valid JSON: the key %.40s is not a string", key + 1);
        if (is_number ||
            facet_value_set(object, key + 1, strlen(key + 1), convert(json_object_iter_value(it), why, why_bytes))) {
            facet_value_free(object);
            return NULL;
        }
    }
    return object;
}

/* Leaves `why` alone when there is no memory. */
static facet_value *convert(const json_t *json, char *why, size_t why_bytes) {
    switch (json_typeof(json)) {
    case JSON_OBJECT: return convert_object((json_t *)json, why, why_bytes);
    case JSON_ARRAY: return convert_array(json, why, why_bytes);
    case JSON_STRING: return convert_text(json, why, why_bytes);
    case JSON_TRUE: return facet_value_bool(true);
    case JSON_FALSE: return facet_value_bool(false);
    default: return facet_value_null();
    }
}

static facet_value *convert_or_tell(const json_t *json, char *why, size_t why_bytes) {
    snprintf(why, why_bytes, "%s", no_memory);
    return convert(json, why, why_bytes);
}

facet_value *json_parse(const char *data, size_t n, char *why, size_t why_bytes) {
    json_t *json = load_marked(data, n, why, why_bytes);
    if (!json) return NULL;
    facet_value *value = convert_or_tell(json, why, why_bytes);
    json_decref(json);
    return value;
}

/* Keys carry the mark of strings. */
static bool expand_call(json_t *call, const char *path, char *why, size_t why_bytes) {
    json_t *function = json_object_get(call, "sfunction");
    json_t *arguments = json_object_get(function, "sarguments");
    if (!json_is_string(arguments)) return true;
    const char *s = json_string_value(arguments);
    char reason[200] = "not a JSON object";
    json_t *inner = s[0] == 's' ? load_marked(s + 1, json_string_length(arguments) - 1, reason, sizeof reason) : NULL;
    bool ok = json_is_object(inner) && !json_object_set(function, "sarguments", inner);
    if (!ok) snprintf(why, why_bytes, "%s.function.arguments: %s", path, inner ? "not a JSON object" : reason);
    json_decref(inner);
    return ok;
}

static bool expand_arguments(json_t *request, char *why, size_t why_bytes) {
    json_t *messages = json_object_get(request, "smessages");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *calls = json_object_get(json_array_get(messages, i), "stool_calls");
        for (size_t j = 0; j < json_array_size(calls); j++) {
            char path[80];
            snprintf(path, sizeof path, "messages[%zu].tool_calls[%zu]", i, j);
            if (!expand_call(json_array_get(calls, j), path, why, why_bytes)) return false;
        }
    }
    return true;
}

facet_value *json_parse_request(const char *data, size_t n, char *why, size_t why_bytes) {
    json_t *json = load_marked(data, n, why, why_bytes);
    if (!json) return NULL;
    facet_value *value = NULL;
    if (expand_arguments(json, why, why_bytes)) value = convert_or_tell(json, why, why_bytes);
    json_decref(json);
    return value;
}
