/* What the files that compile grammars share; nobody else includes it. */
#ifndef FACET_SAMPLE_GRAMMAR_COMPILE_H
#define FACET_SAMPLE_GRAMMAR_COMPILE_H

#include "sample/grammar.h"

/* grammar_holds.c: which expressions may match nothing, or else which can match anything at all; holds[b->n], false
 */
facet_status grammar_find_holding(const grammar_builder *b, bool nullable, bool *holds, facet_error *err);

/* grammar_rank.c: gives the entries their ranks. *left_recursive becomes a rule that begins with itself, or
 * GRAMMAR_NONE: then all have one. */
facet_status grammar_rank(grammar *g, uint32_t *left_recursive, facet_error *err);

#endif
