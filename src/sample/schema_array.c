/* Arrays of a schema: prefixItems, items, minItems, maxItems. See schema_parts.h. */
#include "sample/schema_parts.h"

enum { MAX_PREFIX = 256 };

/* The schemas of single positions: prefixItems, or items where it is an array, as drafts before 2020-12 have it. */
static const facet_value *prefix_of(const facet_value *schema) {
    const facet_value *prefix = facet_value_get(schema, "prefixItems"), *items = facet_value_get(schema, "items");
    if (prefix) return prefix;
    return facet_value_typeof(items) == FACET_VALUE_ARRAY ? items : NULL;
}

/* The schema of the positions behind them, or NULL. */
static const facet_value *rest_of(const facet_value *schema) {
    const facet_value *items = facet_value_get(schema, "items");
    return facet_value_typeof(items) == FACET_VALUE_ARRAY ? facet_value_get(schema, "additionalItems") : items;
}

typedef struct shape {
    uint32_t min, max;
    size_t n_prefix;
} shape;

static facet_status read_shape(schema_reader *r, const joined *j, shape *s) {
    *s = (shape){.max = EXPR_NO_MAX};
    for (size_t i = 0; i < j->n; i++) {
        const facet_value *schema = j->items[i].schema, *prefix = prefix_of(schema), *rest = rest_of(schema);
        uint32_t min = 0, max = EXPR_NO_MAX;
        FACET_TRY(schema_count(r, schema, "minItems", &min));
        FACET_TRY(schema_count(r, schema, "maxItems", &max));
        if (prefix && facet_value_typeof(prefix) != FACET_VALUE_ARRAY)
            return schema_malformed(r, schema, "prefixItems", "must be an array");
        size_t n = facet_value_count(prefix);
        if (n > MAX_PREFIX) return schema_refuse(r, schema, "prefixItems", "too many of them");
        if (facet_value_typeof(rest) == FACET_VALUE_BOOL && !facet_value_is_true(rest) && n < max) max = (uint32_t)n;
        if (min > s->min) s->min = min;
        if (max < s->max) s->max = max;
        if (n > s->n_prefix) s->n_prefix = n;
        if (s->min > s->max) return schema_refuse(r, schema, NULL, "no array has so many and so few items");
    }
    if (s->n_prefix > s->max) s->n_prefix = s->max;
    return FACET_OK;
}

/* What holds for position i; beyond all prefixes every i is the same. */
static facet_status item_rule(schema_reader *r, const joined *j, size_t i, expr *out) {
    joined item = {0};
    for (size_t k = 0; k < j->n; k++) {
        const facet_value *prefix = prefix_of(j->items[k].schema);
        const facet_value *schema =
            i < facet_value_count(prefix) ? facet_value_at(prefix, i) : rest_of(j->items[k].schema);
        if (schema) FACET_TRY(schema_join(r, &item, schema));
    }
    return schema_rule(r, &item, out);
}

static expr after_comma(schema_reader *r, expr item) {
    return expr_seq(r->b, expr_seq(r->b, expr_text(r->b, ","), schema_space(r)), item);
}

static uint32_t less(uint32_t n, size_t by) { return n == EXPR_NO_MAX ? n : n > by ? n - (uint32_t)by : 0; }

/* Items from `first` on, each after its comma. */
static facet_status following(schema_reader *r, const joined *j, const shape *s, size_t first, expr *out) {
    expr item;
    size_t from = s->n_prefix > first ? s->n_prefix : first;
    *out = expr_empty(r->b);
    if (s->max > from) {
        FACET_TRY(item_rule(r, j, s->n_prefix > first ? SIZE_MAX : from, &item));
        *out = expr_repeat(r->b, after_comma(r, item), less(s->min, from), less(s->max, from));
    }
    for (size_t i = s->n_prefix; i-- > first;) {
        FACET_TRY(item_rule(r, j, i, &item));
        *out = expr_seq(r->b, after_comma(r, item), *out);
        if (i >= s->min) *out = expr_optional(r->b, *out);
    }
    return FACET_OK;
}

facet_status schema_array(schema_reader *r, const joined *j, expr *out) {
    shape s;
    expr first, rest, space = schema_space(r);
    FACET_TRY(read_shape(r, j, &s));
    *out = expr_text(r->b, "[]");
    if (s.max == 0) return FACET_OK;
    FACET_TRY(item_rule(r, j, 0, &first));
    FACET_TRY(following(r, j, &s, 1, &rest));
    expr inside = expr_seq(r->b, space, expr_seq(r->b, expr_seq(r->b, first, rest), space));
    if (s.min == 0) inside = expr_optional(r->b, inside);
    *out = expr_seq(r->b, expr_seq(r->b, expr_text(r->b, "["), inside), expr_text(r->b, "]"));
    return FACET_OK;
}
