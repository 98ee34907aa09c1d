/* ECMAScript patterns as languages: the tree of a pattern made a nondeterministic automaton. See schema_regex.h.
 *
 * A pattern is found anywhere in the text: it stands between two loops over any character. */
#include <stdlib.h>

#include "sample/schema_regex.h"

enum { MAX_PATTERN = 1 << 14 }; /* bytes */

bool regex_room(regex *r, void **list, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity) return true;
    size_t more = *capacity ? *capacity * 2 : 64;
    void *bigger = realloc(*list, more * size);
    if (!bigger) {
        if (r->status == FACET_OK) r->status = error_memory(r->err, more * size);
        return false;
    }
    *list = bigger;
    *capacity = more;
    return true;
}

void regex_fail(regex *r, const char *why) {
    if (r->status == FACET_OK)
        r->status = error_at(r->err, FACET_ERROR_UNSUPPORTED, r->at, "pattern: %s at byte %zu", why, r->at);
}

static uint32_t node_add(regex *r, node n) {
    if (r->n_nodes >= REGEX_MAX_NODES) regex_fail(r, "it needs too many states, last");
    if (r->status != FACET_OK || !regex_room(r, (void **)&r->nodes, r->n_nodes, &r->nodes_capacity, sizeof n))
        return 0;
    r->nodes[r->n_nodes] = n;
    return (uint32_t)r->n_nodes++;
}

static uint32_t build(regex *r, uint32_t t, uint32_t next);

static uint32_t build_loop(regex *r, uint32_t t, uint32_t next) {
    uint32_t loop = node_add(r, (node){.kind = N_SPLIT, .b = next});
    uint32_t body = build(r, t, loop);
    if (r->status == FACET_OK) r->nodes[loop].a = body;
    return loop;
}

static uint32_t build_repeat(regex *r, const tree *t, uint32_t next) {
    uint32_t at = t->max == UINT32_MAX ? build_loop(r, t->a, next) : next;
    uint32_t copies = t->max == UINT32_MAX ? t->min : t->max;
    for (uint32_t i = copies; i > 0 && r->status == FACET_OK; i--) {
        at = build(r, t->a, at);
        if (i > t->min) at = node_add(r, (node){.kind = N_SPLIT, .a = at, .b = next});
    }
    return at;
}

/* Sequences and alternatives lean to the left, so that depth is that of the groups. */
static uint32_t build(regex *r, uint32_t t, uint32_t next) {
    if (r->status != FACET_OK) return 0;
    for (; r->trees[t].kind == T_SEQ; t = r->trees[t].a) next = build(r, r->trees[t].b, next);
    if (r->status != FACET_OK) return 0;
    tree one = r->trees[t];
    uint32_t at;
    switch (one.kind) {
    case T_CLASS: return node_add(r, (node){.kind = N_CLASS, .a = next, .first = one.a, .n = one.b});
    case T_BEGIN: return node_add(r, (node){.kind = N_BEGIN, .a = next});
    case T_END: return node_add(r, (node){.kind = N_END, .a = next});
    case T_REPEAT: return build_repeat(r, &one, next);
    case T_ALT:
        at = build(r, one.b, next);
        for (t = one.a; r->trees[t].kind == T_ALT; t = r->trees[t].a)
            at = node_add(r, (node){.kind = N_SPLIT, .a = build(r, r->trees[t].b, next), .b = at});
        return node_add(r, (node){.kind = N_SPLIT, .a = build(r, t, next), .b = at});
    default: return next;
    }
}

static uint32_t any_text(regex *r, uint32_t any, uint32_t next) {
    return build(r, regex_tree(r, (tree){.kind = T_REPEAT, .a = any, .max = UINT32_MAX}), next);
}

static facet_status compile(lang **out, regex *r) {
    uint32_t whole = regex_parse(r), any = regex_any_character(r);
    uint32_t match = node_add(r, (node){.kind = N_MATCH});
    uint32_t after = any_text(r, any, match);
    uint32_t middle = build(r, whole, after);
    uint32_t start = any_text(r, any, middle);
    return r->status == FACET_OK ? regex_determine(out, r, start) : r->status;
}

facet_status lang_pattern(lang **out, const char *pattern, size_t n, facet_error *err) {
    regex r = {.text = pattern, .n = n, .err = err};
    *out = NULL;
    if (n > MAX_PATTERN) return error_set(err, FACET_ERROR_UNSUPPORTED, "pattern: longer than %d bytes", MAX_PATTERN);
    facet_status status = compile(out, &r);
    free(r.trees);
    free(r.ranges);
    free(r.nodes);
    return status;
}
