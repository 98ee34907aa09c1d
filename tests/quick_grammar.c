/* Grammars: against a naive recogniser, masks against their definition, and what hostile ones may cost. */
#include "quick_grammar_support.h"

static grammar *parse(const char *text) {
    facet_error error;
    grammar *g;
    assert_ok(grammar_parse_gbnf(&g, &real.names, text, strlen(text), &error), &error);
    return g;
}

/* ---- a naive recogniser of random grammars */

typedef enum thing_kind { LITERAL, CLASS, SEQUENCE, CHOICE, REPEAT, RULE } thing_kind;

typedef struct thing {
    thing_kind what;
    char text[8]; /* LITERAL; CLASS: its characters, one byte each */
    bool negated;
    int a, b; /* SEQUENCE, CHOICE, REPEAT; RULE: a */
    uint32_t min, max;
} thing;

enum { MAX_THINGS = 200, N_RULES = 4, MAX_LENGTH = 9 };

typedef struct random_grammar {
    thing things[MAX_THINGS];
    int n;
    int rules[N_RULES];
    chance *c;
} random_grammar;

static int add(random_grammar *g, thing t) {
    assert_true(g->n < MAX_THINGS);
    g->things[g->n] = t;
    return g->n++;
}

static int random_atom(random_grammar *g) {
    thing t = {.what = chance_below(g->c, 3) ? LITERAL : CLASS, .negated = chance_below(g->c, 3) == 0};
    size_t n = chance_below(g->c, 2) + (t.what == CLASS || chance_below(g->c, 6) > 0);
    for (size_t i = 0; i < n; i++) t.text[i] = (char)('a' + chance_below(g->c, 3));
    if (t.what == LITERAL) t.negated = false;
    return add(g, t);
}

/* A rule may refer to later rules anywhere, and to any rule behind a character: so none begins with itself. */
static int random_thing(random_grammar *g, int rule, int depth) {
    uint32_t kind = depth <= 0 || g->n > MAX_THINGS - 40 ? 0 : chance_below(g->c, 7);
    thing t = {.what = SEQUENCE};
    switch (kind) {
    case 1:
    case 2:
        t.a = random_thing(g, rule, depth - 1);
        t.b = random_thing(g, rule, depth - 1);
        return add(g, t);
    case 3:
        t.what = CHOICE;
        t.a = random_thing(g, rule, depth - 1);
        t.b = random_thing(g, rule, depth - 1);
        return add(g, t);
    case 4:
        t.what = REPEAT;
        t.a = random_thing(g, rule, depth - 1);
        t.min = chance_below(g->c, 3);
        t.max = chance_below(g->c, 3) ? t.min + chance_below(g->c, 40) : EXPR_NO_MAX;
        if (t.max == 0) t.max = 1;
        return add(g, t);
    case 5:
        if (rule + 1 == N_RULES) return random_atom(g);
        t.what = RULE;
        t.a = rule + 1 + (int)chance_below(g->c, (uint32_t)(N_RULES - rule - 1));
        return add(g, t);
    case 6: { /* "x" (rule | "y") */
        int other = add(g, (thing){.what = RULE, .a = (int)chance_below(g->c, N_RULES)});
        int end = add(g, (thing){.what = LITERAL, .text = "b"});
        t.b = add(g, (thing){.what = CHOICE, .a = other, .b = end});
        t.a = add(g, (thing){.what = LITERAL, .text = "a"});
        return add(g, t);
    }
    default: return random_atom(g);
    }
}

static void put_thing(const random_grammar *g, int at, buffer *out) {
    const thing *t = &g->things[at];
    char text[40];
    switch (t->what) {
    case LITERAL: snprintf(text, sizeof text, "\"%s\"", t->text); break;
    case CLASS: snprintf(text, sizeof text, "[%s%s]", t->negated ? "^" : "", t->text); break;
    case RULE: snprintf(text, sizeof text, t->a ? "r%d" : "root", t->a); break;
    case SEQUENCE:
    case CHOICE:
    case REPEAT:
        buffer_text(out, "(");
        put_thing(g, t->a, out);
        if (t->what != REPEAT) {
            buffer_text(out, t->what == CHOICE ? " | " : " ");
            put_thing(g, t->b, out);
        }
        buffer_text(out, ")");
        text[0] = '\0';
        if (t->what == REPEAT && t->max == EXPR_NO_MAX && t->min == 0)
            snprintf(text, sizeof text, "*");
        else if (t->what == REPEAT && t->max == EXPR_NO_MAX)
            snprintf(text, sizeof text, "{%u,}", t->min);
        else if (t->what == REPEAT)
            snprintf(text, sizeof text, "{%u,%u}", t->min, t->max);
        break;
    }
    buffer_text(out, text);
}

/* The set of places where a thing that begins at `at` may end: bit i. */
static uint32_t ends(const random_grammar *g, int which, const char *text, size_t n, size_t at) {
    const thing *t = &g->things[which];
    uint32_t first, all = 0;
    size_t length = strlen(t->text);
    switch (t->what) {
    case LITERAL: return at + length <= n && memcmp(text + at, t->text, length) == 0 ? 1u << (at + length) : 0;
    case CLASS: return at < n && (memchr(t->text, text[at], length) != NULL) != t->negated ? 1u << (at + 1) : 0;
    case RULE: return ends(g, g->rules[t->a], text, n, at);
    case CHOICE: return ends(g, t->a, text, n, at) | ends(g, t->b, text, n, at);
    case SEQUENCE:
        first = ends(g, t->a, text, n, at);
        for (size_t i = at; i <= n; i++) {
            if (first >> i & 1) all |= ends(g, t->b, text, n, i);
        }
        return all;
    case REPEAT:
        first = 1u << at;
        /* more rounds than characters bring nothing new, but for those that the minimum asks for */
        for (uint32_t round = 0;; round++) {
            uint32_t next = 0;
            if (round >= t->min) all |= first;
            if (round >= t->max || round > t->min + n + 1 || !first) return all;
            for (size_t i = at; i <= n; i++) {
                if (first >> i & 1) next |= ends(g, t->a, text, n, i);
            }
            first = next;
        }
    }
    return 0;
}

static buffer random_text(random_grammar *g, chance *c) {
    buffer out = {0};
    *g = (random_grammar){.c = c};
    for (int i = 0; i < N_RULES; i++) g->rules[i] = random_thing(g, i, 3);
    for (int i = 0; i < N_RULES; i++) {
        char name[20];
        snprintf(name, sizeof name, i ? "r%d ::= " : "root ::= ", i);
        buffer_text(&out, name);
        put_thing(g, g->rules[i], &out);
        buffer_text(&out, "\n");
    }
    return out;
}

/* Every text of up to six of three letters, and some longer ones. */
static size_t compare_all(const random_grammar *g, const char *gbnf, matcher *m, chance *c) {
    size_t n_in = 0;
    for (uint32_t k = 0; k < 1400; k++) {
        char text[MAX_LENGTH];
        size_t n = 0;
        uint32_t code = k;
        if (k < 1093) {
            for (; code; code = (code - 1) / 3) text[n++] = (char)('a' + (code - 1) % 3);
        } else {
            n = 7 + chance_below(c, MAX_LENGTH - 6);
            for (size_t i = 0; i < n; i++) text[i] = (char)('a' + chance_below(c, 3));
        }
        bool expected = ends(g, g->rules[0], text, n, 0) >> n & 1;
        matcher_reset(m);
        bool found = matcher_accept_bytes(m, text, n, NULL) == FACET_OK && matcher_may_end(m);
        if (found != expected)
            fail_msg("'%.*s' is %s, but the matcher says otherwise:\n%s", (int)n, text, expected ? "in" : "out",
                     gbnf);
        n_in += expected;
    }
    return n_in;
}

static void test_against_naive(void **state) {
    (void)state;
    chance c = {7};
    size_t n_compiled = 0, n_in = 0;
    for (int round = 0; round < 500; round++) {
        random_grammar g;
        grammar *compiled;
        facet_error error;
        buffer gbnf = random_text(&g, &c);
        facet_status status = grammar_parse_gbnf(&compiled, &tiny.names, gbnf.data, gbnf.n, &error);
        if (status == FACET_OK) {
            matcher *m = words_follow(&tiny, compiled);
            n_in += compare_all(&g, gbnf.data, m, &c);
            n_compiled++;
            matcher_free(m);
            grammar_free(compiled);
        } else if (!strstr(error.message, "never ends")) { /* a random rule may */
            fail_msg("%s\n%s", error.message, gbnf.data);
        }
        buffer_free(&gbnf);
    }
    assert_true(n_compiled > 400);
    print_message("%zu grammars, %zu texts in them\n", n_compiled, n_in);
    assert_true(n_in > 5000);
}

/* ---- masks */

/* Every token: permitted exactly where its bytes are. */
static void assert_mask(const words_model *w, matcher *m, matcher *probe, const token_list *history) {
    facet_error error;
    const uint64_t *mask;
    buffer text = {0}, piece = {0};
    for (size_t i = 0; i < history->n; i++) assert_true(vocab_piece(w->v, history->ids[i], &text));
    assert_ok(matcher_mask(m, &mask, &error), &error);
    for (int32_t id = 0; (size_t)id < w->n_vocab; id++) {
        if (vocab_is_end(w->v, id)) {
            assert_int_equal(mask_has(mask, id), matcher_may_end(m));
        } else if (vocab_is_control(w->v, id)) {
            assert_false(mask_has(mask, id));
        } else {
            buffer_clear(&piece);
            assert_true(vocab_piece(w->v, id, &piece));
            matcher_reset(probe);
            assert_int_equal(matcher_accept_bytes(probe, text.n ? text.data : "", text.n, NULL), FACET_OK);
            bool fits = matcher_accept_bytes(probe, piece.data, piece.n, NULL) == FACET_OK;
            if (fits != mask_has(mask, id))
                fail_msg("token %d '%.*s' after '%.*s': %d", id, (int)piece.n, piece.data, (int)text.n, text.data,
                         fits);
        }
    }
    buffer_free(&text);
    buffer_free(&piece);
}

static const char *const grammars[] = {
    "root ::= [^\"]{3,9} \"!\" | \"abc\" root",
    "root ::= \"\\\"\" ([^\"\\\\\\x00-\\x1f\\x7f] | \"\\\\\" [\"nt])* \"\\\"\" ws root?\nws ::= [ \\n]{0,3}",
    "root ::= (.{2,4} \"\\n\")* \"end\"",
    "root ::= item (\", \" item)* \nitem ::= [a-z]+ | \"(\" root \")\" | [0-9]{1,2} | [\\u00e0-\\u00ff]+",
    "root ::= \"a\"? \"b\"? (\"the \" | \"then\" | \"these\"){2} [^x]*",
};

static void walk_masks(const words_model *w, size_t n_steps, size_t n_walks) {
    chance c = {3};
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++) {
        grammar *g = parse(grammars[i]);
        matcher *m = words_follow(w, g), *probe = words_follow(w, g);
        for (size_t walk = 0; walk < n_walks; walk++) {
            token_list history = {0};
            matcher_reset(m);
            for (size_t step = 0; step < n_steps && !matcher_finished(m); step++) {
                const uint64_t *mask;
                assert_mask(w, m, probe, &history);
                assert_int_equal(matcher_mask(m, &mask, NULL), FACET_OK);
                int32_t id = words_choose(w, mask, &c, false);
                if (vocab_is_end(w->v, id)) break;
                assert_int_equal(matcher_accept(m, id, NULL), FACET_OK);
                assert_true(token_list_push(&history, id));
            }
            free(history.ids);
        }
        matcher_free(m);
        matcher_free(probe);
        grammar_free(g);
    }
}

static void test_masks(void **state) {
    (void)state;
    walk_masks(&tiny, 6, 6);
    walk_masks(&real, 2, 1);
}

/* A character may come as byte tokens. */
static void test_bytes(void **state) {
    (void)state;
    grammar *g = parse("root ::= \"<\" [\\u3000-\\u9fff]+ \">\"");
    matcher *m = words_follow(&real, g);
    static const char *const spellings[] = {"<", "<0xE6>", "<0x97>", "<0xA5>", ">"};
    for (size_t i = 0; i < 5; i++) {
        const uint64_t *mask;
        int32_t id = vocab_find(real.v, spellings[i], strlen(spellings[i]));
        assert_int_equal(matcher_mask(m, &mask, NULL), FACET_OK);
        assert_true(mask_has(mask, id));
        if (i == 2) { /* in the middle of a character only bytes go on */
            assert_false(mask_has(mask, vocab_find(real.v, ">", 1)));
            assert_int_equal(mask_count(mask, real.n_vocab), 64);
        }
        assert_int_equal(matcher_accept(m, id, NULL), FACET_OK);
    }
    assert_true(matcher_finished(m));
    matcher_free(m);
    grammar_free(g);
}

/* Control tokens come where they are named, and their spelling as text is something else. */
static void test_tokens(void **state) {
    (void)state;
    grammar *g = parse("root ::= <|channel> [a-z]* <channel|> (<[106]> | \"<|channel>\")");
    matcher *m = words_follow(&real, g);
    const uint64_t *mask;
    int32_t open = vocab_find(real.v, "<|channel>", 10), close = vocab_find(real.v, "<channel|>", 10);
    assert_int_equal(matcher_mask(m, &mask, NULL), FACET_OK);
    assert_int_equal(mask_count(mask, real.n_vocab), 1);
    assert_true(mask_has(mask, open));
    assert_int_equal(matcher_accept_bytes(m, "<|channel>", 10, NULL), FACET_ERROR_ARGUMENT);
    assert_int_equal(matcher_accept(m, close, NULL), FACET_ERROR_ARGUMENT);
    assert_int_equal(matcher_accept(m, open, NULL), FACET_OK);
    assert_int_equal(matcher_accept_bytes(m, "abc", 3, NULL), FACET_OK);
    assert_int_equal(matcher_accept(m, open, NULL), FACET_ERROR_ARGUMENT);
    assert_int_equal(matcher_accept(m, close, NULL), FACET_OK);
    assert_int_equal(matcher_mask(m, &mask, NULL), FACET_OK);
    assert_true(mask_has(mask, 106) && !mask_has(mask, open));
    assert_int_equal(matcher_accept_bytes(m, "<|channel>", 10, NULL), FACET_OK);
    assert_true(matcher_finished(m));
    matcher_free(m);
    grammar_free(g);
}

/* ---- the notation */

static void test_notation(void **state) {
    (void)state;
    static const struct {
        const char *grammar, *in, *out;
    } cases[] = {
        {"root ::= \"a\" # comment\n  \nroot2 ::= \"b\"", "a", "b"},
        {"root ::=\n  \"a\" |\n  \"b\"", "b", "c"},
        {"root ::= (\"a\"\n | \"b\"\n)+", "abba", "abc"},
        {"root ::= [^\\n\\]a-c]+", "xyz^", "a"},
        {"root ::= [a\\-\\\\]+", "a-\\", "b"},
        {"root ::= [-a]+", "a-a", "b"},
        {"root ::= \"\\x41\\u00e9\\U0001F600\\\"\"", "A\xc3\xa9\xf0\x9f\x98\x80\"", "A"},
        {"root ::= \"a\"{2}", "aa", "aaa"},
        {"root ::= \"a\"{,2} \"b\"{1,}", "aabbb", "aaab"},
        {"root ::= \"\" | \"x\"", "", "xx"},
        {"root ::= a-b_c\r\na-b_c ::= \"q\"\r\n", "q", "r"},
        {"root ::= ((\"a\"*)*)* \"b\"", "aaab", "aaa"},
        {"root ::= (\"a\"? \"b\"?){3} \"c\"", "ababc", "ababababc"},
        {"root ::= \"(\" root \")\" | \"(\" root \"]\" | \"(\" root \"}\" | \"x\"", "(((((x])})]", "(x"},
        {"root ::= \"a\" root | \"a\"", "aaaaaaaaaaaaaaaa", "aaab"},
        {".", NULL, NULL},
    };
    for (size_t i = 0; cases[i].in; i++) {
        grammar *g = parse(cases[i].grammar);
        matcher *m = words_follow(&real, g);
        if (!words_permit(&real, m, cases[i].in, strlen(cases[i].in), false))
            fail_msg("%s refuses %s", cases[i].grammar, cases[i].in);
        if (words_permit(&real, m, cases[i].out, strlen(cases[i].out), false))
            fail_msg("%s takes %s", cases[i].grammar, cases[i].out);
        matcher_free(m);
        grammar_free(g);
    }
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *grammar, *message;
        uint64_t position;
    } cases[] = {
        {"", "'root' is used but not defined", 0},
        {"root ::= a", "'a' is used but not defined", 9},
        {"root ::= \"a\"\nroot ::= \"b\"", "is there already", 13},
        {"root ::= \"a", "'\"' is missing", 11},
        {"root ::= [a", "']' is missing", 11},
        {"root ::= []", "without characters", 10},
        {"root ::= [b-a]", "does not ascend", 13},
        {"root ::= (\"a\"", "')' is missing", 13},
        {"root ::= \"a\")", "no part of a rule", 12},
        {"root ::= \"a\"{2,1}", "does not ascend", 13},
        {"root ::= \"a\"{99999999999}", "too high", 23},
        {"root ::= \"\\q\"", "not known", 11},
        {"root ::= \"\\ud800\"", "no such character", 16},
        {"root = \"a\"", "'::=' is missing", 5},
        {"root ::= root \"a\" | \"b\"", "begins with itself", 0},
        {"root ::= a | \"x\"\na ::= \"\" b\nb ::= \"q\"? root", "begins with itself", 0},
        {"root ::= (root)* \"a\"", "begins with itself", 0},
        {"root ::= \"a\" root", "never ends", 0},
        {"root ::= <no-such-token>", "no such token", 9},
        {"root ::= <[99999999]>", "no such token", 9},
        {"root ::= \"a\" | \xff", "no part of a rule", 15},
        {NULL, NULL, 0},
    };
    for (size_t i = 0; cases[i].grammar; i++) {
        facet_error error = {0};
        grammar *g = (grammar *)&error;
        facet_status status = grammar_parse_gbnf(&g, &real.names, cases[i].grammar, strlen(cases[i].grammar), &error);
        if (status != FACET_ERROR_FORMAT || !strstr(error.message, cases[i].message) || g)
            fail_msg("%s: %d %s", cases[i].grammar, status, error.message);
        if (cases[i].position && error.position != cases[i].position)
            fail_msg("%s: %s: at %llu", cases[i].grammar, error.message, (unsigned long long)error.position);
    }
}

/* ---- hostile grammars: an end, within bounds */

static buffer repeated(const char *start, const char *middle, size_t n, const char *end) {
    buffer b = {0};
    buffer_text(&b, start);
    for (size_t i = 0; i < n; i++) buffer_text(&b, middle);
    buffer_text(&b, end);
    return b;
}

/* Compiles, and says some tokens if it can; anything but a hang, a crash or an unclear status will do. */
static void assert_bounded(const char *text, size_t n) {
    facet_error error = {0};
    grammar *g;
    facet_status status = grammar_parse_gbnf(&g, &real.names, text, n, &error);
    if (status != FACET_OK) {
        assert_true(status == FACET_ERROR_FORMAT || status == FACET_ERROR_UNSUPPORTED);
        assert_true(error.message[0]);
        return;
    }
    chance c = {1};
    matcher *m;
    status = matcher_new(&m, g, real.trie, real.v, &error);
    for (int i = 0; i < 8 && status == FACET_OK && !matcher_finished(m); i++) {
        const uint64_t *mask;
        status = matcher_mask(m, &mask, &error);
        if (status != FACET_OK) break;
        int32_t id = words_choose(&real, mask, &c, false);
        if (vocab_is_end(real.v, id)) break;
        status = matcher_accept(m, id, &error);
    }
    assert_true(status == FACET_OK || status == FACET_ERROR_BUDGET);
    matcher_free(m);
    grammar_free(g);
}

static void test_hostile(void **state) {
    (void)state;
    static const char *const texts[] = {
        "root ::= \"a\"{1,1000000}",
        "root ::= (\"a\" | \"aa\"){1,1000000}",
        "root ::= (((((\"a\"{0,1000}){0,1000}){0,1000}){0,1000}){0,1000}) \"b\"",
        "root ::= ((((([a-z]*)*)*)*)*)* [a-z]*",
        "root ::= (\"a\"? (\"a\"? (\"a\"? (\"a\"? (\"a\"? (\"a\"? \"b\"?)*)*)*)*)*)*",
        "root ::= ([a-z]+ [a-z]+ [a-z]+ [a-z]+ [a-z]+ [a-z]+)+ \"0\"",
        "root ::= a a a\na ::= \"x\" a a \"y\" | \"x\" a \"y\" | \"x\" a \"z\" | \"x\"",
        "root ::= [a-z]{0,500} [a-z]{0,500} [a-z]{0,500} \"!\"",
        "root ::= (.{0,3000} | \"a\"){0,3000}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) assert_bounded(texts[i], strlen(texts[i]));
    buffer deep[] = {
        repeated("root ::= ", "(", 100000, "\"a\""),        repeated("root ::= ", "(\"a\" | ", 190, "\"b\""),
        repeated("root ::= \"a\"", "+", 200000, ""),        repeated("root ::= \"a\"", "?{2}", 2000, ""),
        repeated("root ::= (", "\"a\"? ", 100000, ")*"),    repeated("root ::= ", "[a-z]? ", 20000, ""),
        repeated("root ::= \"b\"", " | \"a\"", 150000, ""), repeated("root ::= \"a\" ", "[^q] ", 100000, "")};
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        assert_bounded(deep[i].data, deep[i].n);
        buffer_free(&deep[i]);
    }
    buffer chain = {0}; /* rules that call each other in a row */
    buffer_text(&chain, "root ::= r0\n");
    for (int i = 0; i < 20000; i++) {
        char rule[64];
        snprintf(rule, sizeof rule, "r%d ::= r%d | \"a\" r%d\n", i, i + 1, i + 1);
        buffer_text(&chain, rule);
    }
    buffer_text(&chain, "r20000 ::= \"b\"\n");
    assert_bounded(chain.data, chain.n);
    buffer_free(&chain);
}

/* A long text through a small memory: what was forgotten is worked out again. */
static void test_long(void **state) {
    (void)state;
    grammar *g = parse("root ::= \"[\" (root (\",\" root)*)? \"]\" | [0-9]{1,900}");
    matcher *m = words_follow(&tiny, g);
    size_t n = 60000;
    for (size_t i = 0; i < n; i++) assert_int_equal(matcher_accept_bytes(m, "[1234,", 6, NULL), FACET_OK);
    assert_int_equal(matcher_accept_bytes(m, "[", 1, NULL), FACET_OK);
    assert_false(matcher_may_end(m));
    for (size_t i = 0; i <= n; i++) {
        assert_false(matcher_may_end(m));
        assert_int_equal(matcher_accept_bytes(m, "]", 1, NULL), FACET_OK);
    }
    assert_true(matcher_finished(m));
    assert_int_equal(matcher_accept_bytes(m, "]", 1, NULL), FACET_ERROR_ARGUMENT);
    matcher_free(m);
    grammar_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_naive), cmocka_unit_test(test_masks),    cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_tokens),        cmocka_unit_test(test_notation), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_hostile),       cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, open_words, close_words);
}
