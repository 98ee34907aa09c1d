/* Objects of a schema. See schema_parts.h. Declared members come in order, those that are not required may be left
 * out; others may follow them. Rule i is "the members from i on, each after a comma": so n members need n rules. */
#include <stdlib.h>
#include <string.h>

#include "sample/schema_parts.h"

enum { MAX_MEMBERS = 4096 };

typedef struct member {
    const char *key;
    size_t n;
    bool required;
    expr value;
    expr from; /* this member and those behind it, after commas */
} member;

typedef struct shape {
    member *members;
    size_t n, capacity, n_required;
    bool open; /* there may be others */
    uint32_t min_others, max_others;
    lang *other_keys; /* NULL: any */
    expr other;       /* one other member */
} shape;

/* ---- which members there are */

static member *find_member(const shape *s, const char *key, size_t n) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->members[i].n == n && memcmp(s->members[i].key, key, n) == 0) return &s->members[i];
    }
    return NULL;
}

static facet_status add_member(schema_reader *r, shape *s, const facet_value *schema, const char *key, size_t n) {
    if (find_member(s, key, n)) return FACET_OK;
    r->n_work += s->n / 16;
    if (s->n >= MAX_MEMBERS) return schema_refuse(r, schema, "properties", "too many of them");
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 16;
        member *bigger = realloc(s->members, capacity * sizeof *bigger);
        if (!bigger) return error_memory(r->err, capacity * sizeof *bigger);
        s->members = bigger;
        s->capacity = capacity;
    }
    s->members[s->n++] = (member){.key = key, .n = n};
    return FACET_OK;
}

static facet_status add_declared(schema_reader *r, shape *s, const facet_value *schema) {
    const facet_value *properties = facet_value_get(schema, "properties");
    if (properties && facet_value_typeof(properties) != FACET_VALUE_OBJECT)
        return schema_malformed(r, schema, "properties", "must be an object");
    for (size_t i = 0; i < facet_value_count(properties); i++) {
        size_t n;
        const char *key = facet_value_key(properties, i, &n);
        FACET_TRY(add_member(r, s, schema, key, n));
    }
    return FACET_OK;
}

static facet_status add_required(schema_reader *r, shape *s, const facet_value *schema) {
    const facet_value *required = facet_value_get(schema, "required");
    if (!required || facet_value_typeof(required) == FACET_VALUE_BOOL) return FACET_OK;
    if (facet_value_typeof(required) != FACET_VALUE_ARRAY)
        return schema_malformed(r, schema, "required", "must be an array");
    for (size_t i = 0; i < facet_value_count(required); i++) {
        const facet_value *name = facet_value_at(required, i);
        size_t n;
        if (facet_value_typeof(name) != FACET_VALUE_STRING)
            return schema_malformed(r, schema, "required", "must hold strings");
        const char *key = facet_value_text(name, &n);
        FACET_TRY(add_member(r, s, schema, key, n));
        member *m = find_member(s, key, n);
        if (!m->required) s->n_required++;
        m->required = true;
    }
    return FACET_OK;
}

static bool is_false(const facet_value *value) {
    return facet_value_typeof(value) == FACET_VALUE_BOOL && !facet_value_is_true(value);
}

static void read_open(const joined *j, shape *s) {
    bool said = false, closed = false, declared = false;
    for (size_t i = 0; i < j->n; i++) {
        const facet_value *others = facet_value_get(j->items[i].schema, "additionalProperties");
        said = said || others;
        closed = closed || is_false(others);
        declared = declared || facet_value_get(j->items[i].schema, "properties");
    }
    s->open = !closed && (said || !declared);
}

/* What holds for a member: what its declarations say, and the additionalProperties of those who do not declare it. */
static facet_status join_member(schema_reader *r, const joined *j, const member *m, joined *out) {
    *out = (joined){0};
    for (size_t i = 0; i < j->n; i++) {
        const facet_value *properties = facet_value_get(j->items[i].schema, "properties");
        const facet_value *schema = m ? value_get(properties, m->key, m->n) : NULL;
        if (!schema) schema = facet_value_get(j->items[i].schema, "additionalProperties");
        if (schema) FACET_TRY(schema_join(r, out, schema));
    }
    return FACET_OK;
}

/* Members that may not be there are dropped. */
static facet_status write_members(schema_reader *r, const joined *j, shape *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++) {
        member m = s->members[i];
        joined all;
        FACET_TRY(join_member(r, j, &m, &all));
        if (all.never && m.required)
            return schema_refuse(r, j->items[0].schema, "required", "a member is required that no value fits");
        if (all.never) continue;
        FACET_TRY(schema_rule(r, &all, &m.value));
        s->members[kept++] = m;
    }
    s->n = kept;
    return FACET_OK;
}

static facet_status check_names(schema_reader *r, const joined *j, const shape *s) {
    for (size_t i = 0; i < j->n; i++) {
        const facet_value *names = facet_value_get(j->items[i].schema, "propertyNames");
        for (size_t k = 0; names && k < s->n; k++) {
            bool fits = false;
            facet_value *name = facet_value_string(s->members[k].key, s->members[k].n);
            facet_status status = name ? schema_fits(r, names, name, &fits) : error_memory(r->err, s->members[k].n);
            facet_value_free(name);
            FACET_TRY(status);
            if (!fits)
                return schema_refuse(r, j->items[i].schema, "propertyNames", "a declared property has another name");
        }
    }
    return FACET_OK;
}

/* How many others: a map may repeat a key, so that no more than one more member can be asked for. */
static facet_status read_counts(schema_reader *r, const joined *j, shape *s) {
    s->min_others = 0;
    s->max_others = s->open ? EXPR_NO_MAX : 0;
    for (size_t i = 0; i < j->n; i++) {
        const facet_value *schema = j->items[i].schema;
        uint32_t min = 0, max = EXPR_NO_MAX;
        FACET_TRY(schema_count(r, schema, "minProperties", &min));
        FACET_TRY(schema_count(r, schema, "maxProperties", &max));
        if (max < s->n) return schema_refuse(r, schema, "maxProperties", "fewer than there are declared");
        if (max != EXPR_NO_MAX && max - s->n < s->max_others) s->max_others = max - (uint32_t)s->n;
        if (min <= s->n_required) continue;
        if (min > s->n_required + 1 || s->n > s->n_required)
            return schema_refuse(r, schema, "minProperties", "more than are sure to be there");
        s->min_others = 1;
    }
    if (s->min_others > s->max_others)
        return schema_refuse(r, j->items[0].schema, "minProperties", "no object has so many members");
    return FACET_OK;
}

/* ---- other members */

static facet_status other_keys(schema_reader *r, const joined *j, shape *s) {
    joined names = {0};
    lang *wanted = NULL;
    static const char bare[] = "^[A-Za-z_][A-Za-z0-9_.-]{0,63}$";
    if (r->style.in_calls) { /* a bare key ends at ':' */
        FACET_TRY(lang_pattern(&s->other_keys, bare, sizeof bare - 1, r->err));
    }
    for (size_t i = 0; i < j->n; i++) {
        const facet_value *schema = facet_value_get(j->items[i].schema, "propertyNames");
        if (schema) FACET_TRY(schema_join(r, &names, schema));
    }
    FACET_TRY(schema_expand(r, &names));
    for (size_t i = 0; i < names.n; i++) {
        static const char *const strange[] = {"enum", "const", "anyOf", "oneOf"};
        for (size_t k = 0; k < sizeof strange / sizeof *strange; k++) {
            if (facet_value_get(names.items[i].schema, strange[k]))
                return schema_refuse(r, names.items[i].schema, strange[k], "this keyword is not supported for names");
        }
    }
    FACET_TRY(schema_string_lang(r, &names, &wanted));
    for (int round = 0; round < 2; round++) { /* the names that are asked for, then those that are not declared */
        lang_word *words = NULL;
        lang *joint;
        if (round == 1 && s->n == 0) break;
        if (round == 1) {
            words = malloc(s->n * sizeof *words);
            if (!words) return error_memory(r->err, s->n * sizeof *words);
            for (size_t i = 0; i < s->n; i++) words[i] = (lang_word){s->members[i].key, s->members[i].n};
            facet_status status = lang_words(&wanted, words, s->n, true, r->err);
            free(words);
            FACET_TRY(status);
        }
        if (!wanted) continue;
        if (s->other_keys) {
            facet_status status = lang_both(&joint, s->other_keys, wanted, r->err);
            lang_free(wanted);
            FACET_TRY(status);
            lang_free(s->other_keys);
            wanted = joint;
        }
        s->other_keys = wanted;
        wanted = NULL;
    }
    return FACET_OK;
}

static facet_status write_other(schema_reader *r, const joined *j, shape *s) {
    joined all;
    expr value, key;
    if (s->max_others == 0) return FACET_OK;
    FACET_TRY(join_member(r, j, NULL, &all));
    if (all.never) {
        s->max_others = 0;
        return FACET_OK;
    }
    FACET_TRY(other_keys(r, j, s));
    if (s->other_keys && s->other_keys->n_states == 0)
        return schema_refuse(r, j->items[0].schema, "propertyNames", "no name fits");
    FACET_TRY(schema_rule(r, &all, &value));
    lang *keys = s->other_keys;
    s->other_keys = NULL; /* handed over */
    key = keys ? expr_lang(r->b, keys, !r->style.in_calls) : schema_text_run(r, 0, EXPR_NO_MAX);
    if (!r->style.in_calls) key = schema_quoted(r, key);
    key = expr_seq(r->b, key, expr_text(r->b, ":"));
    if (!r->style.in_calls) key = expr_seq(r->b, key, expr_optional(r->b, expr_text(r->b, " ")));
    s->other = expr_seq(r->b, key, value);
    return FACET_OK;
}

/* ---- the text */

static expr after_comma(schema_reader *r, expr one) {
    return expr_seq(r->b, expr_seq(r->b, expr_text(r->b, ","), schema_space(r)), one);
}

static uint32_t less(uint32_t n) { return n == 0 || n == EXPR_NO_MAX ? n : n - 1; }

static expr member_text(schema_reader *r, const member *m) {
    return expr_seq(r->b, schema_key(r, m->key, m->n), m->value);
}

/* From the last to the first, rule by rule. */
static expr write_following(schema_reader *r, shape *s) {
    expr next =
        s->max_others ? expr_repeat(r->b, after_comma(r, s->other), s->min_others, s->max_others) : expr_empty(r->b);
    for (size_t i = s->n; i-- > 0 && !grammar_builder_failed(r->b);) {
        member *m = &s->members[i];
        m->from = next;
        expr here = expr_seq(r->b, after_comma(r, member_text(r, m)), next);
        if (!m->required) here = expr_alt(r->b, here, next);
        uint32_t rule = grammar_rule_new(r->b, m->key, m->n, 0);
        grammar_rule_define(r->b, rule, here);
        next = expr_rule(r->b, rule);
    }
    return next;
}

/* The first member has no comma: it is any of those up to the first that is required, or another one. */
static expr write_first(schema_reader *r, shape *s) {
    expr all = 0;
    bool any = false, sure = false;
    for (size_t i = 0; i < s->n && !sure && !grammar_builder_failed(r->b); i++) {
        const member *m = &s->members[i];
        expr one = expr_seq(r->b, member_text(r, m), m->from);
        all = any ? expr_alt(r->b, all, one) : one;
        any = true;
        sure = m->required;
    }
    if (!sure && s->max_others) {
        expr rest = expr_repeat(r->b, after_comma(r, s->other), less(s->min_others), less(s->max_others));
        expr one = expr_seq(r->b, s->other, rest);
        all = any ? expr_alt(r->b, all, one) : one;
        any = true;
    }
    if (!any) return expr_empty(r->b);
    expr space = schema_space(r), inside = expr_seq(r->b, expr_seq(r->b, space, all), space);
    return sure || s->min_others ? inside : expr_optional(r->b, inside);
}

static int by_key(const void *a, const void *b) {
    const member *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    for (size_t i = 0; i < n; i++) {
        int p = (uint8_t)x->key[i], q = (uint8_t)y->key[i];
        p = p >= 'A' && p <= 'Z' ? p + 32 : p;
        q = q >= 'A' && q <= 'Z' ? q + 32 : q;
        if (p != q) return p - q;
    }
    return (x->n > y->n) - (x->n < y->n);
}

static facet_status read_all(schema_reader *r, const joined *j, shape *s) {
    for (size_t i = 0; i < j->n; i++) FACET_TRY(add_declared(r, s, j->items[i].schema));
    for (size_t i = 0; i < j->n; i++) FACET_TRY(add_required(r, s, j->items[i].schema));
    if (r->style.in_calls && s->n > 1) qsort(s->members, s->n, sizeof *s->members, by_key);
    read_open(j, s);
    FACET_TRY(write_members(r, j, s));
    FACET_TRY(check_names(r, j, s));
    FACET_TRY(read_counts(r, j, s));
    return write_other(r, j, s);
}

facet_status schema_object(schema_reader *r, const joined *j, expr *out) {
    shape s = {0};
    facet_status status = read_all(r, j, &s);
    if (status == FACET_OK) {
        write_following(r, &s);
        expr text = expr_seq(r->b, expr_text(r->b, "{"), write_first(r, &s));
        *out = expr_seq(r->b, text, expr_text(r->b, "}"));
    }
    free(s.members);
    lang_free(s.other_keys);
    return status;
}
