/* Schemas as rules. See schema.h. A value must fit several schemas at once (allOf, references beside keywords, the
 * branches of anyOf): so rules are made for sets of schemas. A rule that is needed is queued, not written at once:
 * depth of schemas costs no stack, and recursion ends where a set is known. */
#include "sample/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sample/schema_parts.h"

struct schema_memo {
    joined *schemas; /* as they were asked for */
    uint32_t rule;
    uint64_t hash;
};

/* ---- places and messages */

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

static facet_status check_branches(const schema_reader *r, const facet_value *schema, const char *keyword) {
    const facet_value *list = facet_value_get(schema, keyword);
    if (!list || (facet_value_typeof(list) == FACET_VALUE_ARRAY && facet_value_count(list))) return FACET_OK;
    return schema_malformed(r, schema, keyword, "must be an array with something in it");
}

facet_status schema_expand(schema_reader *r, joined *j) {
    for (size_t i = 0; i < j->n; i++) {
        const facet_value *schema = j->items[i].schema, *all = facet_value_get(schema, "allOf");
        if (++r->n_work > SCHEMA_MAX_WORK) return schema_refuse(r, schema, NULL, "too much to work out");
        if (!(j->items[i].used & USED_REF)) FACET_TRY(join_reference(r, j, schema));
        FACET_TRY(check_branches(r, schema, "allOf"));
        for (size_t k = 0; k < facet_value_count(all) && !(j->items[i].used & USED_ALL_OF); k++)
            FACET_TRY(schema_join(r, j, facet_value_at(all, k)));
        j->items[i].used |= USED_REF | USED_ALL_OF;
    }
    return FACET_OK;
}

/* ---- types */

static unsigned type_named(const facet_value *name) {
    static const struct {
        const char *name;
        unsigned types;
    } names[] = {{"null", TYPE_NULL},     {"boolean", TYPE_BOOL}, {"integer", TYPE_INTEGER},
                 {"string", TYPE_STRING}, {"array", TYPE_ARRAY},  {"number", TYPE_INTEGER | TYPE_FRACTION},
                 {"object", TYPE_OBJECT}, {"any", TYPE_ALL}};
    const char *text = facet_value_typeof(name) == FACET_VALUE_STRING ? facet_value_text(name, NULL) : "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(names[i].name, text) == 0) return names[i].types;
    }
    return 0;
}

static facet_status declared_types(const schema_reader *r, const facet_value *schema, unsigned *types) {
    const facet_value *type = facet_value_get(schema, "type");
    bool is_list = facet_value_typeof(type) == FACET_VALUE_ARRAY;
    *types = 0;
    for (size_t i = 0; i < (is_list ? facet_value_count(type) : 1); i++) {
        unsigned one = type_named(is_list ? facet_value_at(type, i) : type);
        if (!one) return schema_malformed(r, schema, "type", "there is no such type");
        *types |= one;
    }
    if (facet_value_is_true(facet_value_get(schema, "nullable"))) *types |= TYPE_NULL;
    return FACET_OK;
}

static bool has_any(const facet_value *schema, const char *const *keywords) {
    for (; *keywords; keywords++) {
        if (facet_value_get(schema, *keywords)) return true;
    }
    return false;
}

/* What the keywords of a schema without a type speak of. */
static unsigned meant_types(const facet_value *schema) {
    static const char *const of_string[] = {"minLength", "maxLength", "pattern", "format", NULL};
    static const char *const of_array[] = {"items", "prefixItems", "minItems", "maxItems", NULL};
    static const char *const of_object[] = {
        "properties", "required", "additionalProperties", "minProperties", "maxProperties", "propertyNames", NULL};
    static const char *const of_number[] = {"minimum",          "maximum",    "exclusiveMinimum",
                                            "exclusiveMaximum", "multipleOf", NULL};
    unsigned types = 0;
    if (has_any(schema, of_string)) types |= TYPE_STRING;
    if (has_any(schema, of_array)) types |= TYPE_ARRAY;
    if (has_any(schema, of_object)) types |= TYPE_OBJECT;
    if (has_any(schema, of_number)) types |= TYPE_INTEGER | TYPE_FRACTION;
    if (types && facet_value_is_true(facet_value_get(schema, "nullable"))) types |= TYPE_NULL;
    return types;
}

facet_status schema_types(const schema_reader *r, const joined *j, bool meant, unsigned *types) {
    unsigned spoken = 0, one;
    bool declared = false;
    *types = j->never ? 0 : TYPE_ALL;
    for (size_t i = 0; i < j->n; i++) {
        if (facet_value_get(j->items[i].schema, "type")) {
            FACET_TRY(declared_types(r, j->items[i].schema, &one));
            *types &= one;
            declared = true;
        } else {
            spoken |= meant_types(j->items[i].schema);
        }
    }
    if (meant && !declared && spoken) *types &= spoken;
    return FACET_OK;
}

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
            FACET_TRY(check_branches(r, schema, kinds[k].keyword));
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

static uint64_t hash_joined(const joined *j) {
    uint64_t h = j->n + j->never;
    for (size_t i = 0; i < j->n; i++) {
        h = (h ^ (uint64_t)(uintptr_t)j->items[i].schema ^ (uint64_t)j->items[i].used << 56) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

static bool same_joined(const joined *a, const joined *b) {
    if (a->n != b->n || a->never != b->never) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (a->items[i].schema != b->items[i].schema || a->items[i].used != b->items[i].used) return false;
    }
    return true;
}

static bool more_memos(schema_reader *r) {
    size_t capacity = r->memos_capacity ? r->memos_capacity * 2 : 64;
    schema_memo *memos = realloc(r->memos, capacity * sizeof *memos);
    if (memos) r->memos = memos;
    uint32_t *slots = calloc(capacity * 2, sizeof *slots);
    if (!memos || !slots) {
        free(slots);
        return false;
    }
    free(r->slots);
    r->slots = slots;
    r->n_slots = capacity * 2;
    r->memos_capacity = capacity;
    for (uint32_t i = 0; i < r->n_memos; i++) {
        size_t at = (size_t)r->memos[i].hash & (r->n_slots - 1);
        while (slots[at]) at = (at + 1) & (r->n_slots - 1);
        slots[at] = i + 1;
    }
    return true;
}

static facet_status add_memo(schema_reader *r, const joined *j, uint64_t hash, uint32_t *rule) {
    size_t n_bytes = sizeof *j;
    joined *copy = malloc(n_bytes);
    if (!copy) return error_memory(r->err, n_bytes);
    char name[160];
    *copy = *j;
    schema_place(j->n ? j->items[j->n - 1].schema : r->root, r->root, name, sizeof name);
    *rule = grammar_rule_new(r->b, name, strlen(name), 0);
    r->memos[r->n_memos++] = (schema_memo){copy, *rule, hash};
    return FACET_OK;
}

facet_status schema_rule(schema_reader *r, const joined *j, expr *out) {
    uint64_t hash = hash_joined(j);
    uint32_t rule = 0;
    if (r->n_memos == r->memos_capacity && !more_memos(r)) return error_memory(r->err, r->n_memos * sizeof *r->memos);
    size_t at = (size_t)hash & (r->n_slots - 1);
    for (; r->slots[at]; at = (at + 1) & (r->n_slots - 1)) {
        const schema_memo *known_memo = &r->memos[r->slots[at] - 1];
        if (known_memo->hash != hash || !same_joined(known_memo->schemas, j)) continue;
        *out = expr_rule(r->b, known_memo->rule);
        return FACET_OK;
    }
    if (r->n_memos >= SCHEMA_MAX_RULES)
        return schema_refuse(r, j->n ? j->items[0].schema : r->root, NULL, "the schema needs too many rules");
    FACET_TRY(add_memo(r, j, hash, &rule));
    r->slots[at] = (uint32_t)r->n_memos;
    *out = expr_rule(r->b, rule);
    return FACET_OK;
}

static facet_status write_all(schema_reader *r, const facet_value *schema, expr *out) {
    joined j = {0};
    if (schema) FACET_TRY(schema_join(r, &j, schema));
    FACET_TRY(schema_rule(r, &j, out));
    for (; r->next < r->n_memos && !grammar_builder_failed(r->b); r->next++)
        FACET_TRY(write_rule(r, r->memos[r->next].schemas, r->memos[r->next].rule));
    return FACET_OK;
}

facet_status schema_add(grammar_builder *b, const facet_value *schema, const facet_value *root, schema_style style,
                        expr *out, facet_error *err) {
    schema_reader r = {.b = b, .root = root, .style = style, .err = err};
    facet_status status =
        value_depth(root) > SCHEMA_MAX_DEPTH
            ? error_set(err, FACET_ERROR_UNSUPPORTED, "schema: nested more than %d deep", SCHEMA_MAX_DEPTH)
            : write_all(&r, schema, out);
    for (size_t i = 0; i < r.n_memos; i++) free(r.memos[i].schemas);
    free(r.memos);
    free(r.slots);
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
