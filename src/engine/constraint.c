/* Grammars of a model. See constraint.h. A thought is <|channel> ... <channel|>; inside it any text is permitted, and
 * no control token but the one that closes it: an end of generation there would leave the answer out. */
#include "engine/constraint.h"

#include <stdlib.h>
#include <string.h>

#include "sample/grammar_match.h"
#include "sample/schema.h"
#include "sample/tool_grammar.h"

struct facet_grammar {
    atomic_int references;
    facet_model *model;
    grammar *grammar;
};

typedef enum phase { BEFORE_THOUGHT, IN_THOUGHT, IN_GRAMMAR } phase;

struct constraint {
    facet_model *model;
    matcher *matcher;
    phase phase;
    int32_t open, close;  /* the tokens of a thought, or -1 */
    uint64_t *mask;       /* outside of the grammar; NULL where a thought cannot come */
    bool mask_is_thought; /* it is that of a thought already */
};

/* ---- grammars */

static int32_t find_token(const void *ctx, const char *spelling, size_t n) { return vocab_find(ctx, spelling, n); }

static grammar_vocab vocab_of(const facet_model *m) {
    return (grammar_vocab){.ctx = m->vocab, .find = find_token, .n_vocab = vocab_size(m->vocab)};
}

/* Takes the compiled grammar over, also on failure; NULL: it failed with `status`. The trie is made here, so that the
 * first token need not wait for it. */
static facet_status wrap(facet_grammar **out, facet_model *model, grammar *compiled, facet_status status,
                         facet_error *err) {
    const token_trie *trie;
    facet_grammar *g = NULL;
    if (status == FACET_OK) status = model_trie(model, &trie, err);
    if (status == FACET_OK && !(g = calloc(1, sizeof *g))) status = error_memory(err, sizeof *g);
    if (status != FACET_OK) {
        grammar_free(compiled);
        return status;
    }
    atomic_init(&g->references, 1);
    g->model = model_ref(model);
    g->grammar = compiled;
    *out = g;
    return FACET_OK;
}

static facet_status begin(facet_grammar **out, const facet_model *model, const void *input, const char *what,
                          facet_error *err) {
    *out = NULL;
    error_clear(err);
    if (model && input) return FACET_OK;
    return error_set(err, FACET_ERROR_ARGUMENT, "%s is NULL", model ? what : "the model");
}

facet_status facet_grammar_from_gbnf(facet_grammar **out, facet_model *model, const char *text, size_t n_bytes,
                                     facet_error *err) {
    FACET_TRY(begin(out, model, text, "the grammar's text", err));
    grammar *compiled = NULL;
    grammar_vocab v = vocab_of(model);
    facet_status status = grammar_parse_gbnf(&compiled, &v, text, n_bytes, err);
    return wrap(out, model, compiled, status, err);
}

facet_status facet_grammar_from_schema(facet_grammar **out, facet_model *model, const facet_value *schema,
                                       facet_error *err) {
    FACET_TRY(begin(out, model, schema, "the schema", err));
    grammar *compiled = NULL;
    facet_status status = schema_grammar(&compiled, schema, err);
    return wrap(out, model, compiled, status, err);
}

facet_status facet_grammar_json_object(facet_grammar **out, facet_model *model, facet_error *err) {
    FACET_TRY(begin(out, model, model, "the model", err));
    grammar *compiled = NULL;
    facet_status status = schema_grammar(&compiled, NULL, err);
    return wrap(out, model, compiled, status, err);
}

facet_status facet_grammar_from_tools(facet_grammar **out, facet_model *model, const facet_value *tools,
                                      const char *choice, bool parallel, facet_error *err) {
    FACET_TRY(begin(out, model, tools, "the list of tools", err));
    grammar *compiled = NULL;
    grammar_vocab v = vocab_of(model);
    facet_status status = tool_grammar(&compiled, &v, tools, choice, parallel, err);
    return wrap(out, model, compiled, status, err);
}

void facet_grammar_free(facet_grammar *g) {
    if (!g || atomic_fetch_sub(&g->references, 1) > 1) return;
    grammar_free(g->grammar);
    facet_model_free(g->model);
    free(g);
}

/* ---- one generation */

static int32_t find_control(const vocab *v, const char *spelling) {
    int32_t id = vocab_find(v, spelling, strlen(spelling));
    return vocab_is_control(v, id) ? id : -1;
}

/* The last mark of a thought in the turn at hand decides: one that was closed right at the end of the prompt was the
 * thought, so that no other follows. */
static phase phase_of(const constraint *c, const facet_session *s) {
    const vocab *v = c->model->vocab;
    int32_t turn = find_control(v, "<|turn>");
    if (s->n_tokens && s->tokens[s->n_tokens - 1] == c->close) return IN_GRAMMAR;
    for (size_t i = s->n_tokens; i-- > 0;) {
        int32_t id = s->tokens[i];
        if (id == c->open) return IN_THOUGHT;
        if (id == c->close || id == turn || vocab_is_end(v, id)) break;
    }
    return BEFORE_THOUGHT;
}

static facet_status prepare_thought(constraint *c, const facet_session *s, facet_error *err) {
    const vocab *v = c->model->vocab;
    c->open = find_control(v, "<|channel>");
    c->close = find_control(v, "<channel|>");
    if (c->open < 0 || c->close < 0) return FACET_OK;
    c->phase = phase_of(c, s);
    if (c->phase == IN_GRAMMAR) return FACET_OK;
    size_t n_bytes = mask_words((size_t)vocab_size(v)) * sizeof *c->mask;
    c->mask = calloc(1, n_bytes);
    return c->mask ? FACET_OK : error_memory(err, n_bytes);
}

static facet_status start(constraint *c, const facet_generation *g, const facet_session *s, facet_error *err) {
    const token_trie *trie;
    FACET_TRY(model_trie(s->engine->model, &trie, err));
    grammar *followed = g->grammar->grammar;
    c->matcher = matcher_pool_take(&c->model->matchers, followed);
    if (!c->matcher) FACET_TRY(matcher_new(&c->matcher, followed, trie, c->model->vocab, err));
    return g->grammar_after_thought ? prepare_thought(c, s, err) : FACET_OK;
}

facet_status constraint_new(constraint **out, const facet_generation *g, const facet_session *s, facet_error *err) {
    *out = NULL;
    if (!g->grammar) return FACET_OK;
    if (g->grammar->model != s->engine->model)
        return error_set(err, FACET_ERROR_ARGUMENT, "the grammar belongs to another model");
    constraint *c = calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c);
    *c = (constraint){.model = s->engine->model, .phase = IN_GRAMMAR, .open = -1, .close = -1};
    facet_status status = start(c, g, s, err);
    if (status == FACET_OK)
        *out = c;
    else
        constraint_free(c);
    return status;
}

void constraint_free(constraint *c) {
    if (!c) return;
    matcher_pool_give(&c->model->matchers, c->matcher);
    free(c->mask);
    free(c);
}

facet_status constraint_mask(constraint *c, const uint64_t **mask, facet_error *err) {
    const vocab *v = c->model->vocab;
    size_t n_vocab = (size_t)vocab_size(v);
    if (c->phase == IN_THOUGHT) {
        if (!c->mask_is_thought) {
            c->mask_is_thought = true;
            memset(c->mask, 0, mask_words(n_vocab) * sizeof *c->mask);
            for (int32_t id = 0; (size_t)id < n_vocab; id++) {
                if (!vocab_is_control(v, id) || id == c->close) mask_set(c->mask, id);
            }
        }
        *mask = c->mask;
        return FACET_OK;
    }
    FACET_TRY(matcher_mask(c->matcher, mask, err));
    if (c->phase == BEFORE_THOUGHT) {
        memcpy(c->mask, *mask, mask_words(n_vocab) * sizeof *c->mask);
        mask_set(c->mask, c->open);
        *mask = c->mask;
    }
    return FACET_OK;
}

facet_status constraint_accept(constraint *c, int32_t id, facet_error *err) {
    if (c->phase == IN_THOUGHT) {
        if (id == c->close) c->phase = IN_GRAMMAR;
        return FACET_OK;
    }
    bool opens = c->phase == BEFORE_THOUGHT && id == c->open;
    c->phase = opens ? IN_THOUGHT : IN_GRAMMAR;
    return opens ? FACET_OK : matcher_accept(c->matcher, id, err);
}

bool constraint_finished(const constraint *c) { return c->phase == IN_GRAMMAR && matcher_finished(c->matcher); }
