/* Places in a schema, for messages: "#/a/b". See schema_parts.h. */
#include <stdio.h>
#include <string.h>

#include "sample/schema_parts.h"

static void prepend(char *out, size_t *at, const char *text, size_t n) {
    while (n-- && *at > 1) out[--*at] = text[n];
}

void schema_place(const facet_value *node, const facet_value *root, char *out, size_t n_bytes) {
    size_t at = n_bytes - 1;
    out[at] = '\0';
    for (const facet_value *parent; node != root && (parent = value_parent(node)); node = parent) {
        size_t n;
        char number[24];
        const char *key = facet_value_key(parent, value_place(node), &n);
        if (!key) {
            n = (size_t)snprintf(number, sizeof number, "%zu", value_place(node));
            key = number;
        }
        prepend(out, &at, key, n);
        prepend(out, &at, "/", 1);
    }
    out[--at] = '#';
    memmove(out, out + at, n_bytes - at);
}

static facet_status complain(const schema_reader *r, facet_status status, const facet_value *schema,
                             const char *keyword, const char *what) {
    char place[160];
    schema_place(schema, r->root, place, sizeof place);
    return error_set(r->err, status, "schema: %s%s%.60s: %s", place, keyword ? "/" : "", keyword ? keyword : "",
                     what);
}

facet_status schema_refuse(const schema_reader *r, const facet_value *schema, const char *keyword, const char *what) {
    return complain(r, FACET_ERROR_UNSUPPORTED, schema, keyword, what);
}

facet_status schema_malformed(const schema_reader *r, const facet_value *schema, const char *keyword,
                              const char *what) {
    return complain(r, FACET_ERROR_FORMAT, schema, keyword, what);
}
