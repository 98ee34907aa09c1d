/* ECMAScript patterns as languages: parsed, made a nondeterministic automaton, then a deterministic one (Thompson,
 * 1968; Rabin and Scott, 1959). Known: characters, '.', classes, \d \w \s and their opposites, the escapes of
 * characters, groups (also named and not captured), '|', the counts * + ? {m} {m,} {m,n} greedy or lazy, ^ and $.
 *
 * A pattern is found anywhere in the text: it stands between two loops over any character. '^' is an edge that is
 * open before the first character only, '$' one that is open after the last. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "sample/schema_lang.h"

enum {
    MAX_PATTERN = 1 << 14, /* bytes */
    MAX_NODES = 1 << 15,
    MAX_GROUPS = 64, /* nested */
    MAX_COUNT = 1 << 14,
    MAX_SETS = 1 << 20 /* entries of all sets together */
};

typedef enum kind { CLASS, SPLIT, BEGIN, END, MATCH } kind;

typedef struct node {
    kind kind;
    uint32_t a, b;     /* where it goes on; SPLIT: both */
    uint32_t first, n; /* CLASS: ranges */
} node;

/* What is parsed: a tree. */
typedef enum tree_kind { T_EMPTY, T_CLASS, T_BEGIN, T_END, T_SEQ, T_ALT, T_REPEAT } tree_kind;
typedef struct tree {
    tree_kind kind;
    uint32_t a, b, min, max;
} tree;

typedef struct regex {
    const char *text;
    size_t n, at;
    facet_error *err;
    facet_status status;
    tree *trees;
    size_t n_trees, trees_capacity;
    code_range *ranges;
    size_t n_ranges, ranges_capacity;
    node *nodes;
    size_t n_nodes, nodes_capacity;
} regex;

static bool room(regex *r, void **list, size_t n, size_t *capacity, size_t size) {
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

static void fail(regex *r, const char *why) {
    if (r->status == FACET_OK)
        r->status = error_at(r->err, FACET_ERROR_UNSUPPORTED, r->at, "pattern: %s at byte %zu", why, r->at);
}

/* ---- the tree */

static uint32_t tree_add(regex *r, tree t) {
    if (r->n_trees >= MAX_NODES) fail(r, "it is too long");
    if (r->status != FACET_OK || !room(r, (void **)&r->trees, r->n_trees, &r->trees_capacity, sizeof t)) return 0;
    r->trees[r->n_trees] = t;
    return (uint32_t)r->n_trees++;
}

static void add_range(regex *r, uint32_t lo, uint32_t hi) {
    if (room(r, (void **)&r->ranges, r->n_ranges, &r->ranges_capacity, sizeof *r->ranges))
        r->ranges[r->n_ranges++] = (code_range){lo, hi};
}

/* The ranges from `first` on become a class. */
static uint32_t class_tree(regex *r, size_t first, bool negate) {
    if (r->status != FACET_OK) return 0;
    size_t n;
    code_range *sorted = lang_normalise(r->ranges + first, r->n_ranges - first, negate, &n);
    if (!sorted) {
        r->status = error_memory(r->err, n);
        return 0;
    }
    r->n_ranges = first;
    for (size_t i = 0; i < n; i++) add_range(r, sorted[i].lo, sorted[i].hi);
    free(sorted);
    return tree_add(r, (tree){.kind = T_CLASS, .a = (uint32_t)first, .b = (uint32_t)n});
}

static bool more(const regex *r) { return r->status == FACET_OK && r->at < r->n; }
static char peek(const regex *r) { return r->at < r->n ? r->text[r->at] : '\0'; }
static bool take(regex *r, char c) {
    if (!more(r) || r->text[r->at] != c) return false;
    r->at++;
    return true;
}

static uint32_t character(regex *r) {
    uint32_t code = 0;
    size_t step = more(r) ? utf8_decode(r->text + r->at, r->n - r->at, &code) : 0;
    if (step == 0) fail(r, "a character is missing");
    r->at += step;
    return code;
}

static const code_range digits[] = {{'0', '9'}};
static const code_range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const code_range space[] = {{9, 13},          {32, 32},         {0xa0, 0xa0},     {0x1680, 0x1680},
                                   {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
                                   {0x3000, 0x3000}, {0xfeff, 0xfeff}};
static const code_range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

static void add_ranges(regex *r, const code_range *list, size_t n, bool negate) {
    size_t n_all;
    code_range *all = lang_normalise(list, n, negate, &n_all);
    if (!all && r->status == FACET_OK) r->status = error_memory(r->err, n);
    for (size_t i = 0; all && i < n_all; i++) add_range(r, all[i].lo, all[i].hi);
    free(all);
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* \d \w \s and their opposites. */
static bool class_escape(regex *r, char c) {
    bool negate = c == 'D' || c == 'W' || c == 'S';
    switch (c) {
    case 'd':
    case 'D': add_ranges(r, digits, COUNT(digits), negate); return true;
    case 'w':
    case 'W': add_ranges(r, word, COUNT(word), negate); return true;
    case 's':
    case 'S': add_ranges(r, space, COUNT(space), negate); return true;
    default: return false;
    }
}

static uint32_t hex_code(regex *r, size_t n_digits) {
    uint32_t code = 0;
    for (size_t i = 0; i < n_digits; i++) {
        char c = peek(r);
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) {
            fail(r, "a hexadecimal digit is missing");
            return 0;
        }
        code = code << 4 | (uint32_t)digit;
        r->at++;
    }
    return code;
}

static uint32_t unicode_escape(regex *r) {
    if (!take(r, '{')) {
        uint32_t high = hex_code(r, 4);
        if (high < 0xd800 || high > 0xdbff || peek(r) != '\\') return high;
        r->at++;
        if (!take(r, 'u')) fail(r, "half a character");
        uint32_t low = hex_code(r, 4);
        if (low < 0xdc00 || low > 0xdfff) fail(r, "half a character");
        return 0x10000 + ((high - 0xd800) << 10) + ((low - 0xdc00) & 0x3ff);
    }
    size_t n = 0;
    while (r->at + n < r->n && r->text[r->at + n] != '}') n++;
    uint32_t code = n >= 1 && n <= 6 ? hex_code(r, n) : CODE_MAX + 1;
    if (code > CODE_MAX || !take(r, '}')) fail(r, "no such character");
    return code;
}

/* After the backslash: the escape of one character. */
static uint32_t character_escape(regex *r) {
    char c = peek(r);
    static const char names[] = "tnvfr0", codes[] = "\t\n\v\f\r";
    const char *name = c ? strchr(names, c) : NULL;
    if (name) {
        r->at++;
        return (uint8_t)codes[name - names];
    }
    if (take(r, 'x')) return hex_code(r, 2);
    if (take(r, 'u')) return unicode_escape(r);
    if ((c >= '1' && c <= '9') || c == 'k') fail(r, "a back reference");
    if (c == 'b' || c == 'B') fail(r, "a word border");
    if (c == 'p' || c == 'P') fail(r, "a Unicode property");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) fail(r, "an escape that is not known");
    return character(r);
}

/* One end of a range in a class; false where it was \d or its like. */
static bool class_end(regex *r, uint32_t *code) {
    if (!take(r, '\\')) {
        *code = character(r);
        return true;
    }
    if (class_escape(r, peek(r))) {
        r->at++;
        return false;
    }
    if (take(r, 'b'))
        *code = 8;
    else
        *code = character_escape(r);
    return true;
}

static uint32_t bracket(regex *r) {
    size_t first = r->n_ranges;
    bool negate = take(r, '^');
    while (more(r) && peek(r) != ']') {
        uint32_t lo = 0, hi = 0;
        bool single = class_end(r, &lo);
        if (peek(r) == '-' && r->at + 1 < r->n && r->text[r->at + 1] != ']') {
            r->at++;
            if (!class_end(r, &hi) || !single || hi < lo) fail(r, "a range that does not ascend");
            add_range(r, lo, hi);
        } else if (single) {
            add_range(r, lo, lo);
        }
    }
    if (!take(r, ']')) fail(r, "a ']' is missing");
    uint32_t t = class_tree(r, first, negate);
    if (r->status == FACET_OK && r->trees[t].b == 0) fail(r, "a class without characters");
    return t;
}

static uint32_t alternatives(regex *r, size_t depth);

static uint32_t group(regex *r, size_t depth) {
    if (depth >= MAX_GROUPS) fail(r, "too many nested groups");
    if (take(r, '?')) {
        if (take(r, '<')) {
            if (peek(r) == '=' || peek(r) == '!') fail(r, "looking around");
            while (more(r) && peek(r) != '>') r->at++;
            if (!take(r, '>')) fail(r, "a '>' is missing");
        } else if (!take(r, ':')) {
            fail(r, "looking around");
        }
    }
    uint32_t t = r->status == FACET_OK ? alternatives(r, depth + 1) : 0;
    if (!take(r, ')')) fail(r, "a ')' is missing");
    return t;
}

static uint32_t atom(regex *r, size_t depth) {
    size_t first = r->n_ranges;
    if (take(r, '^')) return tree_add(r, (tree){.kind = T_BEGIN});
    if (take(r, '$')) return tree_add(r, (tree){.kind = T_END});
    if (take(r, '(')) return group(r, depth);
    if (take(r, '[')) return bracket(r);
    if (take(r, '.')) {
        add_ranges(r, line_ends, COUNT(line_ends), true);
        return class_tree(r, first, false);
    }
    if (strchr("*+?", peek(r)) && peek(r)) fail(r, "nothing to repeat");
    uint32_t code;
    if (take(r, '\\')) {
        if (class_escape(r, peek(r))) {
            r->at++;
            return class_tree(r, first, false);
        }
        code = character_escape(r);
    } else {
        code = character(r);
    }
    add_range(r, code, code);
    return class_tree(r, first, false);
}

static uint32_t number(regex *r) {
    uint32_t n = 0;
    if (peek(r) < '0' || peek(r) > '9') fail(r, "a number is missing");
    while (peek(r) >= '0' && peek(r) <= '9') {
        n = n * 10 + (uint32_t)(peek(r) - '0');
        r->at++;
        if (n > MAX_COUNT) {
            fail(r, "a count that is too high");
            return 0;
        }
    }
    return n;
}

/* A '{' that begins no count is a character. */
static bool at_count(const regex *r) {
    size_t i = r->at + 1;
    size_t digits_before = 0;
    while (i < r->n && r->text[i] >= '0' && r->text[i] <= '9') i++, digits_before++;
    if (i < r->n && r->text[i] == ',') i++;
    while (i < r->n && r->text[i] >= '0' && r->text[i] <= '9') i++;
    return digits_before && i < r->n && r->text[i] == '}';
}

static bool count(regex *r, uint32_t *min, uint32_t *max) {
    *min = 0;
    *max = UINT32_MAX;
    if (take(r, '*')) return true;
    if (take(r, '+')) {
        *min = 1;
        return true;
    }
    if (take(r, '?')) {
        *max = 1;
        return true;
    }
    if (peek(r) != '{' || !at_count(r)) return false;
    r->at++;
    *min = *max = number(r);
    if (take(r, ',')) *max = peek(r) == '}' ? UINT32_MAX : number(r);
    take(r, '}');
    if (*max < *min) fail(r, "a count that does not ascend");
    return true;
}

static uint32_t term(regex *r, size_t depth) {
    uint32_t t = atom(r, depth), min, max;
    if (r->status != FACET_OK || !count(r, &min, &max)) return t;
    take(r, '?'); /* lazy: the same texts */
    tree_kind what = r->status == FACET_OK ? r->trees[t].kind : T_EMPTY;
    if (what == T_BEGIN || what == T_END) fail(r, "a border of the text cannot be repeated");
    return tree_add(r, (tree){.kind = T_REPEAT, .a = t, .min = min, .max = max});
}

static uint32_t alternatives(regex *r, size_t depth) {
    uint32_t all = 0, n = 0;
    do {
        uint32_t sequence = tree_add(r, (tree){.kind = T_EMPTY});
        while (more(r) && peek(r) != '|' && peek(r) != ')') {
            uint32_t next = term(r, depth);
            sequence = tree_add(r, (tree){.kind = T_SEQ, .a = sequence, .b = next});
        }
        all = n++ ? tree_add(r, (tree){.kind = T_ALT, .a = all, .b = sequence}) : sequence;
    } while (take(r, '|'));
    return all;
}

/* ---- the nondeterministic automaton */

static uint32_t node_add(regex *r, node n) {
    if (r->n_nodes >= MAX_NODES) fail(r, "it needs too many states, last");
    if (r->status != FACET_OK || !room(r, (void **)&r->nodes, r->n_nodes, &r->nodes_capacity, sizeof n)) return 0;
    r->nodes[r->n_nodes] = n;
    return (uint32_t)r->n_nodes++;
}

static uint32_t build(regex *r, uint32_t t, uint32_t next);

static uint32_t build_loop(regex *r, uint32_t t, uint32_t next) {
    uint32_t loop = node_add(r, (node){.kind = SPLIT, .b = next});
    uint32_t body = build(r, t, loop);
    if (r->status == FACET_OK) r->nodes[loop].a = body;
    return loop;
}

static uint32_t build_repeat(regex *r, const tree *t, uint32_t next) {
    uint32_t at = t->max == UINT32_MAX ? build_loop(r, t->a, next) : next;
    uint32_t copies = t->max == UINT32_MAX ? t->min : t->max;
    for (uint32_t i = copies; i > 0 && r->status == FACET_OK; i--) {
        at = build(r, t->a, at);
        if (i > t->min) at = node_add(r, (node){.kind = SPLIT, .a = at, .b = next});
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
    case T_CLASS: return node_add(r, (node){.kind = CLASS, .a = next, .first = one.a, .n = one.b});
    case T_BEGIN: return node_add(r, (node){.kind = BEGIN, .a = next});
    case T_END: return node_add(r, (node){.kind = END, .a = next});
    case T_REPEAT: return build_repeat(r, &one, next);
    case T_ALT:
        at = build(r, one.b, next);
        for (t = one.a; r->trees[t].kind == T_ALT; t = r->trees[t].a)
            at = node_add(r, (node){.kind = SPLIT, .a = build(r, r->trees[t].b, next), .b = at});
        return node_add(r, (node){.kind = SPLIT, .a = build(r, t, next), .b = at});
    default: return next;
    }
}

/* ---- the deterministic automaton */

/* Sets of nodes, each a stretch of `members`, sorted. */
typedef struct subset {
    regex *r;
    lang *l;
    uint32_t *members;
    size_t n_members, members_capacity;
    size_t *first; /* of state i; [n_states + 1] */
    size_t first_capacity, states_capacity;
    uint32_t *slots;
    size_t n_slots;
    uint32_t *mark, stamp; /* of the nodes met in this closure */
    uint32_t *stack;
} subset;

static void visit(subset *s, uint32_t n, size_t *n_stack) {
    if (s->mark[n] == s->stamp) return;
    s->mark[n] = s->stamp;
    s->stack[(*n_stack)++] = n;
}

/* Adds what is reached without a character; CLASS, END and MATCH nodes are members. */
static bool close_over(subset *s, uint32_t from, bool at_begin, bool at_end) {
    size_t n_stack = 0;
    visit(s, from, &n_stack);
    while (n_stack) {
        uint32_t at = s->stack[--n_stack];
        const node *n = &s->r->nodes[at];
        if (n->kind == SPLIT) {
            visit(s, n->a, &n_stack);
            visit(s, n->b, &n_stack);
            continue;
        }
        if ((n->kind == BEGIN && at_begin) || (n->kind == END && at_end)) visit(s, n->a, &n_stack);
        if (n->kind == BEGIN) continue;
        if (!room(s->r, (void **)&s->members, s->n_members, &s->members_capacity, sizeof *s->members)) return false;
        s->members[s->n_members++] = at;
    }
    return true;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static size_t set_slot(const subset *s, size_t first, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) h = (h ^ s->members[first + i]) * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(h >> 32) & (s->n_slots - 1);
    while (s->slots[at]) {
        size_t other = s->slots[at] - 1, length = s->first[other + 1] - s->first[other];
        if (length == n && memcmp(s->members + s->first[other], s->members + first, n * sizeof *s->members) == 0)
            break;
        at = (at + 1) & (s->n_slots - 1);
    }
    return at;
}

static bool more_slots(subset *s) {
    size_t n = s->n_slots ? s->n_slots * 2 : 256;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots) {
        s->r->status = error_memory(s->r->err, n);
        return false;
    }
    free(s->slots);
    s->slots = slots;
    s->n_slots = n;
    for (size_t i = 0; i < s->l->n_states; i++)
        s->slots[set_slot(s, s->first[i], s->first[i + 1] - s->first[i])] = (uint32_t)i + 1;
    return true;
}

/* Whether the text may end here: the edges of '$' are open then. */
static bool may_end(subset *s, size_t first, size_t n) {
    size_t before = s->n_members;
    bool found = false;
    s->stamp++;
    for (size_t i = 0; i < n; i++) {
        if (!close_over(s, s->members[first + i], false, true)) return false;
    }
    for (size_t i = before; i < s->n_members; i++) found |= s->r->nodes[s->members[i]].kind == MATCH;
    s->n_members = before;
    return found;
}

/* The state of the members from `first` on; they are dropped where it is known. */
static uint32_t state_of(subset *s, size_t first) {
    size_t n = s->n_members - first;
    lang *l = s->l;
    if (n == 0) return LANG_DEAD;
    qsort(s->members + first, n, sizeof *s->members, by_number);
    if (s->n_slots < 2 * (l->n_states + 2) && !more_slots(s)) return LANG_DEAD;
    size_t at = set_slot(s, first, n);
    if (s->slots[at]) {
        s->n_members = first;
        return s->slots[at] - 1;
    }
    size_t cells = (l->n_states + 1) * l->n_intervals;
    if (l->n_states >= LANG_MAX_STATES || cells > LANG_MAX_CELLS || s->n_members > MAX_SETS)
        fail(s->r, "it needs too many states, last");
    if (s->r->status != FACET_OK ||
        !room(s->r, (void **)&s->first, l->n_states + 1, &s->first_capacity, sizeof *s->first))
        return LANG_DEAD;
    if (l->n_states == s->states_capacity) {
        size_t capacity = s->states_capacity ? s->states_capacity * 2 : 64;
        uint32_t *next = realloc(l->next, capacity * l->n_intervals * sizeof *next);
        if (next) l->next = next;
        bool *accept = realloc(l->accept, capacity * sizeof *accept);
        if (accept) l->accept = accept;
        if (!next || !accept) {
            s->r->status = error_memory(s->r->err, cells);
            return LANG_DEAD;
        }
        s->states_capacity = capacity;
    }
    s->slots[at] = (uint32_t)l->n_states + 1;
    s->first[l->n_states + 1] = s->n_members;
    return (uint32_t)l->n_states++;
}

static bool class_has(const regex *r, const node *n, uint32_t code) {
    for (uint32_t i = 0; i < n->n; i++) {
        if (code <= r->ranges[n->first + i].hi) return code >= r->ranges[n->first + i].lo;
    }
    return false;
}

static void explore_state(subset *s, size_t state) {
    lang *l = s->l;
    for (size_t c = 0; c < l->n_intervals && s->r->status == FACET_OK; c++) {
        size_t first = s->n_members;
        s->stamp++;
        for (size_t i = s->first[state]; i < s->first[state + 1]; i++) {
            const node *n = &s->r->nodes[s->members[i]];
            if (n->kind == CLASS && class_has(s->r, n, l->starts[c])) close_over(s, n->a, false, false);
        }
        uint32_t to = state_of(s, first);
        l->next[state * l->n_intervals + c] = to;
    }
}

/* '^' is open in the start's closure alone. */
static void explore(subset *s, uint32_t start) {
    lang *l = s->l;
    s->stamp = 1;
    if (!room(s->r, (void **)&s->first, 1, &s->first_capacity, sizeof *s->first)) return;
    s->first[0] = 0;
    close_over(s, start, true, false);
    if (state_of(s, 0) == LANG_DEAD) {
        if (s->r->status == FACET_OK) l->n_states = 0;
        return;
    }
    for (size_t state = 0; state < l->n_states && s->r->status == FACET_OK; state++) {
        explore_state(s, state);
        l->accept[state] = may_end(s, s->first[state], s->first[state + 1] - s->first[state]);
    }
}

static facet_status determine(lang **out, regex *r, uint32_t start) {
    subset s = {.r = r, .l = calloc(1, sizeof *s.l)};
    s.mark = calloc(r->n_nodes, sizeof *s.mark);
    s.stack = malloc(r->n_nodes * sizeof *s.stack);
    if (!s.l || !s.mark || !s.stack) r->status = error_memory(r->err, r->n_nodes * sizeof *s.mark);
    if (s.l) s.l->starts = lang_borders(r->ranges, r->n_ranges, &s.l->n_intervals);
    if (s.l && !s.l->starts && r->status == FACET_OK) r->status = error_memory(r->err, r->n_ranges);
    if (r->status == FACET_OK) explore(&s, start);
    if (r->status == FACET_OK) r->status = lang_trim(s.l, r->err);
    free(s.members);
    free(s.first);
    free(s.slots);
    free(s.mark);
    free(s.stack);
    if (r->status == FACET_OK)
        *out = s.l;
    else
        lang_free(s.l);
    return r->status;
}

static uint32_t any_text(regex *r, uint32_t any, uint32_t next) {
    return build(r, tree_add(r, (tree){.kind = T_REPEAT, .a = any, .max = UINT32_MAX}), next);
}

static facet_status compile(lang **out, regex *r) {
    uint32_t whole = alternatives(r, 0);
    if (r->status == FACET_OK && r->at < r->n) fail(r, "a ')' without its '('");
    add_range(r, 0, CODE_MAX);
    uint32_t any = tree_add(r, (tree){.kind = T_CLASS, .a = (uint32_t)r->n_ranges - 1, .b = 1});
    uint32_t match = node_add(r, (node){.kind = MATCH});
    uint32_t after = any_text(r, any, match);
    uint32_t middle = build(r, whole, after);
    uint32_t start = any_text(r, any, middle);
    return r->status == FACET_OK ? determine(out, r, start) : r->status;
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
