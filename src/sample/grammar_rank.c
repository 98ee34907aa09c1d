/* Which entries call which before they read: their order, and left recursion. See grammar_compile.h. */
#include <stdlib.h>

#include "sample/grammar_compile.h"

/* Calls that `entry` may make before it reads, each once for every way. */
typedef struct ranking {
    grammar *g;
    uint32_t *callees; /* pairs: caller, callee */
    size_t n_pairs, pairs_capacity;
    uint32_t *stack; /* [n_nodes] */
    size_t n_stack;
    uint32_t *mark;    /* [n_nodes], of the nodes met for this entry: 1 + entry */
    uint32_t *open;    /* [n_entries]: callees that have no rank yet */
    uint32_t *first;   /* [n_entries + 2]: the callers of entry i are callers[first[i] .. first[i + 1]) */
    uint32_t *callers; /* [n_pairs] */
    uint32_t *queue;   /* [n_entries]: those that have a rank */
    size_t n_queue;
} ranking;

static void push(ranking *r, uint32_t node, uint32_t entry) {
    if (r->mark[node] == entry + 1) return;
    r->mark[node] = entry + 1;
    r->stack[r->n_stack++] = node; /* each node once */
}

static bool add_pair(ranking *r, uint32_t caller, uint32_t callee) {
    if (r->n_pairs == r->pairs_capacity) {
        size_t more = r->pairs_capacity ? r->pairs_capacity * 2 : 256;
        uint32_t *bigger = realloc(r->callees, more * 2 * sizeof *bigger);
        if (!bigger) return false;
        r->callees = bigger;
        r->pairs_capacity = more;
    }
    r->callees[2 * r->n_pairs] = caller;
    r->callees[2 * r->n_pairs++ + 1] = callee;
    return true;
}

static bool find_callees(ranking *r, uint32_t entry) {
    const grammar *g = r->g;
    push(r, g->entries[entry].start, entry);
    while (r->n_stack) {
        const grammar_node *n = &g->nodes[r->stack[--r->n_stack]];
        if (n->kind == NODE_SPLIT) {
            push(r, n->a, entry);
            push(r, n->b, entry);
        } else if (n->kind == NODE_CALL || n->kind == NODE_REPEAT) {
            if (!add_pair(r, entry, n->a)) return false;
            if (n->kind == NODE_CALL ? g->entries[n->a].nullable : n->min == 0) push(r, n->b, entry);
        }
    }
    return true;
}

static void collect_callers(ranking *r) {
    for (size_t i = 0; i < r->n_pairs; i++) {
        r->open[r->callees[2 * i]]++;
        r->first[r->callees[2 * i + 1] + 2]++;
    }
    for (size_t i = 2; i < r->g->n_entries + 2; i++) r->first[i] += r->first[i - 1];
    for (size_t i = 0; i < r->n_pairs; i++) r->callers[r->first[r->callees[2 * i + 1] + 1]++] = r->callees[2 * i];
}

/* Whoever calls nobody that is not ranked comes next; who is never ranked calls itself. */
static void rank_entries(ranking *r) {
    for (uint32_t i = 0; i < r->g->n_entries; i++) {
        if (r->open[i] == 0) r->queue[r->n_queue++] = i;
    }
    for (size_t i = 0; i < r->n_queue; i++) {
        uint32_t entry = r->queue[i];
        r->g->entries[entry].rank = (uint32_t)i;
        for (uint32_t k = r->first[entry]; k < r->first[entry + 1]; k++) {
            if (--r->open[r->callers[k]] == 0) r->queue[r->n_queue++] = r->callers[k];
        }
    }
}

/* From an unranked entry to an unranked callee, n times: then it is on a circle. The last rule met is on it, too. */
static uint32_t rule_on_circle(ranking *r) {
    uint32_t at = 0, rule = GRAMMAR_NONE, *next = r->queue;
    for (size_t i = 0; i < r->n_pairs; i++) {
        if (r->open[r->callees[2 * i + 1]]) next[r->callees[2 * i]] = r->callees[2 * i + 1];
    }
    while (r->open[at] == 0) at++;
    for (size_t step = 0; step < 2 * r->g->n_entries; step++) {
        at = next[at];
        if (r->g->entries[at].rule != GRAMMAR_NONE) rule = r->g->entries[at].rule;
    }
    return rule == GRAMMAR_NONE ? 0 : rule;
}

static bool prepare(ranking *r) {
    size_t n_nodes = r->g->n_nodes, n = r->g->n_entries;
    r->stack = malloc(n_nodes * sizeof *r->stack);
    r->mark = calloc(n_nodes, sizeof *r->mark);
    r->open = calloc(n, sizeof *r->open);
    r->first = calloc(n + 2, sizeof *r->first);
    r->queue = malloc(n * sizeof *r->queue);
    if (!r->stack || !r->mark || !r->open || !r->first || !r->queue) return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!find_callees(r, i)) return false;
    }
    r->callers = malloc((r->n_pairs + 1) * sizeof *r->callers);
    return r->callers != NULL;
}

facet_status grammar_rank(grammar *g, uint32_t *left_recursive, facet_error *err) {
    ranking r = {.g = g};
    *left_recursive = GRAMMAR_NONE;
    bool ok = prepare(&r);
    if (ok) {
        collect_callers(&r);
        rank_entries(&r);
        if (r.n_queue < g->n_entries) *left_recursive = rule_on_circle(&r);
    }
    free(r.callees);
    free(r.stack);
    free(r.mark);
    free(r.open);
    free(r.first);
    free(r.callers);
    free(r.queue);
    return ok ? FACET_OK : error_memory(err, g->n_nodes * sizeof(uint32_t));
}
