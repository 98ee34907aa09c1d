/* What holds of expressions: found by passing on from the parts to those who use them. See grammar_compile.h. */
#include <stdlib.h>
#include <string.h>

#include "sample/grammar_compile.h"

/* An expression for which something holds once it holds for `missing` more of its parts. */
typedef struct spreading {
    uint32_t *first; /* of expression i: its users, or NONE */
    struct use {
        uint32_t user, next;
    } * uses;
    size_t n_uses;
    uint8_t *missing;
    uint32_t *queue;
    size_t n_queue;
    bool *holds;
} spreading;

static void add_use(spreading *s, expr part, expr user) {
    s->uses[s->n_uses] = (struct use){user, s->first[part]};
    s->first[part] = (uint32_t)s->n_uses++;
}

static void set_holds(spreading *s, expr e) {
    if (s->holds[e]) return;
    s->holds[e] = true;
    s->queue[s->n_queue++] = e;
}

static bool holds_alone(const grammar_builder *b, const expr_node *n, bool nullable) {
    switch (n->kind) {
    case EXPR_EMPTY: return true;
    case EXPR_REPEAT: return n->min == 0;
    case EXPR_LANG: return !nullable || b->langs[n->a]->accept[0];
    case EXPR_CLASS: return !nullable && n->b > 0;
    case EXPR_BYTES:
    case EXPR_TOKEN: return !nullable;
    default: return false;
    }
}

static void spread(const grammar_builder *b, spreading *s, bool nullable) {
    memset(s->first, 0xff, b->n * sizeof *s->first);
    for (expr i = 0; i < b->n; i++) {
        const expr_node *n = &b->nodes[i];
        s->missing[i] = n->kind == EXPR_SEQ ? 2 : 1;
        if (n->kind == EXPR_RULE) add_use(s, b->rules[n->a].body, i);
        if (n->kind == EXPR_SEQ || n->kind == EXPR_ALT) add_use(s, n->b, i);
        if (n->kind == EXPR_SEQ || n->kind == EXPR_ALT || n->kind == EXPR_REPEAT) add_use(s, n->a, i);
        if (holds_alone(b, n, nullable)) set_holds(s, i);
    }
    for (size_t i = 0; i < s->n_queue; i++) {
        for (uint32_t use = s->first[s->queue[i]]; use != GRAMMAR_NONE; use = s->uses[use].next) {
            expr user = s->uses[use].user;
            if (s->missing[user] && --s->missing[user] == 0) set_holds(s, user);
        }
    }
}

facet_status grammar_find_holding(const grammar_builder *b, bool nullable, bool *holds, facet_error *err) {
    spreading s = {.holds = holds};
    s.first = malloc(b->n * sizeof *s.first);
    s.uses = malloc(2 * b->n * sizeof *s.uses);
    s.missing = malloc(b->n);
    s.queue = malloc(b->n * sizeof *s.queue);
    bool ok = s.first && s.uses && s.missing && s.queue;
    if (ok) spread(b, &s, nullable);
    free(s.first);
    free(s.uses);
    free(s.missing);
    free(s.queue);
    return ok ? FACET_OK : error_memory(err, b->n * sizeof *s.uses);
}
