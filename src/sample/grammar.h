/* Grammars ready to be matched: a recursive transition network over bytes and tokens. Owns: nodes and edges,
 * immutable once compiled, so that any number of matchers may use them. Knows nothing of vocabularies; see
 * grammar_match.h.
 *
 * A node that reads is a switch over bytes or one token; a character is a chain of switches. An entry is where a rule
 * or the body of a counted repetition begins: calling it remembers where to go on, and NODE_END goes on there. Bodies
 * of repetitions never match nothing, no rule begins with itself, and every node can reach an end: so a match that is
 * still possible can always be finished. */
#ifndef FACET_SAMPLE_GRAMMAR_H
#define FACET_SAMPLE_GRAMMAR_H

#include <stdatomic.h>

#include "sample/grammar_expr.h"

typedef enum grammar_node_kind {
    NODE_END,    /* of the entry */
    NODE_SWITCH, /* edges[a .. a + b) */
    NODE_TOKEN,  /* token a, then b */
    NODE_SPLIT,  /* a or b */
    NODE_CALL,   /* entry a, then b */
    NODE_REPEAT  /* entry a, min to max times, then b */
} grammar_node_kind;

#define GRAMMAR_NONE UINT32_MAX

typedef struct grammar_node {
    uint8_t kind;
    bool loop; /* NODE_SWITCH: every plain character (mask.h) leads back here */
    uint32_t a, b;
    uint32_t min, max; /* max EXPR_NO_MAX: any number */
    uint32_t text; /* NODE_REPEAT: the switch that starts the body and ends it after any plain character, or NONE */
} grammar_node;

typedef struct grammar_edge {
    uint8_t lo, hi;
    uint32_t target;
} grammar_edge;

typedef struct grammar_entry {
    uint32_t start;
    uint32_t rule; /* for messages; GRAMMAR_NONE: of a repetition */
    uint32_t rank; /* whoever an entry may call before reading has a lower one */
    bool nullable;
} grammar_entry;

typedef struct grammar {
    atomic_int references;
    grammar_node *nodes; /* 0 is the one NODE_END */
    size_t n_nodes, nodes_capacity;
    grammar_edge *edges;
    size_t n_edges, edges_capacity;
    grammar_entry *entries; /* 0 is the start */
    size_t n_entries, entries_capacity;
    uint8_t class_of[256]; /* bytes that no edge tells apart */
    size_t n_classes;
} grammar;

enum { GRAMMAR_MAX_NODES = 1 << 20 };

/* Compiles what was built. Errors name the rule: never defined, never ending, beginning with itself; or that there
 * was no memory or too much of it all while building. */
facet_status grammar_compile(grammar **out, const grammar_builder *b, uint32_t start_rule, facet_error *err);
grammar *grammar_ref(grammar *g);
void grammar_free(grammar *g); /* one reference */
/* Whether they were compiled into the same nodes: then they permit the same, and whoever follows one follows both. */
bool grammar_same(const grammar *a, const grammar *b);

/* GBNF as llama.cpp documents it; `find_token` gives the id of a spelling, or -1. The start is the rule "root". */
typedef struct grammar_vocab {
    const void *ctx;
    int32_t (*find)(const void *ctx, const char *spelling, size_t n);
    int32_t n_vocab;
} grammar_vocab;
facet_status grammar_parse_gbnf(grammar **out, const grammar_vocab *vocab, const char *text, size_t n,
                                facet_error *err);

#endif
