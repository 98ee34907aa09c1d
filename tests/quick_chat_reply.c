/* The reply parser: what the model writes, split in reasoning, calls and content, the same at every cut. */
#include "chat/prompt.h"
#include "chat/python.h"
#include "chat/render.h"
#include "chat_json.h"

/* ---- events as one text: R(..) reasoning, C(..) content, T(name {..}) a call; neighbours of a kind are joined */

typedef struct record {
    buffer log;
    buffer plain; /* reasoning and content alone */
    int last;     /* event type, -1 for none */
} record;

static void on_event(void *ctx, const facet_reply_event *event) {
    record *r = ctx;
    assert_int_equal(strlen(event->text) <= event->n_bytes, 1);
    assert_int_equal(event->text[event->n_bytes], '\0');
    assert_true(event->n_bytes > 0);
    if (event->type == FACET_REPLY_TOOL_CALL) {
        size_t n;
        char *json = facet_value_to_json(event->arguments, &n);
        assert_int_equal(n, event->n_bytes);
        assert_memory_equal(json, event->text, n);
        facet_free(json);
        if (r->last >= 0 && r->last != FACET_REPLY_TOOL_CALL) buffer_byte(&r->log, ')');
        buffer_text(&r->log, "T(");
        buffer_append(&r->log, event->name, event->name_bytes);
        buffer_byte(&r->log, ' ');
        buffer_append(&r->log, event->text, event->n_bytes);
        buffer_byte(&r->log, ')');
    } else {
        assert_null(event->name);
        assert_null(event->arguments);
        if (r->last != (int)event->type) {
            if (r->last >= 0 && r->last != FACET_REPLY_TOOL_CALL) buffer_byte(&r->log, ')');
            buffer_text(&r->log, event->type == FACET_REPLY_CONTENT ? "C(" : "R(");
        }
        buffer_append(&r->log, event->text, event->n_bytes);
        buffer_append(&r->plain, event->text, event->n_bytes);
    }
    r->last = (int)event->type;
}

static void record_end(record *r) {
    if (r->last >= 0 && r->last != FACET_REPLY_TOOL_CALL) buffer_byte(&r->log, ')');
    if (!r->log.data) buffer_text(&r->log, "");
}

static void record_free(record *r) {
    buffer_free(&r->log);
    buffer_free(&r->plain);
}

/* ---- input: pieces with flags */

typedef struct piece {
    const char *text;
    size_t n;
    bool control;
} piece;

typedef struct pieces {
    piece at[256];
    size_t n;
} pieces;

static const char *const spellings[] = {"<|channel>", "<channel|>",       "<|tool_call>", "<tool_call|>", "<|\"|>",
                                        "<turn|>",    "<|tool_response>", "<eos>",        "<|image|>"};
enum { N_SPELLINGS = sizeof spellings / sizeof *spellings };

static size_t spelling_at(const char *text, size_t n) {
    for (size_t i = 0; i < N_SPELLINGS; i++) {
        size_t length = strlen(spellings[i]);
        if (length <= n && memcmp(spellings[i], text, length) == 0) return length;
    }
    return 0;
}

/* The text cut at its control spellings, which are flagged. */
static pieces flagged(const char *text) {
    pieces p = {0};
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        size_t length = spelling_at(text + i, n - i), start = i;
        bool control = length > 0;
        if (!control) {
            while (i < n && !spelling_at(text + i, n - i)) i++;
            length = i - start;
        } else {
            i += length;
        }
        assert_true(p.n < 256);
        p.at[p.n++] = (piece){text + start, length, control};
    }
    return p;
}

/* Feeds pieces; texts are cut in two at `cut` (counted over all text bytes), or bytewise where cut is SIZE_MAX. */
static record read_pieces(const pieces *p, const facet_prompt *prompt, const facet_value *tools, size_t cut) {
    record r = {.last = -1};
    facet_reply_parser *parser;
    facet_error error = {0};
    assert_ok(facet_reply_parser_new(&parser, prompt, tools, on_event, &r, &error), &error);
    size_t at = 0;
    for (size_t i = 0; i < p->n; i++) {
        const piece *x = &p->at[i];
        size_t start = 0;
        for (size_t k = 1; k < x->n && !x->control; k++) {
            if (cut != SIZE_MAX && at + k != cut) continue;
            assert_int_equal(facet_reply_parser_push(parser, x->text + start, k - start, false), FACET_OK);
            start = k;
        }
        assert_int_equal(facet_reply_parser_push(parser, x->text + start, x->n - start, x->control), FACET_OK);
        at += x->n;
    }
    assert_int_equal(facet_reply_parser_finish(parser), FACET_OK);
    facet_reply_parser_free(parser);
    record_end(&r);
    return r;
}

/* Every cut in two, and byte by byte, must give `expected`. */
static void check_pieces(const pieces *p, const facet_prompt *prompt, const facet_value *tools,
                         const char *expected) {
    size_t total = 0;
    for (size_t i = 0; i < p->n; i++) total += p->at[i].n;
    for (size_t cut = 0; cut <= total; cut++) {
        record r = read_pieces(p, prompt, tools, cut == total ? SIZE_MAX : cut);
        if (strcmp(r.log.data, expected) != 0) {
            fail_msg("cut %zu of %.*s: expected %s, read %s", cut, (int)p->at[0].n, p->at[0].text, expected,
                     r.log.data);
        }
        record_free(&r);
    }
}

static void check_text(const char *text, const char *expected) {
    pieces p = {.at = {{text, strlen(text), false}}, .n = 1};
    check_pieces(&p, NULL, NULL, expected);
}

static void check_flagged(const char *text, const char *expected) {
    pieces p = flagged(text);
    check_pieces(&p, NULL, NULL, expected);
}

/* The same whether tokens are flagged or come as text. */
static void check_both(const char *text, const char *expected) {
    check_text(text, expected);
    check_flagged(text, expected);
}

#define Q          "<|\"|>"
#define CALL(body) "<|tool_call>call:" body "<tool_call|>"

static void test_content(void **state) {
    (void)state;
    check_both("", "");
    check_both("Hello, world.\n", "C(Hello, world.\n)");
    check_both("a < b <| c <|chan <channel <|tool_call", "C(a < b <| c <|chan <channel <|tool_call)");
    check_both("<<<|<<|", "C(<<<|<<|)");
    check_both("h\xc3\xa9 \xe4\xbd\xa0\xf0\x9f\x91\x8b", "C(h\xc3\xa9 \xe4\xbd\xa0\xf0\x9f\x91\x8b)");
    check_both("done<turn|>", "C(done)");
    check_both("done<turn|>\n", "C(done)");
    check_both("done<eos>", "C(done)");
    check_both("<turn|>", "");
    check_both("stray <channel|> and <tool_call|> and " Q "!", "C(stray <channel|> and <tool_call|> and " Q "!)");
    check_text("the <eos> token", "C(the <eos> token)");
    check_text("a<turn|>\nb<turn|>", "C(a<turn|>\nb)");
    check_flagged("a<turn|>\nb<turn|>", "C(a\nb)");
    check_flagged("an <|image|> token", "C(an <|image|> token)");
}

static void test_thoughts(void **state) {
    (void)state;
    check_both("<|channel>thought\nhmm\n<channel|>Yes.", "R(hmm)C(Yes.)");
    check_both("<|channel>thought\n\nhmm\n\n<channel|>\nYes.", "R(\nhmm\n)C(\nYes.)");
    check_both("<|channel>thought\n<channel|>Yes.", "C(Yes.)");
    check_both("<|channel>thought<channel|>Yes.", "C(Yes.)");
    check_both("<|channel>thought\n\n<channel|>Yes.", "C(Yes.)");
    check_both("<|channel>thought\na<channel|>", "R(a)");
    check_both("<|channel>thought\na\n<channel|>b<|channel>thought\nc\n<channel|>d<turn|>", "R(a)C(b)R(c)C(d)");
    check_both("<|channel>thought\na <|channel> b\n<channel|>c", "R(a <|channel> b)C(c)");
    check_both("<|channel>thought\nnever closed\n", "R(never closed\n)");
    check_both("<|channel>thought\nnever closed<turn|>", "R(never closed)");
    check_both("<|channel>final\nx<channel|>", "C(<|channel>final\nx<channel|>)");
    check_both("<|channel>thoughtful\n<channel|>x", "C(<|channel>thoughtful\n<channel|>x)");
    check_both("<|channel>", "C(<|channel>)");
    check_both("<|channel>thought", "C(<|channel>thought)");
    check_both("<|channel><|channel>thought\na\n<channel|>b", "C(<|channel>)R(a)C(b)");
    check_both("<|channel>tho<|channel>thought\na<channel|>", "C(<|channel>tho)R(a)");
}

static void test_calls(void **state) {
    (void)state;
    check_both(CALL("f{}"), "T(f {})");
    check_both(CALL("f{a:1}"), "T(f {\"a\":1})");
    check_both(CALL("get_weather{city:" Q "Oslo" Q ",days:3}") "<|tool_response>",
               "T(get_weather {\"city\":\"Oslo\",\"days\":3})");
    check_both(CALL("f{}") CALL("g{b:true,a:null}"), "T(f {})T(g {\"b\":true,\"a\":null})");
    check_both("Look: " CALL("f{}") " there", "C(Look: )T(f {})C( there)");
    check_both("<|channel>thought\nhm\n<channel|>" CALL("f{x:-1.5e3}") "ok", "R(hm)T(f {\"x\":-1.5e3})C(ok)");
    check_both(CALL("f{s:" Q "a\"b{c}[d]:,e\\\n" Q "}"), "T(f {\"s\":\"a\\\"b{c}[d]:,e\\\\\\n\"})");
    check_both(CALL("f{o:{b:[1,{c:" Q Q "},[]],d:{}},e:false}"),
               "T(f {\"o\":{\"b\":[1,{\"c\":\"\"},[]],\"d\":{}},\"e\":false})");
    check_both(CALL("f{a:hello world,b:12:30,c:1.,d:+5,e:NaN,f:True,g:01}"),
               "T(f {\"a\":\"hello "
               "world\",\"b\":\"12:30\",\"c\":\"1.\",\"d\":\"+5\",\"e\":\"NaN\",\"f\":\"True\",\"g\":\"01\"})");
    check_both(CALL("f{ a b,{c}[]\"\n:1}"), "T(f {\" a b,{c}[]\\\"\\n\":1})");
    check_both(CALL("f{:1,\xc3\xa9:2}"), "T(f {\"\":1,\"\xc3\xa9\":2})");
    check_both(CALL("f{" Q "a:b" Q ":1, " Q "c" Q " : " Q "d" Q " }"), "T(f {\"a:b\":1,\"c\":\"d\"})");
    check_both(CALL("f{a: 1 ,b: [ 1 , " Q "x" Q " ] }\n"), "T(f {\"a\":1,\"b\":[1,\"x\"]})");
    check_both(CALL("f{ }"), "T(f {})");
    check_both(CALL("f{a:1,a:2}"), "T(f {\"a\":2})");
    check_both(CALL("f{a:123456789012345678901234567890}"), "T(f {\"a\":123456789012345678901234567890})");
}

static void test_malformed_calls_are_content(void **state) {
    (void)state;
    static const char *const texts[] = {
        "<|tool_call>",
        "<|tool_call>call",
        "<|tool_call>call:f{a:1}",
        "<|tool_call>call:f{a:" Q "open} and on",
        "<|tool_call>nonsense<tool_call|>",
        CALL("{}"),
        CALL("f"),
        CALL("f{"),
        CALL("f{a}"),
        CALL("f{a:}"),
        CALL("f{a:1"),
        CALL("f{a:1,}"),
        CALL("f{a:[1}"),
        CALL("f{a:[1,]}"),
        CALL("f{a:{b:1}"),
        CALL("f{a:1}}"),
        CALL("f{a:1}x"),
        CALL("f{a:" Q "x" Q "y}"),
        CALL("f{a:x" Q "y" Q "}"),
        CALL("f{a" Q ":1}"),
        CALL("f{" Q "a" Q "b:1}"),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char expected[256];
        snprintf(expected, sizeof expected, "C(%s)", texts[i]);
        check_both(texts[i], expected);
    }
    check_both("<|tool_call>call:f{<|tool_call>call:g{}<tool_call|>", "C(<|tool_call>call:f{)T(g {})");
    check_both("<|tool_call>x<|channel>thought\na\n<channel|>b", "C(<|tool_call>x)R(a)C(b)");
    check_both("<|tool_call>call:f{a:1<turn|>", "C(<|tool_call>call:f{a:1)");
    check_flagged("<|tool_call>call:f{a:" Q "never closed}<tool_call|>x",
                  "C(<|tool_call>call:f{a:" Q "never closed}<tool_call|>x)");
    check_flagged(CALL("f{a:" Q "an <|image|>" Q "}"), "C(" CALL("f{a:" Q "an <|image|>" Q "}") ")");
}

/* Once tokens are flagged, spellings in text are text. */
static void test_flags(void **state) {
    (void)state;
    const pieces quoted = {.at = {{"<|tool_call>", 12, true},
                                  {"call:f{a:", 9, false},
                                  {Q, 5, true},
                                  {"x" Q "<tool_call|><|channel>", 28, false},
                                  {Q, 5, true},
                                  {"}", 1, false},
                                  {"<tool_call|>", 12, true},
                                  {"<|tool_call>call:g{}<tool_call|><eos>", 37, false}},
                           .n = 8};
    check_pieces(&quoted, NULL, NULL,
                 "T(f {\"a\":\"x<|\\\"|><tool_call|><|channel>\"})C(<|tool_call>call:g{}<tool_call|><eos>)");
    const pieces thought = {.at = {{"<|channel>", 10, true},
                                   {"thought\nsay <channel|>\n", 23, false},
                                   {"<channel|>", 10, true},
                                   {"<|channel>thought\nx", 19, false}},
                            .n = 4};
    check_pieces(&thought, NULL, NULL, "R(say <channel|>)C(<|channel>thought\nx)");
    const pieces mixed = {.at = {{"<|tool_call>call:f{a:<|\"|>x", 27, false},
                                 {Q, 5, true},
                                 {"}", 1, false},
                                 {"<tool_call|>", 12, true}},
                          .n = 4};
    check_pieces(&mixed, NULL, NULL, "T(f {\"a\":\"x\"})");
    const pieces inside = {.at = {{"<|channel>", 10, true},
                                  {"thought\nlet me\n", 15, false},
                                  {"<|tool_call>", 12, true},
                                  {"call:f{}", 8, false},
                                  {"<tool_call|>", 12, true},
                                  {"<|tool_response>", 16, true}},
                           .n = 6};
    check_pieces(&inside, NULL, NULL, "R(let me\n)T(f {})");
}

static void test_opened_by_the_prompt(void **state) {
    (void)state;
    const struct facet_prompt open = {.opens_thought = true}, closed = {0};
    pieces p = flagged("go on\n<channel|>done<turn|>");
    check_pieces(&p, &open, NULL, "R(go on)C(done)");
    check_pieces(&p, &closed, NULL, "C(go on\n<channel|>done)");
    pieces text = {.at = {{"go on\n<channel|>done<turn|>", 27, false}}, .n = 1};
    check_pieces(&text, &open, NULL, "R(go on)C(done)");
}

static void test_declared_names(void **state) {
    (void)state;
    facet_value *tools = value_of_text(
        "[{'type':'function','function':{'name':'f','parameters':{'type':'object','properties':{"
        "'a:b':{'type':'string'},'a:b:c d':{},'a':{},'sp':{},'o':{'type':'object','properties':{'x:y':{}}},"
        "'l':{'type':'array','items':{'type':'object','properties':{'p:q':{}}}}}}}}]");
    static const char *const cases[][2] = {
        {CALL("f{a:b:1}"), "T(f {\"a:b\":1})"},
        {CALL("f{a:b}"), "T(f {\"a\":\"b\"})"},
        {CALL("f{a:b:c d:1,a:2}"), "T(f {\"a:b:c d\":1,\"a\":2})"},
        {CALL("f{a:b:c e:1}"), "T(f {\"a:b\":\"c e:1\"})"},
        {CALL("f{a:" Q "b:" Q "}"), "T(f {\"a\":\"b:\"})"},
        {CALL("f{a:b:" Q "b:" Q "}"), "T(f {\"a:b\":\"b:\"})"},
        {CALL("f{a:1,a:b:2,a:3,sp:4}"), "T(f {\"a\":3,\"a:b\":2,\"sp\":4})"},
        {CALL("f{ sp : 1,\n a:b:2}"), "T(f {\"sp\":1,\"a\":\"b:2\"})"},
        {CALL("f{o:{x:y:1,a:b:2}}"), "T(f {\"o\":{\"x:y\":1,\"a\":\"b:2\"}})"},
        {CALL("f{l:[{p:q:1},{p:q:2,x:y:3}]}"), "T(f {\"l\":[{\"p:q\":1},{\"p:q\":2,\"x\":\"y:3\"}]})"},
        {CALL("g{a:b:1}"), "T(g {\"a\":\"b:1\"})"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pieces text = {.at = {{cases[i][0], strlen(cases[i][0]), false}}, .n = 1}, tokens = flagged(cases[i][0]);
        check_pieces(&text, NULL, tools, cases[i][1]);
        check_pieces(&tokens, NULL, tools, cases[i][1]);
    }
    facet_value_free(tools);
}

/* What may not become format leaves at once. */
static void test_streams_early(void **state) {
    (void)state;
    record r = {.last = -1};
    facet_reply_parser *parser;
    assert_int_equal(facet_reply_parser_new(&parser, NULL, NULL, on_event, &r, NULL), FACET_OK);
    facet_reply_parser_push(parser, "Hi", 2, false);
    assert_string_equal(r.plain.data, "Hi");
    facet_reply_parser_push(parser, " a<", 3, false);
    assert_string_equal(r.plain.data, "Hi a");
    facet_reply_parser_push(parser, "b", 1, false);
    assert_string_equal(r.plain.data, "Hi a<b");
    facet_reply_parser_push(parser, "<|channel>", 10, true);
    facet_reply_parser_push(parser, "thought\nso", 10, false);
    assert_string_equal(r.plain.data, "Hi a<bso");
    facet_reply_parser_push(parser, "\n", 1, false);
    assert_string_equal(r.plain.data, "Hi a<bso");
    facet_reply_parser_push(parser, "<", 1, false); /* tokens are flagged here: this is text */
    assert_string_equal(r.plain.data, "Hi a<bso\n<");
    facet_reply_parser_free(parser); /* unfinished */
    record_free(&r);
    facet_error error;
    assert_int_equal(facet_reply_parser_new(&parser, NULL, NULL, NULL, NULL, &error), FACET_ERROR_ARGUMENT);
    assert_null(parser);
}

/* ---- random input */

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> 11;
}

static const char *const fragments[] = {"<|tool_call>",
                                        "call:",
                                        "call:f{",
                                        "a:",
                                        "1",
                                        ",",
                                        "{",
                                        "[",
                                        "]",
                                        "x",
                                        "\n",
                                        " ",
                                        "<",
                                        "<|",
                                        "|>",
                                        "<|channel>",
                                        "thought",
                                        "\xc3\xa9",
                                        "\xff",
                                        ":",
                                        "<|image|>",
                                        Q,
                                        "}", /* from here on: what completes a construct */
                                        "thought\n",
                                        "<channel|>",
                                        "<tool_call|>",
                                        "<turn|>",
                                        "<eos>"};
enum { N_FRAGMENTS = sizeof fragments / sizeof *fragments, N_OPEN_FRAGMENTS = N_FRAGMENTS - 5 };

static void random_text(buffer *b, uint64_t *seed, size_t n_fragments) {
    for (size_t n = 1 + next_random(seed) % 24; n--;) buffer_text(b, fragments[next_random(seed) % n_fragments]);
}

/* Without anything that completes a construct no byte is format. ("thought\n" cannot arise: see the loop.) */
static void test_no_byte_is_lost(void **state) {
    (void)state;
    uint64_t seed = 42;
    for (size_t i = 0; i < 2000; i++) {
        buffer b = {0};
        random_text(&b, &seed, N_OPEN_FRAGMENTS);
        if (strstr(b.data, "thought\n")) b.n = (size_t)(strstr(b.data, "thought\n") - b.data);
        b.data[b.n] = '\0';
        pieces text = {.at = {{b.data, b.n, false}}, .n = 1}, tokens = flagged(b.data);
        for (size_t k = 0; k < 4; k++) {
            record r = read_pieces(k & 1 ? &tokens : &text, NULL, NULL, k & 2 ? SIZE_MAX : 0);
            assert_int_equal(r.plain.n, b.n);
            if (b.n) assert_memory_equal(r.plain.data, b.data, b.n);
            record_free(&r);
        }
        buffer_free(&b);
    }
}

/* Everything mixed: the same at every cut, and what comes out comes in that order in the input. */
static void test_garbage_at_every_cut(void **state) {
    (void)state;
    uint64_t seed = 7;
    for (size_t i = 0; i < 500; i++) {
        buffer b = {0};
        random_text(&b, &seed, N_FRAGMENTS);
        pieces text = {.at = {{b.data, b.n, false}}, .n = 1}, tokens = flagged(b.data);
        record whole = read_pieces(&text, NULL, NULL, 0), whole_tokens = read_pieces(&tokens, NULL, NULL, 0);
        check_pieces(&text, NULL, NULL, whole.log.data);
        check_pieces(&tokens, NULL, NULL, whole_tokens.log.data);
        const char *at = b.data;
        for (size_t k = 0; k < whole.plain.n; k++) {
            at = memchr(at, whole.plain.data[k], (size_t)(b.data + b.n - at));
            assert_non_null(at);
            at++;
        }
        record_free(&whole);
        record_free(&whole_tokens);
        buffer_free(&b);
    }
}

/* A megabyte of anything: linear work, or this never ends. */
static void test_long_input(void **state) {
    (void)state;
    static const char *const units[] = {"<|tool_call>",
                                        "{",
                                        "<|channel>",
                                        "<",
                                        "<|",
                                        ("<|tool_call>call:f{a:" Q),
                                        "<|tool_call>call:f{a:[[[[",
                                        "<|channel>thought",
                                        "a:",
                                        "}",
                                        Q,
                                        "<|channel>tho",
                                        "<tool_call|>",
                                        "<channel|>",
                                        "<|tool_call>call:f{a:1,",
                                        "\n",
                                        "<turn|>x"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        for (int control = 0; control < 2; control++) {
            record r = {.last = -1};
            facet_reply_parser *parser;
            assert_int_equal(facet_reply_parser_new(&parser, NULL, NULL, on_event, &r, NULL), FACET_OK);
            size_t n = strlen(units[i]), total = 0;
            pieces p = flagged(units[i]);
            for (; total < 1 << 20; total += n) {
                for (size_t k = 0; k < (control ? p.n : 1); k++) {
                    const piece whole = {units[i], n, false}, *x = control ? &p.at[k] : &whole;
                    assert_int_equal(facet_reply_parser_push(parser, x->text, x->n, x->control), FACET_OK);
                }
            }
            assert_int_equal(facet_reply_parser_finish(parser), FACET_OK);
            facet_reply_parser_free(parser);
            bool has_end = strstr(units[i], "<turn|>") != NULL;
            if (!has_end) assert_int_equal(r.plain.n, total);
            record_free(&r);
        }
    }
}

static void test_depth(void **state) {
    (void)state;
    buffer b = {0};
    buffer_text(&b, "<|tool_call>call:f{a:");
    for (size_t i = 0; i < 100000; i++) buffer_byte(&b, '[');
    for (size_t i = 0; i < 100000; i++) buffer_byte(&b, ']');
    buffer_text(&b, "}<tool_call|>");
    pieces p = {.at = {{b.data, b.n, false}}, .n = 1};
    record r = read_pieces(&p, NULL, NULL, 0);
    assert_int_equal(r.plain.n, b.n);
    assert_memory_equal(r.plain.data, b.data, b.n);
    record_free(&r);
    buffer_free(&b);
}

/* ---- what was rendered is read back */

static bool same_value(const facet_value *a, const facet_value *b);

static bool same_members(const facet_value *a, const facet_value *b) {
    if (facet_value_count(a) != facet_value_count(b)) return false;
    for (size_t i = 0; i < facet_value_count(a); i++) {
        size_t n;
        const char *key = facet_value_key(a, i, &n);
        const facet_value *other = key ? value_get(b, key, n) : facet_value_at(b, i);
        if (!other || !same_value(facet_value_at(a, i), other)) return false;
    }
    return true;
}

/* Equal up to the order of keys and the spelling of numbers. */
static bool same_value(const facet_value *a, const facet_value *b) {
    if (facet_value_typeof(a) != facet_value_typeof(b)) return false;
    buffer x = {0}, y = {0};
    if (facet_value_count(a) + facet_value_count(b)) return same_members(a, b);
    python_str(&x, a);
    python_str(&y, b);
    bool same = x.n == y.n && (x.n == 0 || memcmp(x.data, y.data, x.n) == 0);
    buffer_free(&x);
    buffer_free(&y);
    return same;
}

static const char *const words[] = {"a",          "city", "x y",     "",         "<|\"|>",  "<tool_call|>",
                                    "<|channel>", "{",    "]",       "1",        "true",    "null",
                                    ",",          "\"",   "\n",      "\xc3\xa9", "a:b",     "}",
                                    " sp ",       "-0.5", "<turn|>", "'",        "call:f{}"};
enum { N_WORDS = sizeof words / sizeof *words };

static void random_string(buffer *b, uint64_t *seed, size_t n) {
    buffer_text(b, "");
    while (n--) buffer_text(b, words[next_random(seed) % N_WORDS]);
}

static facet_value *random_value(uint64_t *seed, size_t depth);

/* A key without a colon that does not look like the end of an object; some of the declared ones have a colon. */
static void random_key(buffer *b, uint64_t *seed) {
    static const char *const declared[] = {"a:b", "a:b:c", "x", "p,q:r"};
    if (next_random(seed) % 3 == 0) {
        buffer_text(b, declared[next_random(seed) % 4]);
        return;
    }
    buffer_text(b, "k");
    random_string(b, seed, next_random(seed) % 3);
    for (char *c = b->data; *c; c++) {
        if (*c == ':') *c = ';';
    }
}

static facet_value *random_object(uint64_t *seed, size_t depth) {
    facet_value *object = facet_value_object();
    for (size_t n = next_random(seed) % 4; n--;) {
        buffer key = {0};
        random_key(&key, seed);
        if (depth && memchr(key.data, ':', key.n)) key.n = 1; /* nothing is declared in there */
        facet_value_set(object, key.data, key.n, random_value(seed, depth + 1));
        buffer_free(&key);
    }
    return object;
}

static facet_value *random_value(uint64_t *seed, size_t depth) {
    static const char *const numbers[] = {"0", "-0", "17", "1.50", "1E5", "1e-7", "-3", "123456789012345678901"};
    buffer b = {0};
    facet_value *value;
    switch (next_random(seed) % (depth < 4 ? 7 : 5)) {
    case 0: return facet_value_null();
    case 1: return facet_value_bool(next_random(seed) & 1);
    case 2: {
        const char *number = numbers[next_random(seed) % 8];
        return facet_value_number(number, strlen(number));
    }
    case 5: return random_object(seed, depth);
    case 6:
        value = facet_value_array();
        for (size_t n = next_random(seed) % 4; n--;) facet_value_append(value, random_value(seed, depth + 1));
        return value;
    default:
        random_string(&b, seed, next_random(seed) % 4);
        value = facet_value_string(b.data, b.n);
        buffer_free(&b);
        return value;
    }
}

static void set(facet_value *object, const char *key, facet_value *item) {
    assert_int_equal(facet_value_set(object, key, strlen(key), item), FACET_OK);
}

static facet_value *random_text_value(uint64_t *seed, buffer *keep) {
    random_string(keep, seed, 1 + next_random(seed) % 4);
    return facet_value_string(keep->data, keep->n);
}

typedef struct expectation {
    buffer reasoning, content; /* read */
    facet_value *calls;        /* array of {name, arguments} */
} expectation;

static void on_expected(void *ctx, const facet_reply_event *event) {
    expectation *e = ctx;
    if (event->type == FACET_REPLY_CONTENT) buffer_append(&e->content, event->text, event->n_bytes);
    if (event->type == FACET_REPLY_REASONING) buffer_append(&e->reasoning, event->text, event->n_bytes);
    if (event->type != FACET_REPLY_TOOL_CALL) return;
    facet_value *call = facet_value_object();
    set(call, "name", facet_value_string(event->name, event->name_bytes));
    set(call, "arguments", value_copy(event->arguments));
    facet_value_append(e->calls, call);
}

/* Feeds the spans of the model's turn, texts in random pieces. */
static void feed(facet_reply_parser *parser, const chat_spans *spans, uint64_t *seed) {
    size_t first = 1;
    while (!spans->spans[first - 1].control || memcmp(spans->text.data + spans->spans[first].start, "model\n", 6))
        first++;
    for (size_t i = first; i < spans->n; i++) {
        chat_span span = spans->spans[i];
        if (i == first) span.start += 6, span.n_bytes -= 6;
        const char *text = spans->text.data + span.start;
        while (span.n_bytes) {
            size_t n = span.control ? span.n_bytes : 1 + next_random(seed) % span.n_bytes;
            assert_int_equal(facet_reply_parser_push(parser, text, n, span.control), FACET_OK);
            text += n;
            span.n_bytes -= n;
        }
    }
    assert_int_equal(facet_reply_parser_finish(parser), FACET_OK);
}

static void check_text_equal(const buffer *read, const char *text, size_t n) {
    assert_int_equal(read->n, n);
    if (n) assert_memory_equal(read->data, text, n);
}

static void test_rendered_is_read_back(void **state) {
    (void)state;
    facet_value *tools = value_of_text("[{'type':'function','function':{'name':'f','parameters':{'type':'object',"
                                       "'properties':{'a:b':{},'a:b:c':{},'x':{},'p,q:r':{}}}}}]");
    uint64_t seed = 99;
    for (size_t i = 0; i < 1000; i++) {
        buffer reasoning = {0}, content = {0};
        facet_value *messages = facet_value_array(), *message = facet_value_object(), *calls = facet_value_array();
        set(message, "role", facet_value_string("assistant", 9));
        /* a thought comes first, so that the flags are known before the content */
        set(message, "reasoning_content", random_text_value(&seed, &reasoning));
        if (reasoning.n == 0)
            set(message, "reasoning_content", facet_value_string("x", (buffer_byte(&reasoning, 'x'), 1)));
        set(message, "content", random_text_value(&seed, &content));
        for (size_t n = next_random(&seed) % 3; n--;) {
            facet_value *call = facet_value_object(), *function = facet_value_object();
            set(function, "name", facet_value_string("f", 1));
            set(function, "arguments", random_object(&seed, 0));
            set(call, "function", function);
            facet_value_append(calls, call);
        }
        set(message, "tool_calls", value_copy(calls));
        facet_value_append(messages, message);
        facet_chat chat;
        facet_chat_defaults(&chat);
        chat.messages = messages;
        chat.add_generation_prompt = false;
        chat_spans spans = {0};
        facet_error error = {0};
        assert_ok(chat_render(FACET_CHAT_SMALL, &chat, &spans, &error), &error);

        expectation e = {.calls = facet_value_array()};
        facet_reply_parser *parser;
        assert_ok(facet_reply_parser_new(&parser, NULL, tools, on_expected, &e, &error), &error);
        feed(parser, &spans, &seed);
        check_text_equal(&e.reasoning, reasoning.data, reasoning.n);
        const char *stripped = content.data, *thought = strstr(content.data, "<|channel>");
        size_t n = thought ? (size_t)(thought - content.data) : content.n;
        python_trim(&stripped, &n);
        check_text_equal(&e.content, stripped, n);
        assert_int_equal(facet_value_count(e.calls), facet_value_count(calls));
        for (size_t k = 0; k < facet_value_count(calls); k++) {
            const facet_value *function = facet_value_get(facet_value_at(calls, k), "function");
            if (!same_value(function, facet_value_at(e.calls, k))) fail_msg("message %zu: %s", i, spans.text.data);
        }
        facet_reply_parser_free(parser);
        facet_value_free(e.calls);
        facet_value_free(calls);
        facet_value_free(messages);
        buffer_free(&e.reasoning);
        buffer_free(&e.content);
        buffer_free(&reasoning);
        buffer_free(&content);
        spans_free(&spans);
    }
    facet_value_free(tools);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_thoughts),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_malformed_calls_are_content),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_opened_by_the_prompt),
        cmocka_unit_test(test_declared_names),
        cmocka_unit_test(test_streams_early),
        cmocka_unit_test(test_no_byte_is_lost),
        cmocka_unit_test(test_garbage_at_every_cut),
        cmocka_unit_test(test_long_input),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_rendered_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
