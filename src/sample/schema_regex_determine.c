/* The subset construction: a pattern's automaton made deterministic. See schema_regex.h. '^' is an edge that is open
 * before the first character only, '$' one that is open after the last. */
#include <stdlib.h>
#include <string.h>

#include "sample/schema_regex.h"

enum { MAX_SETS = 1 << 20 }; /* entries of all sets together */

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

/* Adds what is reached without a character; N_CLASS, N_END and N_MATCH nodes are members. */
static bool close_over(subset *s, uint32_t from, bool at_begin, bool at_end) {
    size_t n_stack = 0;
    visit(s, from, &n_stack);
    while (n_stack) {
        uint32_t at = s->stack[--n_stack];
        const node *n = &s->r->nodes[at];
        if (n->kind == N_SPLIT) {
            visit(s, n->a, &n_stack);
            visit(s, n->b, &n_stack);
            continue;
        }
        if ((n->kind == N_BEGIN && at_begin) || (n->kind == N_END && at_end)) visit(s, n->a, &n_stack);
        if (n->kind == N_BEGIN) continue;
        if (!regex_room(s->r, (void **)&s->members, s->n_members, &s->members_capacity, sizeof *s->members))
            return false;
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
    for (size_t i = before; i < s->n_members; i++) found |= s->r->nodes[s->members[i]].kind == N_MATCH;
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
        regex_fail(s->r, "it needs too many states, last");
    if (s->r->status != FACET_OK ||
        !regex_room(s->r, (void **)&s->first, l->n_states + 1, &s->first_capacity, sizeof *s->first))
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
            if (n->kind == N_CLASS && class_has(s->r, n, l->starts[c])) close_over(s, n->a, false, false);
        }
        uint32_t to = state_of(s, first);
        l->next[state * l->n_intervals + c] = to;
    }
}

/* '^' is open in the start's closure alone. */
static void explore(subset *s, uint32_t start) {
    lang *l = s->l;
    s->stamp = 1;
    if (!regex_room(s->r, (void **)&s->first, 1, &s->first_capacity, sizeof *s->first)) return;
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

facet_status regex_determine(lang **out, regex *r, uint32_t start) {
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
