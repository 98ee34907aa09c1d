/* Compiled grammars: sharing and comparing them. See grammar.h. */
#include "sample/grammar.h"

#include <stdlib.h>

grammar *grammar_ref(grammar *g) {
    atomic_fetch_add(&g->references, 1);
    return g;
}

void grammar_free(grammar *g) {
    if (!g || atomic_fetch_sub(&g->references, 1) > 1) return;
    free(g->nodes);
    free(g->edges);
    free(g->entries);
    free(g);
}

static bool same_node(const grammar_node *a, const grammar_node *b) {
    return a->kind == b->kind && a->loop == b->loop && a->a == b->a && a->b == b->b && a->min == b->min &&
           a->max == b->max && a->text == b->text;
}

static bool same_edge(const grammar_edge *a, const grammar_edge *b) {
    return a->lo == b->lo && a->hi == b->hi && a->target == b->target;
}

static bool same_entry(const grammar_entry *a, const grammar_entry *b) {
    return a->start == b->start && a->rank == b->rank && a->nullable == b->nullable;
}

bool grammar_same(const grammar *a, const grammar *b) {
    if (a == b) return true;
    bool same = a->n_nodes == b->n_nodes && a->n_edges == b->n_edges && a->n_entries == b->n_entries;
    for (size_t i = 0; same && i < a->n_entries; i++) same = same_entry(&a->entries[i], &b->entries[i]);
    for (size_t i = 0; same && i < a->n_nodes; i++) same = same_node(&a->nodes[i], &b->nodes[i]);
    for (size_t i = 0; same && i < a->n_edges; i++) same = same_edge(&a->edges[i], &b->edges[i]);
    return same;
}
