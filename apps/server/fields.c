/* Fields of requests: see fields.h. */
#include "fields.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refuse(request_error *e, int status, const char *param, const char *code, const char *format,
                   va_list args) {
    if (e->status) return;
    e->status = status;
    snprintf(e->param, sizeof e->param, "%s", param);
    snprintf(e->code, sizeof e->code, "%s", code);
    vsnprintf(e->message, sizeof e->message, format, args);
}

bool request_refuse(request_error *e, int status, const char *param, const char *code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    refuse(e, status, param, code, format, args);
    va_end(args);
    return false;
}

void field_path(const fields *f, const char *name, char *out, size_t n) {
    snprintf(out, n, "%s%s%s", f->prefix, f->prefix[0] && name[0] ? "." : "", name);
}

bool field_refuse(const fields *f, const char *name, const char *format, ...) {
    char path[160], message[300];
    field_path(f, name, path, sizeof path);
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return request_refuse(f->error, 400, path, "", "'%s' %s", path, message);
}

const facet_value *field_get(const fields *f, const char *name) {
    const facet_value *value = facet_value_get(f->object, name);
    return facet_value_typeof(value) == FACET_VALUE_NULL ? NULL : value;
}

bool field_has(const fields *f, const char *name) { return field_get(f, name) != NULL; }

bool value_integer(const facet_value *value, int64_t *out) {
    if (facet_value_typeof(value) != FACET_VALUE_NUMBER) return false;
    const char *text = facet_value_text(value, NULL);
    char *end;
    errno = 0;
    long long exact = strtoll(text, &end, 10);
    if (!*end && !errno) {
        *out = exact;
        return true;
    }
    double x = strtod(text, NULL);
    if (!(fabs(x) < 9e15) || x != floor(x)) return false;
    *out = (int64_t)x;
    return true;
}

bool value_says(const facet_value *value, const char *text) {
    size_t n = 0;
    const char *s = facet_value_typeof(value) == FACET_VALUE_STRING ? facet_value_text(value, &n) : NULL;
    return s && n == strlen(text) && !memcmp(s, text, n);
}

bool field_integer(const fields *f, const char *name, int64_t min, int64_t max, int64_t *out) {
    const facet_value *value = field_get(f, name);
    int64_t x;
    if (!value) return true;
    if (!value_integer(value, &x) || x < min || x > max)
        return field_refuse(f, name, "must be a whole number from %lld to %lld", (long long)min, (long long)max);
    *out = x;
    return true;
}

bool field_int32(const fields *f, const char *name, int32_t min, int32_t max, int32_t *out) {
    int64_t x = *out;
    if (!field_integer(f, name, min, max, &x)) return false;
    *out = (int32_t)x;
    return true;
}

bool field_number(const fields *f, const char *name, double min, double max, float *out) {
    const facet_value *value = field_get(f, name);
    if (!value) return true;
    double x = facet_value_typeof(value) == FACET_VALUE_NUMBER ? strtod(facet_value_text(value, NULL), NULL) : NAN;
    if (!(x >= min && x <= max)) return field_refuse(f, name, "must be a number from %g to %g", min, max);
    *out = (float)x;
    return true;
}

bool field_bool(const fields *f, const char *name, bool *out) {
    const facet_value *value = field_get(f, name);
    if (!value) return true;
    if (facet_value_typeof(value) != FACET_VALUE_BOOL) return field_refuse(f, name, "must be true or false");
    *out = facet_value_is_true(value);
    return true;
}

bool field_string(const fields *f, const char *name, const char **out, size_t *n_bytes) {
    const facet_value *value = field_get(f, name);
    if (!value) return true;
    if (facet_value_typeof(value) != FACET_VALUE_STRING) return field_refuse(f, name, "must be a string");
    *out = facet_value_text(value, n_bytes);
    return true;
}

bool field_object(const fields *f, const char *name, const facet_value **out) {
    *out = field_get(f, name);
    if (*out && facet_value_typeof(*out) != FACET_VALUE_OBJECT) return field_refuse(f, name, "must be an object");
    return true;
}

bool field_array(const fields *f, const char *name, const facet_value **out) {
    *out = field_get(f, name);
    if (*out && facet_value_typeof(*out) != FACET_VALUE_ARRAY) return field_refuse(f, name, "must be an array");
    return true;
}

bool field_word(const fields *f, const char *name, const char *const *words, int *out) {
    const facet_value *value = field_get(f, name);
    if (!value) return true;
    char list[200] = "";
    for (int i = 0; words[i]; i++) {
        if (value_says(value, words[i])) {
            *out = i;
            return true;
        }
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", words[i]);
    }
    return field_refuse(f, name, "must be one of: %s", list);
}
