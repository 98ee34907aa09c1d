/* Schemas as rules. See schema.h. A value must fit several schemas at once (allOf, references beside keywords, the
 * branches of anyOf): so rules are made for sets of schemas. A rule that is needed is queued, not written at once:
 * depth of schemas costs no stack, and recursion ends where a set is known. */
#include "sample/schema.h"

#include <stdlib.h>
#include <string.h>

#include "sample/schema_parts.h"

/* ---- branches */

static const facet_value *find_enum(const joined *j) {
    for (size_t i = 0; i < j->n; i++) {
        if (facet_value_get(j->items[i].schema, "const")) return j->items[i].schema;
    }
    for (size_t i = 0; i < j->n; i++) {
        if (facet_value_get(j->items[i].schema, "enum")) return j->items[i].schema;
    }
    return NULL;
}

static facet_status add_branch(schema_reader *r, const joined *j, size_t item, unsigned used,
                               const facet_value *branch, expr *all, bool *any) {
    joined next = *j;
    unsigned types;
    expr one;
    next.items[item].used |= used;
    FACET_TRY(schema_join(r, &next, branch));
    FACET_TRY(schema_expand(r, &next));
    FACET_TRY(schema_types(r, &next, !find_enum(&next), &types));
    if (!types) return FACET_OK;
    FACET_TRY(schema_rule(r, &next, &one));
    *all = *any ? expr_alt(r->b, *all, one) : one;
    *any = true;
    return FACET_OK;
}

static facet_status check_disjoint(schema_reader *r, const facet_value *schema, const facet_value *branches) {
    size_t n = facet_value_count(branches);
    for (size_t a = 0; a < n; a++) {
        for (size_t b = a + 1; b < n; b++) {
            bool disjoint;
            FACET_TRY(schema_disjoint(r, facet_value_at(branches, a), facet_value_at(branches, b), &disjoint));
            if (!disjoint)
                return schema_refuse(r, schema, "oneOf",
                                     "a value may fit more than one branch; where that does no harm use anyOf");
        }
    }
    return FACET_OK;
}

/* Splits at the first anyOf or oneOf; *done tells whether there was one. */
static facet_status split_branches(schema_reader *r, const joined *j, expr *out, bool *done) {
    static const struct {
        const char *keyword;
        unsigned used;
    } kinds[] = {{"anyOf", USED_ANY_OF}, {"oneOf", USED_ONE_OF}};
    for (size_t i = 0; i < j->n; i++) {
        for (size_t k = 0; k < 2; k++) {
            const facet_value *schema = j->items[i].schema;
            const facet_value *branches = facet_value_get(schema, kinds[k].keyword);
            bool any = false;
            if (!branches || j->items[i].used & kinds[k].used) continue;
            FACET_TRY(schema_check_branches(r, schema, kinds[k].keyword));
            if (kinds[k].used == USED_ONE_OF) FACET_TRY(check_disjoint(r, schema, branches));
            for (size_t b = 0; b < facet_value_count(branches); b++)
                FACET_TRY(add_branch(r, j, i, kinds[k].used, facet_value_at(branches, b), out, &any));
            if (!any) return schema_refuse(r, schema, kinds[k].keyword, "no value fits");
            *done = true;
            return FACET_OK;
        }
    }
    return FACET_OK;
}

/* ---- enum and const */

static facet_status fits_all(schema_reader *r, const joined *j, const facet_value *value, bool *fits) {
    *fits = !j->never;
    for (size_t i = 0; i < j->n && *fits; i++) FACET_TRY(schema_fits(r, j->items[i].schema, value, fits));
    return FACET_OK;
}

static facet_status add_literals(schema_reader *r, const joined *j, const facet_value *schema, expr *out) {
    const facet_value *list = facet_value_get(schema, "enum"), *one = facet_value_get(schema, "const");
    bool any = false, fits;
    if (!one && (facet_value_typeof(list) != FACET_VALUE_ARRAY || !facet_value_count(list)))
        return schema_malformed(r, schema, "enum", "must be an array with something in it");
    for (size_t i = 0; i < (one ? 1 : facet_value_count(list)); i++) {
        const facet_value *value = one ? one : facet_value_at(list, i);
        if (value_depth(value) > SCHEMA_MAX_DEPTH) return schema_refuse(r, schema, NULL, "nested too deeply");
        FACET_TRY(fits_all(r, j, value, &fits));
        if (!fits) continue;
        expr literal = schema_literal(r, value);
        *out = any ? expr_alt(r->b, *out, literal) : literal;
        any = true;
    }
    return any ? FACET_OK : schema_refuse(r, schema, one ? "const" : "enum", "no value fits");
}

/* ---- rules */

expr schema_space(schema_reader *r) {
    static const code_range blank[] = {{' ', ' '}, {'\t', '\t'}};
    if (!r->has_space) {
        expr indent = expr_repeat(r->b, expr_class(r->b, blank, 2, false), 0, 32);
        expr line = expr_seq(r->b, expr_text(r->b, "\n"), indent);
        r->space = expr_optional(r->b, expr_alt(r->b, expr_text(r->b, " "), line));
        r->has_space = true;
    }
    return r->style.in_calls ? expr_empty(r->b) : r->space;
}

static facet_status write_types(schema_reader *r, const joined *j, unsigned types, expr *out) {
    expr parts[6];
    size_t n = 0;
    if (types & TYPE_OBJECT) FACET_TRY(schema_object(r, j, &parts[n++]));
    if (types & TYPE_ARRAY) FACET_TRY(schema_array(r, j, &parts[n++]));
    if (types & TYPE_STRING) FACET_TRY(schema_string(r, j, &parts[n++]));
    if (types & (TYPE_INTEGER | TYPE_FRACTION)) FACET_TRY(schema_number(r, j, !(types & TYPE_FRACTION), &parts[n++]));
    if (types & TYPE_BOOL) parts[n++] = expr_alt(r->b, expr_text(r->b, "true"), expr_text(r->b, "false"));
    if (types & TYPE_NULL) parts[n++] = expr_text(r->b, "null");
    *out = parts[0];
    for (size_t i = 1; i < n; i++) *out = expr_alt(r->b, *out, parts[i]);
    return FACET_OK;
}

static facet_status write_rule(schema_reader *r, const joined *asked, uint32_t rule) {
    joined j = *asked;
    unsigned types;
    expr body = 0;
    bool done = false;
    FACET_TRY(schema_expand(r, &j));
    FACET_TRY(split_branches(r, &j, &body, &done));
    const facet_value *literals = done ? NULL : find_enum(&j);
    if (literals) {
        FACET_TRY(add_literals(r, &j, literals, &body));
    } else if (!done) {
        FACET_TRY(schema_types(r, &j, true, &types));
        if (!types) return schema_refuse(r, j.n ? j.items[0].schema : r->root, NULL, "no value fits");
        FACET_TRY(write_types(r, &j, types, &body));
    }
    grammar_rule_define(r->b, rule, body);
    return FACET_OK;
}

static facet_status write_all(schema_reader *r, const facet_value *schema, expr *out) {
    joined j = {0};
    if (schema) FACET_TRY(schema_join(r, &j, schema));
    FACET_TRY(schema_rule(r, &j, out));
    const joined *next;
    uint32_t rule;
    while (!grammar_builder_failed(r->b) && schema_next_rule(r, &next, &rule)) FACET_TRY(write_rule(r, next, rule));
    return FACET_OK;
}

facet_status schema_add(grammar_builder *b, const facet_value *schema, const facet_value *root, schema_style style,
                        expr *out, facet_error *err) {
    schema_reader r = {.b = b, .root = root, .style = style, .err = err};
    facet_status status =
        value_depth(root) > SCHEMA_MAX_DEPTH
            ? error_set(err, FACET_ERROR_UNSUPPORTED, "schema: nested more than %d deep", SCHEMA_MAX_DEPTH)
            : write_all(&r, schema, out);
    schema_forget_rules(&r);
    return status;
}

static facet_status build(grammar_builder *b, const facet_value *schema, uint32_t *root, facet_error *err) {
    expr body = 0;
    *root = grammar_rule_new(b, "#", 1, 0);
    FACET_TRY(schema_add(b, schema, schema, (schema_style){0}, &body, err));
    grammar_rule_define(b, *root, body);
    return FACET_OK;
}

facet_status schema_grammar(grammar **out, const facet_value *schema, facet_error *err) {
    grammar_builder b = {0};
    uint32_t root;
    facet_value *any_object = NULL;
    *out = NULL;
    if (!schema) {
        any_object = facet_value_object();
        if (facet_value_set(any_object, "type", 4, facet_value_string("object", 6)) != FACET_OK) {
            facet_value_free(any_object);
            return error_memory(err, 64);
        }
        schema = any_object;
    }
    facet_status status = build(&b, schema, &root, err);
    if (status == FACET_OK) status = grammar_compile(out, &b, root, err);
    grammar_builder_free(&b);
    facet_value_free(any_object);
    return status;
}
