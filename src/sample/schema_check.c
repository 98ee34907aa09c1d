/* Whether a value fits a schema, and whether two schemas can share one. See schema_parts.h. The first serves enum and
 * const beside other keywords, the second oneOf: it answers "disjoint" only where that is plain. */
#include <string.h>

#include "sample/schema_parts.h"

enum { MAX_LOOKS = 64 }; /* schemas inside schemas, by any path */

static facet_status fits(schema_reader *r, const facet_value *schema, const facet_value *value, unsigned depth,
                         bool *out);

static unsigned type_of(const facet_value *value) {
    switch (facet_value_typeof(value)) {
    case FACET_VALUE_NULL: return TYPE_NULL;
    case FACET_VALUE_BOOL: return TYPE_BOOL;
    case FACET_VALUE_NUMBER: return schema_number_is_integer(value) ? TYPE_INTEGER : TYPE_FRACTION;
    case FACET_VALUE_STRING: return TYPE_STRING;
    case FACET_VALUE_ARRAY: return TYPE_ARRAY;
    case FACET_VALUE_OBJECT: return TYPE_OBJECT;
    }
    return 0;
}

static bool is_named(const facet_value *schema, const facet_value *value) {
    const facet_value *one = facet_value_get(schema, "const"), *list = facet_value_get(schema, "enum");
    if (one && !schema_values_equal(one, value)) return false;
    for (size_t i = 0; i < facet_value_count(list); i++) {
        if (schema_values_equal(facet_value_at(list, i), value)) return true;
    }
    return !list;
}

static facet_status fits_branches(schema_reader *r, const facet_value *schema, const facet_value *value,
                                  unsigned depth, bool *out) {
    static const char *const keywords[] = {"allOf", "anyOf", "oneOf"};
    for (size_t k = 0; k < 3 && *out; k++) {
        const facet_value *list = facet_value_get(schema, keywords[k]);
        size_t n = 0;
        for (size_t i = 0; i < facet_value_count(list); i++) {
            bool one;
            FACET_TRY(fits(r, facet_value_at(list, i), value, depth, &one));
            n += one;
        }
        if (list) *out = k == 0 ? n == facet_value_count(list) : k == 1 ? n > 0 : n == 1;
    }
    return FACET_OK;
}

static facet_status fits_string(schema_reader *r, const joined *j, const facet_value *value, bool *out) {
    size_t n;
    const char *text = facet_value_text(value, &n);
    lang *l;
    FACET_TRY(schema_string_lang(r, j, &l));
    *out = !l || lang_has(l, text, n);
    lang_free(l);
    return FACET_OK;
}

static facet_status fits_array(schema_reader *r, const facet_value *schema, const facet_value *value, unsigned depth,
                               bool *out) {
    uint32_t min = 0, max = EXPR_NO_MAX;
    const facet_value *items = facet_value_get(schema, "items"), *prefix = facet_value_get(schema, "prefixItems");
    FACET_TRY(schema_count(r, schema, "minItems", &min));
    FACET_TRY(schema_count(r, schema, "maxItems", &max));
    size_t n = facet_value_count(value);
    *out = n >= min && n <= max;
    if (facet_value_typeof(items) == FACET_VALUE_ARRAY) {
        prefix = items;
        items = facet_value_get(schema, "additionalItems");
    }
    for (size_t i = 0; i < n && *out; i++) {
        const facet_value *one = i < facet_value_count(prefix) ? facet_value_at(prefix, i) : items;
        if (one) FACET_TRY(fits(r, one, facet_value_at(value, i), depth, out));
    }
    return FACET_OK;
}

static facet_status fits_object(schema_reader *r, const facet_value *schema, const facet_value *value, unsigned depth,
                                bool *out) {
    uint32_t min = 0, max = EXPR_NO_MAX;
    const facet_value *properties = facet_value_get(schema, "properties"),
                      *required = facet_value_get(schema, "required");
    FACET_TRY(schema_count(r, schema, "minProperties", &min));
    FACET_TRY(schema_count(r, schema, "maxProperties", &max));
    *out = facet_value_count(value) >= min && facet_value_count(value) <= max;
    for (size_t i = 0; i < facet_value_count(required) && *out; i++) {
        size_t n = 0;
        const char *key = facet_value_text(facet_value_at(required, i), &n);
        *out = key && value_get(value, key, n);
    }
    for (size_t i = 0; i < facet_value_count(value) && *out; i++) {
        size_t n;
        const char *key = facet_value_key(value, i, &n);
        const facet_value *one = value_get(properties, key, n);
        if (!one) one = facet_value_get(schema, "additionalProperties");
        if (one) FACET_TRY(fits(r, one, facet_value_at(value, i), depth, out));
    }
    return FACET_OK;
}

static facet_status fits_joined(schema_reader *r, const joined *j, const facet_value *value, unsigned depth,
                                bool *out) {
    unsigned types, type = type_of(value);
    FACET_TRY(schema_types(r, j, false, &types));
    *out = types & type;
    for (size_t i = 0; i < j->n && *out; i++) {
        const facet_value *schema = j->items[i].schema;
        *out = is_named(schema, value);
        if (*out) FACET_TRY(fits_branches(r, schema, value, depth, out));
        if (*out && type & (TYPE_INTEGER | TYPE_FRACTION)) FACET_TRY(schema_number_fits(r, schema, value, out));
        if (*out && type == TYPE_ARRAY) FACET_TRY(fits_array(r, schema, value, depth, out));
        if (*out && type == TYPE_OBJECT) FACET_TRY(fits_object(r, schema, value, depth, out));
    }
    return *out && type == TYPE_STRING ? fits_string(r, j, value, out) : FACET_OK;
}

static facet_status fits(schema_reader *r, const facet_value *schema, const facet_value *value, unsigned depth,
                         bool *out) {
    joined j = {0};
    if (depth == MAX_LOOKS || ++r->n_work > SCHEMA_MAX_WORK)
        return schema_refuse(r, schema, NULL, "too much to work out for a value of enum or const");
    FACET_TRY(schema_join(r, &j, schema));
    *out = !j.never;
    if (!*out) return FACET_OK;
    FACET_TRY(schema_expand(r, &j));
    if (j.never) {
        *out = false;
        return FACET_OK;
    }
    return fits_joined(r, &j, value, depth + 1, out);
}

facet_status schema_fits(schema_reader *r, const facet_value *schema, const facet_value *value, bool *out) {
    return fits(r, schema, value, 0, out);
}

/* ---- disjoint schemas */

static facet_status disjoint(schema_reader *r, const facet_value *a, const facet_value *b, unsigned depth, bool *out);

/* Where one of them names all its values: none of these fits the other. */
static facet_status disjoint_values(schema_reader *r, const joined *a, const facet_value *b, bool *out) {
    for (size_t i = 0; i < a->n && !*out; i++) {
        const facet_value *one = facet_value_get(a->items[i].schema, "const");
        const facet_value *list = facet_value_get(a->items[i].schema, "enum");
        bool any = false;
        if (!one && !list) continue;
        for (size_t k = 0; k < (one ? 1 : facet_value_count(list)) && !any; k++)
            FACET_TRY(fits(r, b, one ? one : facet_value_at(list, k), 0, &any));
        *out = !any;
    }
    return FACET_OK;
}

/* Every value of `a`, an object, has this member; its schema goes to *member (NULL: anything). */
static bool requires_member(const joined *a, const char *key, size_t n) {
    for (size_t i = 0; i < a->n; i++) {
        const facet_value *required = facet_value_get(a->items[i].schema, "required");
        for (size_t k = 0; k < facet_value_count(required); k++) {
            size_t n_name = 0;
            const char *name = facet_value_text(facet_value_at(required, k), &n_name);
            if (name && n_name == n && memcmp(name, key, n) == 0) return true;
        }
    }
    return false;
}

static const facet_value *declared_member(const joined *a, const char *key, size_t n) {
    for (size_t i = 0; i < a->n; i++) {
        const facet_value *schema = value_get(facet_value_get(a->items[i].schema, "properties"), key, n);
        if (schema) return schema;
    }
    return NULL;
}

/* A member that a requires and that b, closed, does not have. */
static bool lacks_member(const joined *b, const char *key, size_t n) {
    for (size_t i = 0; i < b->n; i++) {
        const facet_value *others = facet_value_get(b->items[i].schema, "additionalProperties");
        bool closed = facet_value_typeof(others) == FACET_VALUE_BOOL && !facet_value_is_true(others);
        if (closed && !value_get(facet_value_get(b->items[i].schema, "properties"), key, n)) return true;
    }
    return false;
}

/* Objects that both have a member whose values differ. */
static facet_status disjoint_members(schema_reader *r, const joined *a, const joined *b, unsigned depth, bool *out) {
    for (size_t i = 0; i < a->n && !*out; i++) {
        const facet_value *required = facet_value_get(a->items[i].schema, "required");
        for (size_t k = 0; k < facet_value_count(required) && !*out; k++) {
            size_t n = 0;
            const char *key = facet_value_text(facet_value_at(required, k), &n);
            if (!key) continue;
            *out = lacks_member(b, key, n);
            const facet_value *one = declared_member(a, key, n), *other = declared_member(b, key, n);
            if (!*out && one && other && requires_member(b, key, n)) FACET_TRY(disjoint(r, one, other, depth, out));
        }
    }
    return FACET_OK;
}

static facet_status disjoint_strings(schema_reader *r, const joined *a, const joined *b, bool *out) {
    lang *x = NULL, *y = NULL, *joint = NULL;
    facet_status status = schema_string_lang(r, a, &x);
    if (status == FACET_OK) status = schema_string_lang(r, b, &y);
    if (status == FACET_OK && x && y) status = lang_both(&joint, x, y, r->err);
    *out = joint && joint->n_states == 0;
    lang_free(x);
    lang_free(y);
    lang_free(joint);
    return status == FACET_ERROR_UNSUPPORTED ? FACET_OK : status;
}

/* What is written for one of them is of the types that are meant, what fits the other of those that are declared. */
static facet_status shared_types(const schema_reader *r, const joined *a, const joined *b, unsigned *shared) {
    unsigned meant_a, meant_b, fit_a, fit_b;
    FACET_TRY(schema_types(r, a, true, &meant_a));
    FACET_TRY(schema_types(r, b, true, &meant_b));
    FACET_TRY(schema_types(r, a, false, &fit_a));
    FACET_TRY(schema_types(r, b, false, &fit_b));
    *shared = (meant_a & fit_b) | (meant_b & fit_a);
    return FACET_OK;
}

static facet_status disjoint(schema_reader *r, const facet_value *a, const facet_value *b, unsigned depth,
                             bool *out) {
    joined x = {0}, y = {0};
    unsigned shared;
    *out = false;
    if (depth == 8 || ++r->n_work > SCHEMA_MAX_WORK) return FACET_OK;
    FACET_TRY(schema_join(r, &x, a));
    FACET_TRY(schema_join(r, &y, b));
    FACET_TRY(schema_expand(r, &x));
    FACET_TRY(schema_expand(r, &y));
    FACET_TRY(shared_types(r, &x, &y, &shared));
    *out = x.never || y.never || !shared;
    if (!*out) FACET_TRY(disjoint_values(r, &x, b, out));
    if (!*out) FACET_TRY(disjoint_values(r, &y, a, out));
    if (*out) return FACET_OK;
    if (shared == TYPE_OBJECT) {
        FACET_TRY(disjoint_members(r, &x, &y, depth + 1, out));
        return *out ? FACET_OK : disjoint_members(r, &y, &x, depth + 1, out);
    }
    return shared == TYPE_STRING ? disjoint_strings(r, &x, &y, out) : FACET_OK;
}

facet_status schema_disjoint(schema_reader *r, const facet_value *a, const facet_value *b, bool *out) {
    return disjoint(r, a, b, 0, out);
}
