/* Sets of schemas that hold for one value: which keywords they may have, what they refer to, allOf. See
 * schema_parts.h. */
#include <stdlib.h>
#include <string.h>

#include "sample/schema_parts.h"

/* ---- keywords */

static bool is_one_of(const char *key, const char *const *list) {
    for (; *list; list++) {
        if (strcmp(key, *list) == 0) return true;
    }
    return false;
}

/* Those that say nothing about which values fit, those that are understood, and those that are known but refused. */
static const char *const silent[] = {"title",         "description",
                                     "default",       "examples",
                                     "example",       "deprecated",
                                     "readOnly",      "writeOnly",
                                     "$comment",      "$schema",
                                     "$id",           "id",
                                     "$defs",         "definitions",
                                     "$anchor",       "contentEncoding",
                                     "contentSchema", "contentMediaType",
                                     "externalDocs",  "discriminator",
                                     "strict",        "propertyOrdering",
                                     "$vocabulary",   "minContains",
                                     "maxContains",   NULL};
static const char *const known[] = {"type",
                                    "enum",
                                    "const",
                                    "nullable",
                                    "$ref",
                                    "allOf",
                                    "anyOf",
                                    "oneOf",
                                    "properties",
                                    "required",
                                    "items",
                                    "prefixItems",
                                    "minItems",
                                    "additionalProperties",
                                    "maxItems",
                                    "minProperties",
                                    "minLength",
                                    "maxProperties",
                                    "propertyNames",
                                    "maxLength",
                                    "pattern",
                                    "format",
                                    "minimum",
                                    "maximum",
                                    "multipleOf",
                                    "uniqueItems",
                                    "exclusiveMinimum",
                                    "exclusiveMaximum",
                                    "additionalItems",
                                    NULL};

static facet_status check_keywords(const schema_reader *r, const facet_value *schema) {
    for (size_t i = 0; i < facet_value_count(schema); i++) {
        size_t n;
        const char *key = facet_value_key(schema, i, &n);
        if (strlen(key) == n && (is_one_of(key, silent) || is_one_of(key, known) || strncmp(key, "x-", 2) == 0))
            continue;
        return schema_refuse(r, schema, key, "this keyword is not supported");
    }
    const facet_value *unique = facet_value_get(schema, "uniqueItems");
    if (facet_value_is_true(unique)) return schema_refuse(r, schema, "uniqueItems", "this keyword is not supported");
    return FACET_OK;
}

facet_status schema_count(const schema_reader *r, const facet_value *schema, const char *keyword, uint32_t *out) {
    const facet_value *value = facet_value_get(schema, keyword);
    if (!value) return FACET_OK;
    size_t n;
    const char *text = facet_value_typeof(value) == FACET_VALUE_NUMBER ? facet_value_text(value, &n) : NULL;
    uint64_t count = 0;
    if (!text || !schema_number_is_integer(value) || text[0] == '-' || strcspn(text, ".eE") != n)
        return schema_malformed(r, schema, keyword, "must be a count");
    for (size_t i = 0; i < n && count < UINT32_MAX; i++) count = count * 10 + (uint64_t)(text[i] - '0');
    *out = count < UINT32_MAX - 1 ? (uint32_t)count : UINT32_MAX - 1;
    return FACET_OK;
}

/* ---- references: "#" and "#/a/b" */

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* One step of a pointer without its escapes; returns what follows it. */
static const char *pointer_step(const char *at, const char *end, char *out, size_t size, size_t *n) {
    *n = 0;
    for (; at < end && *at != '/' && *n + 1 < size; at++) {
        char c = *at;
        if (c == '%' && end - at > 2 && hex(at[1]) >= 0 && hex(at[2]) >= 0) {
            c = (char)(hex(at[1]) << 4 | hex(at[2]));
            at += 2;
        } else if (c == '~' && end - at > 1) {
            c = *++at == '1' ? '/' : '~';
        }
        out[(*n)++] = c;
    }
    out[*n] = '\0';
    return at;
}

static const facet_value *resolve(const facet_value *root, const char *ref, size_t n) {
    const char *end = ref + n;
    char step[256];
    if (n == 0 || *ref++ != '#') return NULL;
    while (root && ref < end) {
        size_t n_step;
        if (*ref != '/') return NULL;
        ref = pointer_step(ref + 1, end, step, sizeof step, &n_step);
        if (facet_value_typeof(root) == FACET_VALUE_ARRAY) {
            size_t i = strspn(step, "0123456789") == n_step && n_step && n_step < 9 ? (size_t)atol(step) : SIZE_MAX;
            root = facet_value_at(root, i);
        } else {
            root = value_get(root, step, n_step);
        }
    }
    return root;
}

/* ---- sets of schemas */

facet_status schema_join(schema_reader *r, joined *j, const facet_value *schema) {
    if (facet_value_typeof(schema) == FACET_VALUE_BOOL) {
        j->never = j->never || !facet_value_is_true(schema);
        return FACET_OK;
    }
    if (facet_value_typeof(schema) != FACET_VALUE_OBJECT)
        return schema_malformed(r, schema, NULL, "must be an object, true or false");
    for (size_t i = 0; i < j->n; i++) {
        if (j->items[i].schema == schema) return FACET_OK;
    }
    FACET_TRY(check_keywords(r, schema));
    if (facet_value_count(schema) == 0) return FACET_OK;
    if (j->n == SCHEMA_MAX_JOINED) return schema_refuse(r, schema, NULL, "too many schemas hold for one value");
    j->items[j->n].schema = schema;
    j->items[j->n++].used = 0;
    return FACET_OK;
}

static facet_status join_reference(schema_reader *r, joined *j, const facet_value *schema) {
    const facet_value *ref = facet_value_get(schema, "$ref");
    size_t n;
    if (!ref) return FACET_OK;
    if (facet_value_typeof(ref) != FACET_VALUE_STRING) return schema_malformed(r, schema, "$ref", "must be a string");
    const char *text = facet_value_text(ref, &n);
    const facet_value *target = resolve(r->root, text, n);
    if (target) return schema_join(r, j, target);
    return schema_refuse(r, schema, "$ref",
                         "leads nowhere: only \"#\" and \"#/...\" inside this schema are followed");
}

facet_status schema_check_branches(const schema_reader *r, const facet_value *schema, const char *keyword) {
    const facet_value *list = facet_value_get(schema, keyword);
    if (!list || (facet_value_typeof(list) == FACET_VALUE_ARRAY && facet_value_count(list))) return FACET_OK;
    return schema_malformed(r, schema, keyword, "must be an array with something in it");
}

facet_status schema_expand(schema_reader *r, joined *j) {
    for (size_t i = 0; i < j->n; i++) {
        const facet_value *schema = j->items[i].schema, *all = facet_value_get(schema, "allOf");
        if (++r->n_work > SCHEMA_MAX_WORK) return schema_refuse(r, schema, NULL, "too much to work out");
        if (!(j->items[i].used & USED_REF)) FACET_TRY(join_reference(r, j, schema));
        FACET_TRY(schema_check_branches(r, schema, "allOf"));
        for (size_t k = 0; k < facet_value_count(all) && !(j->items[i].used & USED_ALL_OF); k++)
            FACET_TRY(schema_join(r, j, facet_value_at(all, k)));
        j->items[i].used |= USED_REF | USED_ALL_OF;
    }
    return FACET_OK;
}
