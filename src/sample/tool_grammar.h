/* Tool calls as grammars: <|tool_call>call:NAME{key:value,...}<tool_call|>, with the control tokens as tokens. Owns:
 * the shape of calls. Values are the schema's business. */
#ifndef FACET_SAMPLE_TOOL_GRAMMAR_H
#define FACET_SAMPLE_TOOL_GRAMMAR_H

#include "base/value.h"
#include "sample/grammar.h"

/* `tools`: {type: "function", function: {name, parameters}}, ...; `choice`: the one to call (NULL: any of them).
 * `parallel`: one or more calls. */
facet_status tool_grammar(grammar **out, const grammar_vocab *vocab, const facet_value *tools, const char *choice,
                          bool parallel, facet_error *err);

#endif
