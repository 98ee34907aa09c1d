/* Grammars as expressions, while they are being written: what GBNF, schemas and tools are turned into, and what
 * grammar_compile reads. Owns: the expressions of one grammar. Knows nothing of tokens but their ids.
 *
 * Building never reports: after a refused allocation or past the limit every function returns an expression that must
 * not be looked at, and grammar_compile tells what happened. Expressions may be used any number of times. */
#ifndef FACET_SAMPLE_GRAMMAR_EXPR_H
#define FACET_SAMPLE_GRAMMAR_EXPR_H

#include "base/buffer.h"
#include "base/error.h"
#include "sample/schema_lang.h"

typedef uint32_t expr;

enum { EXPR_NO_MAX = 0xffffffffu };

typedef enum expr_kind {
    EXPR_EMPTY,
    EXPR_BYTES,  /* text[a .. a + b) */
    EXPR_CLASS,  /* one character: ranges[a .. a + b) */
    EXPR_TOKEN,  /* token a itself, whatever its text */
    EXPR_SEQ,    /* a, then b */
    EXPR_ALT,    /* a or b */
    EXPR_REPEAT, /* a, min to max times */
    EXPR_RULE,   /* rule a */
    EXPR_LANG    /* language a; b: as the inside of a JSON string */
} expr_kind;

typedef struct expr_node {
    expr_kind kind;
    uint32_t a, b;
    uint32_t min, max;
} expr_node;

typedef struct grammar_rule {
    expr body;
    bool defined;
    uint32_t name, name_bytes; /* in text; for messages */
    uint64_t position;         /* where it is first named */
} grammar_rule;

typedef struct grammar_builder {
    expr_node *nodes;
    size_t n, capacity;
    grammar_rule *rules;
    size_t n_rules, rules_capacity;
    code_range *ranges;
    size_t n_ranges, ranges_capacity;
    lang **langs; /* owned */
    size_t n_langs, langs_capacity;
    buffer text;
    bool failed;    /* no memory */
    bool too_large; /* past GRAMMAR_MAX_EXPRS */
} grammar_builder;

enum { GRAMMAR_MAX_EXPRS = 1 << 20 };

void grammar_builder_free(grammar_builder *b); /* begins as {0} */

expr expr_empty(grammar_builder *b);
expr expr_bytes(grammar_builder *b, const char *text, size_t n);
expr expr_text(grammar_builder *b, const char *text);
/* Ranges in any order, which may overlap; `negate`: every other character. Surrogates are dropped. */
expr expr_class(grammar_builder *b, const code_range *ranges, size_t n, bool negate);
expr expr_token(grammar_builder *b, int32_t id);
expr expr_seq(grammar_builder *b, expr first, expr second);
expr expr_alt(grammar_builder *b, expr one, expr other);
expr expr_repeat(grammar_builder *b, expr what, uint32_t min, uint32_t max);
expr expr_optional(grammar_builder *b, expr what);
/* Takes the language over, also on failure; it must not be empty. */
expr expr_lang(grammar_builder *b, lang *l, bool in_json);
expr expr_rule(grammar_builder *b, uint32_t rule);

uint32_t grammar_rule_new(grammar_builder *b, const char *name, size_t n, uint64_t position);
void grammar_rule_define(grammar_builder *b, uint32_t rule, expr body);

static inline bool grammar_builder_failed(const grammar_builder *b) {
    return b->failed || b->too_large || b->text.failed;
}

#endif
