/* Tool calls as grammars. See tool_grammar.h. Source: the output side of Gemma 4's chat format. */
#include "sample/tool_grammar.h"

#include <string.h>

#include "sample/schema.h"

typedef struct marks {
    int32_t open, close, quote;
} marks;

static facet_status find_mark(const grammar_vocab *vocab, const char *spelling, int32_t *id, facet_error *err) {
    *id = vocab->find(vocab->ctx, spelling, strlen(spelling));
    if (*id >= 0) return FACET_OK;
    return error_set(err, FACET_ERROR_UNSUPPORTED, "the vocabulary has no token %s for tool calls", spelling);
}

static facet_status find_marks(const grammar_vocab *vocab, marks *m, facet_error *err) {
    FACET_TRY(find_mark(vocab, "<|tool_call>", &m->open, err));
    FACET_TRY(find_mark(vocab, "<tool_call|>", &m->close, err));
    return find_mark(vocab, "<|\"|>", &m->quote, err);
}

/* The braces and what is in them. A function without parameters takes none. */
static facet_status add_arguments(grammar_builder *b, const facet_value *parameters, const marks *m, expr *out,
                                  facet_error *err) {
    if (facet_value_typeof(parameters) == FACET_VALUE_NULL || facet_value_count(parameters) == 0) {
        *out = expr_text(b, "{}");
        return FACET_OK;
    }
    const facet_value *type = facet_value_get(parameters, "type");
    if (type && !value_is_text(type, "object") && !value_is_text(type, "OBJECT"))
        return error_set(err, FACET_ERROR_UNSUPPORTED, "schema: #/type: the parameters of a tool are an object");
    schema_style style = {.in_calls = true, .quote = m->quote};
    return schema_add(b, parameters, parameters, style, out, err);
}

/* Errors of a tool's schema say which tool. */
static facet_status blame(facet_status status, const char *name, facet_error *err) {
    if (status == FACET_OK || status == FACET_ERROR_MEMORY || !err) return status;
    char why[sizeof err->message];
    memcpy(why, err->message, sizeof why);
    return error_set(err, status, "tool '%.60s': %s", name, why);
}

static facet_status add_call(grammar_builder *b, const facet_value *tool, const marks *m, expr *out,
                             facet_error *err) {
    const facet_value *function = facet_value_get(tool, "function"), *name = facet_value_get(function, "name");
    size_t n;
    const char *text = facet_value_typeof(name) == FACET_VALUE_STRING ? facet_value_text(name, &n) : NULL;
    if (!text || n == 0 || memchr(text, '{', n))
        return error_set(err, FACET_ERROR_FORMAT, "a tool has no name that can be called");
    expr arguments;
    FACET_TRY(blame(add_arguments(b, facet_value_get(function, "parameters"), m, &arguments, err), text, err));
    expr all = expr_seq(b, expr_token(b, m->open), expr_text(b, "call:"));
    all = expr_seq(b, expr_seq(b, all, expr_bytes(b, text, n)), arguments);
    *out = expr_seq(b, all, expr_token(b, m->close));
    return FACET_OK;
}

static facet_status add_calls(grammar_builder *b, const facet_value *tools, const char *choice, const marks *m,
                              expr *out, facet_error *err) {
    bool any = false;
    for (size_t i = 0; i < facet_value_count(tools); i++) {
        const facet_value *tool = facet_value_at(tools, i);
        expr one = 0;
        if (choice && !value_is_text(facet_value_get(facet_value_get(tool, "function"), "name"), choice)) continue;
        FACET_TRY(add_call(b, tool, m, &one, err));
        *out = any ? expr_alt(b, *out, one) : one;
        any = true;
    }
    if (any) return FACET_OK;
    return choice ? error_set(err, FACET_ERROR_ARGUMENT, "there is no tool '%.80s' to choose", choice)
                  : error_set(err, FACET_ERROR_ARGUMENT, "there are no tools to choose from");
}

static facet_status build(grammar_builder *b, const grammar_vocab *vocab, const facet_value *tools,
                          const char *choice, bool parallel, grammar **out, facet_error *err) {
    marks m;
    expr calls = 0;
    FACET_TRY(find_marks(vocab, &m, err));
    uint32_t root = grammar_rule_new(b, "calls", 5, 0);
    FACET_TRY(add_calls(b, tools, choice, &m, &calls, err));
    grammar_rule_define(b, root, parallel ? expr_repeat(b, calls, 1, EXPR_NO_MAX) : calls);
    return grammar_compile(out, b, root, err);
}

facet_status tool_grammar(grammar **out, const grammar_vocab *vocab, const facet_value *tools, const char *choice,
                          bool parallel, facet_error *err) {
    grammar_builder b = {0};
    *out = NULL;
    facet_status status = build(&b, vocab, tools, choice, parallel, out, err);
    grammar_builder_free(&b);
    return status;
}
