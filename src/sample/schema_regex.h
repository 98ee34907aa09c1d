/* What the files that make languages of patterns share; nobody else includes it. A pattern is parsed into a tree,
 * made a nondeterministic automaton, then a deterministic one (Thompson, 1968; Rabin and Scott, 1959). What fails is
 * remembered, so that whoever builds need not ask after every step. */
#ifndef FACET_SAMPLE_SCHEMA_REGEX_H
#define FACET_SAMPLE_SCHEMA_REGEX_H

#include "sample/schema_lang.h"

enum { REGEX_MAX_NODES = 1 << 15 }; /* of the tree, and of the nondeterministic automaton */

/* What is parsed: a tree. */
typedef enum tree_kind { T_EMPTY, T_CLASS, T_BEGIN, T_END, T_SEQ, T_ALT, T_REPEAT } tree_kind;
typedef struct tree {
    tree_kind kind;
    uint32_t a, b, min, max;
} tree;

typedef enum node_kind { N_CLASS, N_SPLIT, N_BEGIN, N_END, N_MATCH } node_kind;

typedef struct node {
    node_kind kind;
    uint32_t a, b;     /* where it goes on; N_SPLIT: both */
    uint32_t first, n; /* N_CLASS: ranges */
} node;

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

/* Room for one more; false, with the status set, where there is none. */
bool regex_room(regex *r, void **list, size_t n, size_t *capacity, size_t size);
void regex_fail(regex *r, const char *why); /* at the byte at hand; the first one stays */

/* schema_regex_parse.c: the tree of the whole text. Known: characters, '.', classes, \d \w \s and their opposites,
 * the escapes of characters, groups (also named and not captured), '|', the counts * + ? {m} {m,} {m,n} greedy or
 * lazy, ^ and $. */
uint32_t regex_parse(regex *r);
uint32_t regex_any_character(regex *r);
uint32_t regex_tree(regex *r, tree t);
/* schema_regex_determine.c: the language of the automaton that begins at node `start` */
facet_status regex_determine(lang **out, regex *r, uint32_t start);

#endif
