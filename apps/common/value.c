/* See value.h. */
#include "value.h"

#include <stdio.h>
#include <string.h>

bool cli_value_set(facet_value *object, const char *key, facet_value *item) {
    return !facet_value_set(object, key, strlen(key), item);
}

facet_value *cli_value_text(const char *s) { return facet_value_string(s, strlen(s)); }

facet_value *cli_value_integer(uint64_t n) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    return facet_value_number(digits, (size_t)length);
}

facet_value *cli_value_message(const char *role, const char *content, size_t n) {
    facet_value *m = facet_value_object();
    if (!cli_value_set(m, "role", cli_value_text(role)) ||
        !cli_value_set(m, "content", facet_value_string(content, n))) {
        facet_value_free(m);
        return NULL;
    }
    return m;
}

static facet_value *copy_members(const facet_value *v, facet_value *copy) {
    for (size_t i = 0; i < facet_value_count(v); i++) {
        size_t n;
        facet_value *item = cli_value_copy(facet_value_at(v, i));
        const char *key = facet_value_key(v, i, &n);
        facet_status status = key ? facet_value_set(copy, key, n, item) : facet_value_append(copy, item);
        if (status) {
            facet_value_free(copy);
            return NULL;
        }
    }
    return copy;
}

facet_value *cli_value_copy(const facet_value *v) {
    size_t n;
    const char *t = facet_value_text(v, &n);
    switch (facet_value_typeof(v)) {
    case FACET_VALUE_BOOL: return facet_value_bool(facet_value_is_true(v));
    case FACET_VALUE_NUMBER: return facet_value_number(t, n);
    case FACET_VALUE_STRING: return facet_value_string(t, n);
    case FACET_VALUE_ARRAY: return copy_members(v, facet_value_array());
    case FACET_VALUE_OBJECT: return copy_members(v, facet_value_object());
    default: return facet_value_null();
    }
}
