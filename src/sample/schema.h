/* JSON schemas as grammars. Owns: what each keyword means for the text. Knows nothing of vocabularies but the ids of
 * control tokens. What cannot be honoured is refused with its place in the schema ("#/properties/age/minimum").
 *
 * Where the grammar is narrower than the schema: members of objects come in the order in which they are declared, and
 * an object that declares properties has no others unless additionalProperties says so; a schema without a type has
 * the types that its keywords speak of; integers have at most 18 digits and no fraction, numbers at most 18 digits
 * before and 20 behind the point, with exponents where nothing else is asked of them; strings hold no U+0000; white
 * space is bounded. Where it is wider: a map may repeat a key (readers take the last), and no text is checked for
 * uniqueItems, which is refused. oneOf needs branches that are plainly disjoint, and is then anyOf. */
#ifndef FACET_SAMPLE_SCHEMA_H
#define FACET_SAMPLE_SCHEMA_H

#include "base/value.h"
#include "sample/grammar.h"

/* How values are written: as JSON, or in the notation of calls: strings between quote tokens, bare keys in sorted
 * order, no white space. */
typedef struct schema_style {
    bool in_calls;
    int32_t quote; /* in calls: the token <|"|> */
} schema_style;

/* Adds a rule for the values of a schema. `root` is what references start from. */
facet_status schema_add(grammar_builder *b, const facet_value *schema, const facet_value *root, schema_style style,
                        expr *out, facet_error *err);

/* A whole text: a value of the schema; NULL: any object. */
facet_status schema_grammar(grammar **out, const facet_value *schema, facet_error *err);

#endif
