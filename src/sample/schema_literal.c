/* Values that a schema names (enum, const) and keys of objects, as text. See schema_parts.h. */
#include <stdlib.h>
#include <string.h>

#include "sample/schema_parts.h"

static bool same_text(const facet_value *a, const facet_value *b) {
    size_t n, n_other;
    const char *text = facet_value_text(a, &n), *other = facet_value_text(b, &n_other);
    return n == n_other && memcmp(text, other, n) == 0;
}

/* Recursion is bounded by the depth of the schema, which was checked. */
bool schema_values_equal(const facet_value *a, const facet_value *b) {
    facet_value_type type = facet_value_typeof(a);
    if (type != facet_value_typeof(b) || facet_value_count(a) != facet_value_count(b)) return false;
    if (type == FACET_VALUE_BOOL) return facet_value_is_true(a) == facet_value_is_true(b);
    if (type == FACET_VALUE_STRING) return same_text(a, b);
    if (type == FACET_VALUE_NUMBER) return schema_numbers_equal(a, b);
    for (size_t i = 0; i < facet_value_count(a); i++) {
        size_t n;
        const char *key = facet_value_key(a, i, &n);
        const facet_value *other = key ? value_get(b, key, n) : facet_value_at(b, i);
        if (!other || !schema_values_equal(facet_value_at(a, i), other)) return false;
    }
    return true;
}

static void append_escaped(buffer *out, const char *text, size_t n) {
    static const char codes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt", digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        const char *at = text[i] ? strchr(codes, text[i]) : NULL;
        if (at) {
            buffer_byte(out, '\\');
            buffer_byte(out, letters[at - codes]);
        } else if ((uint8_t)text[i] < 0x20) {
            buffer_text(out, "\\u00");
            buffer_byte(out, digits[(uint8_t)text[i] >> 4]);
            buffer_byte(out, digits[text[i] & 15]);
        } else {
            buffer_byte(out, text[i]);
        }
    }
}

static expr text_expr(schema_reader *r, const char *text, size_t n) {
    if (r->style.in_calls) return expr_bytes(r->b, text, n);
    buffer escaped = {0};
    append_escaped(&escaped, text, n);
    if (escaped.failed) r->b->failed = true;
    expr e = expr_bytes(r->b, escaped.n ? escaped.data : "", escaped.n);
    buffer_free(&escaped);
    return e;
}

expr schema_key(schema_reader *r, const char *key, size_t n) {
    if (r->style.in_calls) return expr_seq(r->b, expr_bytes(r->b, key, n), expr_text(r->b, ":"));
    expr e = schema_quoted(r, text_expr(r, key, n));
    return expr_seq(r->b, expr_seq(r->b, e, expr_text(r->b, ":")), expr_optional(r->b, expr_text(r->b, " ")));
}

/* ---- the order of keys in calls: Python's sorted() over keys in lower case */

typedef struct ordered {
    const char *key;
    size_t n, place;
} ordered;

static int lower(char c) { return c >= 'A' && c <= 'Z' ? c + 32 : (uint8_t)c; }

static int by_key(const void *a, const void *b) {
    const ordered *x = a, *y = b;
    for (size_t i = 0; i < x->n && i < y->n; i++) {
        if (lower(x->key[i]) != lower(y->key[i])) return lower(x->key[i]) - lower(y->key[i]);
    }
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

size_t *schema_key_order(const facet_value *object) {
    size_t n = facet_value_count(object), *order = malloc((n + 1) * sizeof *order);
    ordered *list = malloc((n + 1) * sizeof *list);
    for (size_t i = 0; order && list && i < n; i++) {
        list[i].key = facet_value_key(object, i, &list[i].n);
        list[i].place = i;
    }
    if (order && list && n > 1) qsort(list, n, sizeof *list, by_key);
    for (size_t i = 0; order && list && i < n; i++) order[i] = list[i].place;
    if (!list) {
        free(order);
        order = NULL;
    }
    free(list);
    return order;
}

/* ---- values */

static expr container(schema_reader *r, const facet_value *value, bool is_object) {
    grammar_builder *b = r->b;
    expr all = expr_text(b, is_object ? "{" : "["), space = schema_space(r);
    size_t n = facet_value_count(value);
    size_t *order = is_object && r->style.in_calls ? schema_key_order(value) : NULL;
    if (is_object && r->style.in_calls && !order) b->failed = true;
    for (size_t i = 0; i < n && !grammar_builder_failed(b); i++) {
        size_t n_key, at = order ? order[i] : i;
        const char *key = facet_value_key(value, at, &n_key);
        if (i) all = expr_seq(b, all, expr_text(b, ","));
        all = expr_seq(b, all, space);
        if (key) all = expr_seq(b, all, schema_key(r, key, n_key));
        all = expr_seq(b, all, schema_literal(r, facet_value_at(value, at)));
    }
    free(order);
    if (n) all = expr_seq(b, all, space);
    return expr_seq(b, all, expr_text(b, is_object ? "}" : "]"));
}

expr schema_literal(schema_reader *r, const facet_value *value) {
    size_t n = 0;
    const char *text = facet_value_text(value, &n);
    switch (facet_value_typeof(value)) {
    case FACET_VALUE_NULL: return expr_text(r->b, "null");
    case FACET_VALUE_BOOL: return expr_text(r->b, facet_value_is_true(value) ? "true" : "false");
    case FACET_VALUE_NUMBER: return expr_bytes(r->b, text, n);
    case FACET_VALUE_STRING: return schema_quoted(r, text_expr(r, text, n));
    case FACET_VALUE_ARRAY: return container(r, value, false);
    case FACET_VALUE_OBJECT: return container(r, value, true);
    }
    return 0;
}
