/* Expressions to nodes. See grammar.h. Each expression is compiled towards the node that follows it.
 *
 * A loop over something that may match nothing would never read: its body is compiled "solid", without the empty
 * match, which is left to the loop itself. Small counted repetitions are unrolled, others count while matching. */
#include <stdlib.h>
#include <string.h>

#include "sample/grammar_compile.h"
#include "sample/grammar_emit.h"

enum { MAX_UNROLLED = 64, MAX_NESTING = 1500 };

typedef struct compiler {
    const grammar_builder *b;
    grammar_emitter e;
    bool *nullable;     /* of expression i */
    uint32_t *size;     /* roughly the nodes of expression i */
    uint32_t *entry[2]; /* of rule i as it is, and solid: 1 + entry, or 0 */
    uint32_t *waiting;  /* entries of rules that are not compiled yet: 2 * rule + solid */
    size_t n_waiting, waiting_capacity;
    unsigned depth;
    bool too_deep;
    facet_error *err;
} compiler;

/* ---- what makes a grammar impossible, and sizes */

static facet_status rule_error(const compiler *c, uint32_t rule, const char *what) {
    const grammar_rule *r = &c->b->rules[rule];
    int n = r->name_bytes < 100 ? (int)r->name_bytes : 100;
    return error_at(c->err, FACET_ERROR_FORMAT, r->position, "grammar: rule '%.*s' %s", n, c->b->text.data + r->name,
                    what);
}

static facet_status check_defined(const compiler *c) {
    for (uint32_t i = 0; i < c->b->n_rules; i++) {
        if (!c->b->rules[i].defined) return rule_error(c, i, "is used but not defined");
    }
    return FACET_OK;
}

static facet_status check_productive(compiler *c) {
    bool *productive = calloc(c->b->n, sizeof *productive);
    if (!productive) return error_memory(c->err, c->b->n);
    facet_status status = grammar_find_holding(c->b, false, productive, c->err);
    for (uint32_t i = 0; i < c->b->n_rules && status == FACET_OK; i++) {
        if (!productive[c->b->rules[i].body]) status = rule_error(c, i, "never ends");
    }
    /* rules aside, what cannot match is a class without characters; everything is part of some rule */
    for (expr i = 0; i < c->b->n && status == FACET_OK; i++) {
        if (!productive[i]) status = error_set(c->err, FACET_ERROR_FORMAT, "grammar: a part of it matches nothing");
    }
    free(productive);
    return status;
}

static uint32_t capped(uint64_t n) { return n < MAX_UNROLLED * 2 ? (uint32_t)n : MAX_UNROLLED * 2; }

static void measure(compiler *c) {
    const grammar_builder *b = c->b;
    for (expr i = 0; i < b->n; i++) {
        const expr_node *n = &b->nodes[i];
        uint64_t size = 1;
        if (n->kind == EXPR_BYTES) size = n->b;
        if (n->kind == EXPR_CLASS) size = b->ranges[n->a + n->b - 1].hi < 0x80 ? 1 : 8;
        if (n->kind == EXPR_SEQ || n->kind == EXPR_ALT) size = (uint64_t)c->size[n->a] + c->size[n->b];
        if (n->kind == EXPR_REPEAT)
            size = (uint64_t)c->size[n->a] * (n->max == EXPR_NO_MAX ? (uint64_t)n->min + 1 : n->max);
        if (n->kind == EXPR_LANG) size = b->langs[n->a]->n_states;
        c->size[i] = capped(size);
    }
}

/* ---- characters */

/* What plain characters are: mask.h. */
static const code_range plain[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0x7e}, {0x80, 0xd7ff}, {0xe000, CODE_MAX}};

static bool class_is_text(const grammar_builder *b, const expr_node *n) {
    size_t at = 0;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        while (at < n->b && b->ranges[n->a + at].hi < plain[i].lo) at++;
        if (at == n->b || b->ranges[n->a + at].lo > plain[i].lo || b->ranges[n->a + at].hi < plain[i].hi)
            return false;
    }
    return true;
}

static uint32_t compile_class(compiler *c, const expr_node *n, uint32_t next) {
    for (uint32_t i = 0; i < n->b; i++) {
        code_range r = c->b->ranges[n->a + i];
        emit_characters(&c->e, r.lo, r.hi, next, false);
    }
    return emit_switch(&c->e);
}

/* The alternative of `e` that takes any plain character, or NONE. */
static expr text_class(const grammar_builder *b, expr e) {
    for (unsigned i = 0; i < 64; i++) {
        const expr_node *n = &b->nodes[e];
        if (n->kind == EXPR_CLASS) return class_is_text(b, n) ? e : GRAMMAR_NONE;
        if (n->kind != EXPR_ALT) return GRAMMAR_NONE;
        const expr_node *other = &b->nodes[n->b];
        if (other->kind == EXPR_CLASS && class_is_text(b, other)) return n->b;
        e = n->a;
    }
    return GRAMMAR_NONE;
}

/* ---- languages */

static bool state_loops(const lang *l, size_t state) {
    for (size_t i = 0; i < l->n_intervals; i++) {
        uint32_t lo = l->starts[i], hi = i + 1 < l->n_intervals ? l->starts[i + 1] - 1 : CODE_MAX;
        if (l->next[state * l->n_intervals + i] == state) continue;
        for (size_t p = 0; p < sizeof plain / sizeof *plain; p++) {
            if (lo <= plain[p].hi && plain[p].lo <= hi) return false;
        }
    }
    return true;
}

/* The head of each state is a switch; where the text may end, a split stands before it. */
static uint32_t compile_lang(compiler *c, const expr_node *n, uint32_t next, bool solid) {
    const lang *l = c->b->langs[n->a];
    size_t first = c->e.g->n_nodes;
    for (size_t s = 0; s < l->n_states; s++) emit_node(&c->e, (grammar_node){.kind = NODE_SWITCH});
    uint32_t *target = malloc(l->n_states * sizeof *target);
    if (!target) c->e.failed = true;
    for (size_t s = 0; s < l->n_states && !emitter_failed(&c->e); s++) {
        target[s] = (uint32_t)(first + s);
        if (l->accept[s]) target[s] = emit_node(&c->e, (grammar_node){.kind = NODE_SPLIT, .a = target[s], .b = next});
    }
    for (size_t s = 0; s < l->n_states && !emitter_failed(&c->e); s++) {
        for (size_t i = 0; i < l->n_intervals; i++) {
            uint32_t to = l->next[s * l->n_intervals + i];
            uint32_t hi = i + 1 < l->n_intervals ? l->starts[i + 1] - 1 : CODE_MAX;
            if (to != LANG_DEAD) emit_characters(&c->e, l->starts[i], hi, target[to], n->b);
        }
        emit_switch_at(&c->e, (uint32_t)(first + s));
        if (!emitter_failed(&c->e)) c->e.g->nodes[first + s].loop = state_loops(l, s);
    }
    uint32_t start = emitter_failed(&c->e) ? 0 : solid ? (uint32_t)first : target[0];
    free(target);
    return start;
}

/* ---- expressions */

static uint32_t compile(compiler *c, expr e, uint32_t next, bool solid);

static uint32_t split(compiler *c, uint32_t one, uint32_t other) {
    return emit_node(&c->e, (grammar_node){.kind = NODE_SPLIT, .a = one, .b = other});
}

static uint32_t dead(compiler *c) { return emit_node(&c->e, (grammar_node){.kind = NODE_SWITCH}); }

static uint32_t rule_entry(compiler *c, uint32_t rule, bool solid) {
    uint32_t *known = &c->entry[solid][rule];
    if (*known) return *known - 1;
    bool nullable = !solid && c->nullable[c->b->rules[rule].body];
    uint32_t entry = emit_entry(&c->e, (grammar_entry){.rule = rule, .nullable = nullable});
    if (emitter_failed(&c->e)) return 0;
    c->waiting[c->n_waiting++] = 2 * rule + solid;
    *known = entry + 1;
    return entry;
}

static uint32_t compile_loop(compiler *c, expr body, uint32_t next, bool solid, bool once) {
    uint32_t loop = split(c, 0, next), start = compile(c, body, loop, solid);
    expr text = text_class(c->b, body);
    if (text != GRAMMAR_NONE) {
        uint32_t node = compile_class(c, &c->b->nodes[text], loop); /* the one that is there already */
        if (!emitter_failed(&c->e)) c->e.g->nodes[node].loop = true;
    }
    if (!emitter_failed(&c->e)) c->e.g->nodes[loop].a = start;
    return once ? start : loop;
}

static uint32_t compile_counted(compiler *c, const expr_node *n, uint32_t min, uint32_t next, bool solid) {
    uint32_t entry = emit_entry(&c->e, (grammar_entry){.rule = GRAMMAR_NONE});
    uint32_t start = compile(c, n->a, 0, solid), text = GRAMMAR_NONE;
    expr class = text_class(c->b, n->a);
    if (class != GRAMMAR_NONE) text = compile_class(c, &c->b->nodes[class], 0);
    if (emitter_failed(&c->e)) return 0;
    c->e.g->entries[entry].start = start;
    return emit_node(
        &c->e, (grammar_node){.kind = NODE_REPEAT, .a = entry, .b = next, .min = min, .max = n->max, .text = text});
}

static uint32_t unroll(compiler *c, const expr_node *n, uint32_t min, uint32_t next, bool solid) {
    bool endless = n->max == EXPR_NO_MAX;
    uint32_t at = endless ? compile_loop(c, n->a, next, solid, false) : next;
    for (uint32_t i = endless ? min : n->max; i > 0 && !emitter_failed(&c->e); i--) {
        at = compile(c, n->a, at, solid);
        if (i > min) at = split(c, at, next);
    }
    return at;
}

/* `solid`: at least one round. A body that may match nothing makes rounds optional, and is then solid itself. */
static uint32_t compile_repeat(compiler *c, expr_node n, uint32_t next, bool solid) {
    bool body = c->nullable[n.a];
    uint32_t min = body ? 0 : n.min;
    if (solid && min == 0) {
        min = 1;
        if (n.max == EXPR_NO_MAX) return compile_loop(c, n.a, next, body, true);
    }
    if (n.max == EXPR_NO_MAX && min <= 1) return compile_loop(c, n.a, next, body, min == 1);
    uint32_t copies = n.max == EXPR_NO_MAX ? min : n.max;
    bool small = (uint64_t)copies * c->size[n.a] <= MAX_UNROLLED && text_class(c->b, n.a) == GRAMMAR_NONE;
    return small || n.max == 1 ? unroll(c, &n, min, next, body) : compile_counted(c, &n, min, next, body);
}

/* Something of e1 e2 .. ek, of which the first ones may be left out: ei solid and all that follows it. */
static uint32_t compile_solid_sequence(compiler *c, expr e, uint32_t next) {
    size_t n = 1, i = 0;
    for (expr at = e; c->b->nodes[at].kind == EXPR_SEQ; at = c->b->nodes[at].a) n++;
    expr *parts = malloc(n * sizeof *parts);
    if (!parts) {
        c->e.failed = true;
        return 0;
    }
    for (i = n; i-- > 1; e = c->b->nodes[e].a) parts[i] = c->b->nodes[e].b;
    parts[0] = e;
    size_t leading = 0; /* parts that a start may skip */
    while (leading + 1 < n && c->nullable[parts[leading]]) leading++;
    uint32_t rest = next, start = GRAMMAR_NONE;
    for (i = n; i-- > 0 && !emitter_failed(&c->e);) {
        if (i <= leading) {
            uint32_t here = compile(c, parts[i], rest, c->nullable[parts[i]]);
            start = start == GRAMMAR_NONE ? here : split(c, here, start);
        }
        if (i > 0) rest = compile(c, parts[i], rest, false);
    }
    free(parts);
    return start;
}

static uint32_t compile_alternatives(compiler *c, expr e, uint32_t next, bool solid) {
    uint32_t at = GRAMMAR_NONE;
    for (;;) {
        const expr_node *n = &c->b->nodes[e];
        bool last = n->kind != EXPR_ALT;
        uint32_t one = compile(c, last ? e : n->b, next, solid);
        at = at == GRAMMAR_NONE ? one : split(c, one, at);
        if (last || emitter_failed(&c->e)) return at;
        e = n->a;
    }
}

static uint32_t compile_one(compiler *c, expr e, uint32_t next, bool solid) {
    expr_node n = c->b->nodes[e];
    switch (n.kind) {
    case EXPR_EMPTY: return solid ? dead(c) : next;
    case EXPR_BYTES: return emit_bytes(&c->e, c->b->text.data + n.a, n.b, next);
    case EXPR_CLASS: return compile_class(c, &n, next);
    case EXPR_TOKEN: return emit_node(&c->e, (grammar_node){.kind = NODE_TOKEN, .a = n.a, .b = next});
    case EXPR_ALT: return compile_alternatives(c, e, next, solid);
    case EXPR_REPEAT: return compile_repeat(c, n, next, solid);
    case EXPR_LANG: return compile_lang(c, &n, next, solid);
    case EXPR_RULE:
        solid = solid && c->nullable[c->b->rules[n.a].body];
        return emit_node(&c->e, (grammar_node){.kind = NODE_CALL, .a = rule_entry(c, n.a, solid), .b = next});
    default: return 0;
    }
}

static uint32_t compile(compiler *c, expr e, uint32_t next, bool solid) {
    if (emitter_failed(&c->e)) return 0;
    if (c->depth >= MAX_NESTING) {
        c->too_deep = c->e.too_large = true;
        return 0;
    }
    c->depth++;
    solid = solid && c->nullable[e];
    if (solid && c->b->nodes[e].kind == EXPR_SEQ) {
        next = compile_solid_sequence(c, e, next);
    } else {
        for (; c->b->nodes[e].kind == EXPR_SEQ && !emitter_failed(&c->e); e = c->b->nodes[e].a)
            next = compile(c, c->b->nodes[e].b, next, false);
        next = compile_one(c, e, next, solid);
    }
    c->depth--;
    return next;
}

/* ---- the whole */

static void classify(grammar *g) {
    bool border[257] = {false};
    for (size_t i = 0; i < g->n_edges; i++) border[g->edges[i].lo] = border[g->edges[i].hi + 1] = true;
    uint8_t class = 0;
    for (size_t byte = 0; byte < 256; byte++) {
        if (byte && border[byte]) class ++;
        g->class_of[byte] = class;
    }
    g->n_classes = (size_t) class + 1;
}

static facet_status emitter_status(const compiler *c) {
    if (c->too_deep) return error_set(c->err, FACET_ERROR_UNSUPPORTED, "grammar: nested too deeply");
    if (c->e.too_large)
        return error_set(c->err, FACET_ERROR_UNSUPPORTED, "grammar: needs more than %d nodes", GRAMMAR_MAX_NODES);
    return c->e.failed ? error_memory(c->err, c->e.g->n_nodes * sizeof(grammar_node)) : FACET_OK;
}

static facet_status compile_all(compiler *c, uint32_t start_rule) {
    uint32_t left_recursive;
    FACET_TRY(check_defined(c));
    FACET_TRY(grammar_find_holding(c->b, true, c->nullable, c->err));
    FACET_TRY(check_productive(c));
    measure(c);
    emit_node(&c->e, (grammar_node){.kind = NODE_END});
    rule_entry(c, start_rule, false);
    while (c->n_waiting && !emitter_failed(&c->e)) {
        uint32_t key = c->waiting[--c->n_waiting], rule = key / 2;
        uint32_t start = compile(c, c->b->rules[rule].body, 0, key & 1);
        if (!emitter_failed(&c->e)) c->e.g->entries[c->entry[key & 1][rule] - 1].start = start;
    }
    FACET_TRY(emitter_status(c));
    FACET_TRY(grammar_rank(c->e.g, &left_recursive, c->err));
    if (left_recursive != GRAMMAR_NONE) return rule_error(c, left_recursive, "begins with itself (left recursion)");
    classify(c->e.g);
    return FACET_OK;
}

facet_status grammar_compile(grammar **out, const grammar_builder *b, uint32_t start_rule, facet_error *err) {
    *out = NULL;
    if (b->too_large) return error_set(err, FACET_ERROR_UNSUPPORTED, "grammar: it is too large");
    if (grammar_builder_failed(b)) return error_memory(err, b->n * sizeof *b->nodes);
    compiler c = {.b = b, .err = err};
    size_t n = b->n ? b->n : 1, n_rules = b->n_rules ? b->n_rules : 1;
    c.e.g = calloc(1, sizeof *c.e.g);
    c.nullable = calloc(n, sizeof *c.nullable);
    c.size = calloc(n, sizeof *c.size);
    c.entry[0] = calloc(n_rules, sizeof *c.entry[0]);
    c.entry[1] = calloc(n_rules, sizeof *c.entry[1]);
    c.waiting = malloc(2 * n_rules * sizeof *c.waiting);
    bool ok = c.e.g && c.nullable && c.size && c.entry[0] && c.entry[1] && c.waiting;
    facet_status status = ok ? compile_all(&c, start_rule) : error_memory(err, n * sizeof *c.size);
    if (c.e.g) atomic_init(&c.e.g->references, 1);
    if (status == FACET_OK)
        *out = c.e.g;
    else
        grammar_free(c.e.g);
    emitter_free(&c.e);
    free(c.nullable);
    free(c.size);
    free(c.entry[0]);
    free(c.entry[1]);
    free(c.waiting);
    return status;
}
