/* What grammars keep between answers: a later answer of an equal grammar computes no mask again and is the same
 * answer; another grammar has none of it; and what is kept is bounded. */
#include <stdio.h>
#include <string.h>

#include "engine/session.h"
#include "support.h"

#define TINY FACET_SOURCE_DIR "/models/tiny-q8_0.gguf"

enum { MAX_TOKENS = 24 };

typedef struct setup {
    facet_model *model;
    facet_engine *engine;
    facet_session *session;
} setup;

typedef struct answer {
    int32_t ids[MAX_TOKENS];
    size_t n;
} answer;

static setup setup_new(void) {
    setup s;
    facet_error error;
    facet_engine_options o;
    facet_engine_options_defaults(&o);
    o.n_threads = 1;
    o.max_context = 128;
    assert_ok(facet_model_open(&s.model, TINY, NULL, &error), &error);
    assert_ok(facet_engine_new(&s.engine, s.model, &o, &error), &error);
    assert_ok(facet_session_new(&s.session, s.engine, NULL, &error), &error);
    return s;
}

static void setup_free(setup *s) {
    facet_session_free(s->session);
    facet_engine_free(s->engine);
    facet_model_free(s->model);
}

static bool note(void *ctx, const facet_token *token) {
    answer *a = ctx;
    a->ids[a->n++] = token->id;
    return true;
}

/* A grammar of its own for each answer, as a server makes them. */
static answer ask(const setup *s, const char *gbnf) {
    static const int32_t prompt[] = {2, 300, 301};
    answer a = {.n = 0};
    facet_error error;
    facet_grammar *form;
    facet_generation g;
    assert_ok(facet_grammar_from_gbnf(&form, s->model, gbnf, strlen(gbnf), &error), &error);
    facet_generation_defaults(&g);
    g.sampling.temperature = 0;
    g.max_tokens = MAX_TOKENS;
    g.grammar = form;
    assert_ok(facet_session_sync(s->session, prompt, 3, NULL, NULL, NULL, &error), &error);
    assert_ok(facet_session_generate(s->session, &g, note, &a, NULL, &error), &error);
    facet_grammar_free(form);
    return a;
}

static void assert_same_answer(const answer *a, const answer *b) {
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, a->n * sizeof *a->ids);
}

static const char letters[] = "root ::= word (\" \" word)*\nword ::= [a-f]{2,7}";
static const char same_letters[] = "root ::= w (\" \" w)*\nw ::= [a-f]{2,7} # another spelling";
static const char digits[] = "root ::= word (\" \" word)*\nword ::= [0-9]{2,7}";

static void equal_grammars_share_masks(void **state) {
    (void)state;
    setup s = setup_new();
    const matcher_pool *shelf = &s.model->matchers;
    answer first = ask(&s, letters);
    assert_int_equal(shelf->n, 1);
    const matcher *kept = shelf->idle[0];
    uint64_t n_made = matcher_masks_made(kept);
    assert_in_range(n_made, 2, MAX_TOKENS);
    answer again = ask(&s, letters), other = ask(&s, same_letters);
    assert_same_answer(&again, &first);
    assert_same_answer(&other, &first);
    assert_int_equal(shelf->n, 1);
    assert_ptr_equal(shelf->idle[0], kept);
    assert_int_equal(matcher_masks_made(kept), n_made);
    setup_free(&s);
}

static void other_grammars_have_their_own(void **state) {
    (void)state;
    setup s = setup_new(), fresh = setup_new();
    answer a = ask(&s, letters), b = ask(&s, digits), alone = ask(&fresh, digits);
    assert_int_equal(s.model->matchers.n, 2);
    assert_same_answer(&b, &alone);
    assert_true(a.n != b.n || memcmp(a.ids, b.ids, a.n * sizeof *a.ids) != 0);
    setup_free(&s);
    setup_free(&fresh);
}

static void one_answer_at_a_time(void **state) {
    (void)state;
    setup s = setup_new();
    matcher_pool *shelf = &s.model->matchers;
    ask(&s, letters);
    const grammar *g = matcher_grammar(shelf->idle[0]);
    matcher *taken = matcher_pool_take(shelf, g);
    assert_non_null(taken);
    assert_null(matcher_pool_take(shelf, g));
    ask(&s, letters); /* makes another */
    assert_int_equal(shelf->n, 1);
    assert_ptr_not_equal(shelf->idle[0], taken);
    matcher_pool_give(shelf, taken);
    assert_int_equal(shelf->n, 2);
    setup_free(&s);
}

static void what_is_kept_is_bounded(void **state) {
    (void)state;
    setup s = setup_new();
    const matcher_pool *shelf = &s.model->matchers;
    char gbnf[64];
    for (int i = 0; i < 3 * MATCHERS_MAX; i++) {
        snprintf(gbnf, sizeof gbnf, "root ::= [a-f]{2,%d} [x-z]", 3 + i);
        ask(&s, gbnf);
        assert_int_equal(shelf->n, i < MATCHERS_MAX ? i + 1 : MATCHERS_MAX);
    }
    const matcher *last = shelf->idle[MATCHERS_MAX - 1];
    uint64_t n_made = matcher_masks_made(last);
    ask(&s, gbnf);
    assert_ptr_equal(shelf->idle[MATCHERS_MAX - 1], last);
    assert_int_equal(matcher_masks_made(last), n_made);
    size_t n_bytes = 0;
    for (size_t i = 0; i < shelf->n; i++) n_bytes += matcher_memory_bytes(shelf->idle[i]);
    assert_in_range(n_bytes, 1, MATCHERS_MAX_BYTES);
    setup_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_grammars_share_masks),
        cmocka_unit_test(other_grammars_have_their_own),
        cmocka_unit_test(one_answer_at_a_time),
        cmocka_unit_test(what_is_kept_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
