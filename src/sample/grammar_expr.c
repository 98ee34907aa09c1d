/* Expressions of a grammar. See grammar_expr.h. */
#include "sample/grammar_expr.h"

#include <stdlib.h>

/* Room for one more item of `size` bytes in an array; false: no memory. */
static bool grow(void **list, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity) return true;
    size_t more = *capacity ? *capacity * 2 : 16;
    void *bigger = realloc(*list, more * size);
    if (!bigger) return false;
    *list = bigger;
    *capacity = more;
    return true;
}

void grammar_builder_free(grammar_builder *b) {
    for (size_t i = 0; i < b->n_langs; i++) lang_free(b->langs[i]);
    free(b->langs);
    free(b->nodes);
    free(b->rules);
    free(b->ranges);
    buffer_free(&b->text);
    *b = (grammar_builder){0};
}

static expr add(grammar_builder *b, expr_node node) {
    if (b->n >= GRAMMAR_MAX_EXPRS) b->too_large = true;
    if (grammar_builder_failed(b)) return 0;
    if (!grow((void **)&b->nodes, b->n, &b->capacity, sizeof *b->nodes)) {
        b->failed = true;
        return 0;
    }
    b->nodes[b->n] = node;
    return (expr)b->n++;
}

expr expr_empty(grammar_builder *b) { return add(b, (expr_node){.kind = EXPR_EMPTY}); }

expr expr_bytes(grammar_builder *b, const char *text, size_t n) {
    if (n == 0) return expr_empty(b);
    size_t start = b->text.n;
    if (start + n > UINT32_MAX / 2) b->too_large = true;
    if (grammar_builder_failed(b) || !buffer_append(&b->text, text, n)) return 0;
    return add(b, (expr_node){.kind = EXPR_BYTES, .a = (uint32_t)start, .b = (uint32_t)n});
}

expr expr_text(grammar_builder *b, const char *text) { return expr_bytes(b, text, strlen(text)); }

static bool add_range(grammar_builder *b, uint32_t lo, uint32_t hi) {
    if (lo <= 0xdfff && hi >= 0xd800) { /* around the surrogates */
        bool ok = lo >= 0xd800 || add_range(b, lo, 0xd7ff);
        return ok && (hi <= 0xdfff || add_range(b, 0xe000, hi));
    }
    if (!grow((void **)&b->ranges, b->n_ranges, &b->ranges_capacity, sizeof *b->ranges)) return false;
    b->ranges[b->n_ranges++] = (code_range){lo, hi};
    return true;
}

expr expr_class(grammar_builder *b, const code_range *ranges, size_t n, bool negate) {
    size_t first = b->n_ranges, n_sorted;
    code_range *sorted = lang_normalise(ranges, n, negate, &n_sorted);
    if (!sorted) b->failed = true;
    for (size_t i = 0; sorted && i < n_sorted; i++) {
        if (!add_range(b, sorted[i].lo, sorted[i].hi)) b->failed = true;
    }
    free(sorted);
    return add(b, (expr_node){.kind = EXPR_CLASS, .a = (uint32_t)first, .b = (uint32_t)(b->n_ranges - first)});
}

expr expr_token(grammar_builder *b, int32_t id) { return add(b, (expr_node){.kind = EXPR_TOKEN, .a = (uint32_t)id}); }

static bool is_empty(const grammar_builder *b, expr e) { return e < b->n && b->nodes[e].kind == EXPR_EMPTY; }

expr expr_seq(grammar_builder *b, expr first, expr second) {
    if (grammar_builder_failed(b)) return 0;
    if (is_empty(b, first)) return second;
    if (is_empty(b, second)) return first;
    return add(b, (expr_node){.kind = EXPR_SEQ, .a = first, .b = second});
}

expr expr_alt(grammar_builder *b, expr one, expr other) {
    return add(b, (expr_node){.kind = EXPR_ALT, .a = one, .b = other});
}

expr expr_repeat(grammar_builder *b, expr what, uint32_t min, uint32_t max) {
    if (max == 0 || is_empty(b, what)) return expr_empty(b);
    if (min == 1 && max == 1) return what;
    return add(b, (expr_node){.kind = EXPR_REPEAT, .a = what, .min = min, .max = max});
}

expr expr_optional(grammar_builder *b, expr what) { return expr_repeat(b, what, 0, 1); }

expr expr_lang(grammar_builder *b, lang *l, bool in_json) {
    if (grammar_builder_failed(b) || !grow((void **)&b->langs, b->n_langs, &b->langs_capacity, sizeof *b->langs)) {
        b->failed = b->failed || !grammar_builder_failed(b);
        lang_free(l);
        return 0;
    }
    b->langs[b->n_langs] = l;
    return add(b, (expr_node){.kind = EXPR_LANG, .a = (uint32_t)b->n_langs++, .b = in_json});
}

expr expr_rule(grammar_builder *b, uint32_t rule) { return add(b, (expr_node){.kind = EXPR_RULE, .a = rule}); }

uint32_t grammar_rule_new(grammar_builder *b, const char *name, size_t n, uint64_t position) {
    size_t start = b->text.n;
    if (b->n_rules >= GRAMMAR_MAX_EXPRS) b->too_large = true;
    if (grammar_builder_failed(b) || !buffer_append(&b->text, name, n) ||
        !grow((void **)&b->rules, b->n_rules, &b->rules_capacity, sizeof *b->rules)) {
        b->failed = true;
        return 0;
    }
    b->rules[b->n_rules] = (grammar_rule){.name = (uint32_t)start, .name_bytes = (uint32_t)n, .position = position};
    return (uint32_t)b->n_rules++;
}

void grammar_rule_define(grammar_builder *b, uint32_t rule, expr body) {
    if (grammar_builder_failed(b)) return;
    b->rules[rule].body = body;
    b->rules[rule].defined = true;
}
