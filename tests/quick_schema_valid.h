/* A validator of JSON schemas for the tests, written from the specification and independent of the library: the
 * keywords that the random schemas use. */
#ifndef FACET_TESTS_QUICK_SCHEMA_VALID_H
#define FACET_TESTS_QUICK_SCHEMA_VALID_H

#include <jansson.h>
#include <math.h>
#include <regex.h>
#include <string.h>

static inline bool valid(const json_t *root, const json_t *schema, const json_t *value);

static inline bool valid_type(const char *type, const json_t *v) {
    if (!strcmp(type, "null")) return json_is_null(v);
    if (!strcmp(type, "boolean")) return json_is_boolean(v);
    if (!strcmp(type, "integer")) return json_is_integer(v);
    if (!strcmp(type, "number")) return json_is_number(v);
    if (!strcmp(type, "string")) return json_is_string(v);
    if (!strcmp(type, "array")) return json_is_array(v);
    return json_is_object(v);
}

static inline bool valid_types(const json_t *type, const json_t *v) {
    if (!type) return true;
    if (json_is_string(type)) return valid_type(json_string_value(type), v);
    for (size_t i = 0; i < json_array_size(type); i++) {
        if (valid_type(json_string_value(json_array_get(type, i)), v)) return true;
    }
    return false;
}

static inline size_t valid_characters(const json_t *v) {
    size_t n = 0;
    for (const char *c = json_string_value(v), *end = c + json_string_length(v); c < end; c++)
        n += (*c & 0xc0) != 0x80;
    return n;
}

static inline bool valid_regex(const char *pattern, const char *text) {
    regex_t r;
    if (regcomp(&r, pattern, REG_EXTENDED | REG_NOSUB)) return false;
    bool ok = regexec(&r, text, 0, NULL, 0) == 0;
    regfree(&r);
    return ok;
}

static inline bool valid_date(const char *t) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, m, d, n = 0;
    if (!valid_regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}", t) || sscanf(t, "%d-%d-%d%n", &y, &m, &d, &n) != 3) return false;
    bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    return m >= 1 && m <= 12 && d >= 1 && d <= days[m - 1] + (m == 2 && leap);
}

static inline bool valid_time(const char *t) {
    int h, m, s;
    return valid_regex("^[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$", t) &&
           sscanf(t, "%d:%d:%d", &h, &m, &s) == 3 && h < 24 && m < 60 && s < 60;
}

static inline bool valid_format(const char *format, const char *t) {
    if (!strcmp(format, "date")) return strlen(t) == 10 && valid_date(t);
    if (!strcmp(format, "time")) return valid_time(t);
    if (!strcmp(format, "date-time")) return strlen(t) > 11 && valid_date(t) && t[10] == 'T' && valid_time(t + 11);
    if (!strcmp(format, "uuid")) return valid_regex("^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", t);
    return valid_regex("^[^@ ]+@[A-Za-z0-9-]+([.][A-Za-z0-9-]+)+$", t); /* email */
}

static inline bool valid_string(const json_t *s, const json_t *v) {
    json_t *min = json_object_get(s, "minLength"), *max = json_object_get(s, "maxLength");
    json_t *pattern = json_object_get(s, "pattern"), *format = json_object_get(s, "format");
    size_t n = valid_characters(v);
    if (min && n < (size_t)json_integer_value(min)) return false;
    if (max && n > (size_t)json_integer_value(max)) return false;
    if (pattern && !valid_regex(json_string_value(pattern), json_string_value(v))) return false;
    return !format || valid_format(json_string_value(format), json_string_value(v));
}

static inline bool valid_number(const json_t *s, const json_t *v) {
    json_t *min = json_object_get(s, "minimum"), *max = json_object_get(s, "maximum");
    json_t *above = json_object_get(s, "exclusiveMinimum"), *below = json_object_get(s, "exclusiveMaximum");
    json_t *multiple = json_object_get(s, "multipleOf");
    double x = json_number_value(v);
    if (min && x < json_number_value(min)) return false;
    if (max && x > json_number_value(max)) return false;
    if (above && x <= json_number_value(above)) return false;
    if (below && x >= json_number_value(below)) return false;
    if (!multiple) return true;
    if (json_is_integer(v) && json_is_integer(multiple))
        return json_integer_value(v) % json_integer_value(multiple) == 0;
    double q = x / json_number_value(multiple);
    return fabs(q - nearbyint(q)) <= 1e-9 * fmax(1, fabs(q));
}

static inline bool valid_array(const json_t *root, const json_t *s, const json_t *v) {
    json_t *min = json_object_get(s, "minItems"), *max = json_object_get(s, "maxItems");
    json_t *items = json_object_get(s, "items"), *prefix = json_object_get(s, "prefixItems");
    if (min && json_array_size(v) < (size_t)json_integer_value(min)) return false;
    if (max && json_array_size(v) > (size_t)json_integer_value(max)) return false;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *one = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;
        if (one && !valid(root, one, json_array_get(v, i))) return false;
    }
    return true;
}

static inline bool valid_object(const json_t *root, const json_t *s, const json_t *v) {
    json_t *properties = json_object_get(s, "properties"), *required = json_object_get(s, "required");
    json_t *others = json_object_get(s, "additionalProperties"), *names = json_object_get(s, "propertyNames");
    json_t *min = json_object_get(s, "minProperties"), *max = json_object_get(s, "maxProperties");
    if (min && json_object_size(v) < (size_t)json_integer_value(min)) return false;
    if (max && json_object_size(v) > (size_t)json_integer_value(max)) return false;
    for (size_t i = 0; i < json_array_size(required); i++) {
        if (!json_object_get(v, json_string_value(json_array_get(required, i)))) return false;
    }
    for (void *at = json_object_iter((json_t *)(uintptr_t)v); at;
         at = json_object_iter_next((json_t *)(uintptr_t)v, at)) {
        const char *key = json_object_iter_key(at);
        const json_t *one = json_object_getn(properties, key, json_object_iter_key_len(at));
        json_t *name = json_stringn(key, json_object_iter_key_len(at));
        bool ok = !names || valid(root, names, name);
        json_decref(name);
        if (!one) one = others;
        if (!ok || (one && !valid(root, one, json_object_iter_value(at)))) return false;
    }
    return true;
}

static inline bool valid_combined(const json_t *root, const json_t *s, const json_t *v) {
    static const char *const keywords[] = {"allOf", "anyOf", "oneOf"};
    for (int k = 0; k < 3; k++) {
        json_t *list = json_object_get(s, keywords[k]);
        size_t n = 0;
        for (size_t i = 0; i < json_array_size(list); i++) n += valid(root, json_array_get(list, i), v);
        if (list && (k == 0 ? n < json_array_size(list) : k == 1 ? n == 0 : n != 1)) return false;
    }
    return true;
}

static inline bool valid_named(const json_t *s, const json_t *v) {
    json_t *one = json_object_get(s, "const"), *list = json_object_get(s, "enum");
    if (one && !json_equal(one, v)) return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (json_equal(json_array_get(list, i), v)) return true;
    }
    return !list;
}

static inline bool valid(const json_t *root, const json_t *s, const json_t *v) {
    if (json_is_boolean(s)) return json_is_true(s);
    const char *ref = json_string_value(json_object_get(s, "$ref"));
    if (ref) {
        const json_t *target = root;
        if (!strncmp(ref, "#/$defs/", 8)) target = json_object_get(json_object_get(root, "$defs"), ref + 8);
        if (!target || !valid(root, target, v)) return false;
    }
    if (!valid_types(json_object_get(s, "type"), v) || !valid_named(s, v) || !valid_combined(root, s, v))
        return false;
    if (json_is_string(v)) return valid_string(s, v);
    if (json_is_number(v)) return valid_number(s, v);
    if (json_is_array(v)) return valid_array(root, s, v);
    return !json_is_object(v) || valid_object(root, s, v);
}

#endif
