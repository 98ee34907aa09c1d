/* Values as JSON text (RFC 8259): writing it, and the grammar of its numbers. The library never reads JSON. */
#include <stdio.h>

#include "base/buffer.h"
#include "base/value.h"

static size_t skip_digits(const char *s, size_t n, size_t at) {
    while (at < n && s[at] >= '0' && s[at] <= '9') at++;
    return at;
}

bool value_number_valid(const char *s, size_t n) {
    size_t at = n && s[0] == '-', start = at;
    at = skip_digits(s, n, at);
    if (at == start || (s[start] == '0' && at > start + 1)) return false;
    if (at < n && s[at] == '.') {
        start = ++at;
        at = skip_digits(s, n, at);
        if (at == start) return false;
    }
    if (at < n && (s[at] == 'e' || s[at] == 'E')) {
        at++;
        if (at < n && (s[at] == '+' || s[at] == '-')) at++;
        start = at;
        at = skip_digits(s, n, at);
        if (at == start) return false;
    }
    return at == n;
}

static void write_escape(buffer *b, unsigned char c) {
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; shorts[i]; i += 2) {
        if ((unsigned char)shorts[i] != c) continue;
        buffer_byte(b, '\\');
        buffer_byte(b, shorts[i + 1]);
        return;
    }
    char text[8];
    snprintf(text, sizeof text, "\\u%04x", c);
    buffer_text(b, text);
}

static void write_string(buffer *b, const char *s, size_t n) {
    buffer_byte(b, '"');
    size_t start = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        buffer_append(b, s + start, i - start);
        write_escape(b, c);
        start = i + 1;
    }
    buffer_append(b, s + start, n - start);
    buffer_byte(b, '"');
}

/* The comma and the key that come before a member. */
static void write_lead(buffer *b, const facet_value *parent, size_t place) {
    if (place) buffer_byte(b, ',');
    if (facet_value_typeof(parent) != FACET_VALUE_OBJECT) return;
    size_t n;
    const char *key = facet_value_key(parent, place, &n);
    write_string(b, key, n);
    buffer_byte(b, ':');
}

static void write_node(buffer *b, const facet_value *v, bool leaving) {
    size_t n;
    const char *text = facet_value_text(v, &n);
    switch (facet_value_typeof(v)) {
    case FACET_VALUE_NULL: buffer_text(b, "null"); break;
    case FACET_VALUE_BOOL: buffer_text(b, facet_value_is_true(v) ? "true" : "false"); break;
    case FACET_VALUE_NUMBER: buffer_append(b, text, n); break;
    case FACET_VALUE_STRING: write_string(b, text, n); break;
    case FACET_VALUE_ARRAY: buffer_byte(b, leaving ? ']' : '['); break;
    case FACET_VALUE_OBJECT: buffer_byte(b, leaving ? '}' : '{'); break;
    }
}

char *facet_value_to_json(const facet_value *value, size_t *n_bytes) {
    buffer b = {0};
    if (!value) buffer_text(&b, "null");
    for (value_walk walk = {.root = value}; value_walk_next(&walk);) {
        if (walk.depth && !walk.leaving) write_lead(&b, value_parent(walk.node), value_place(walk.node));
        write_node(&b, walk.node, walk.leaving);
    }
    if (b.failed) buffer_free(&b);
    if (n_bytes) *n_bytes = b.n;
    return b.data;
}
