/* Streaming decode: UTF-8 is never split, ill-formed bytes become U+FFFD as the Unicode standard counts them, and the
 * stream is the same text as the whole. */
#include "support.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "quick_token_image.h"
#include "token/decoder.h"

enum { BOS = 256, TURN, WORD, SPACED, EURO };
static const image_token tokens[] = {
    {"<bos>", 3}, {"<|turn>", 4}, {"word", 1}, {"\xe2\x96\x81spaced\xe2\x96\x81", 4}, {"\xe2\x82\xac", 1}};

typedef struct fixture {
    image_file file;
    vocab *v;
} fixture;

static int set_up(void **state) {
    static fixture f;
    image im = {.model = "gemma4",
                .bytes = true,
                .tokens = tokens,
                .n_tokens = sizeof tokens / sizeof *tokens,
                .merges = (const char *const[]){"a b"},
                .n_merges = 1,
                .bos = -1,
                .eos = -1};
    facet_error error = {0};
    assert_ok(image_open(&f.file, &im, &error), &error);
    assert_ok(vocab_new(&f.v, f.file.file, &error), &error);
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    vocab_free(f->v);
    image_close(&f->file);
    return 0;
}

static void expect_text(const fixture *f, const int32_t *ids, size_t n, bool show, const char *text) {
    facet_error error = {0};
    buffer out = {0};
    assert_ok(vocab_decode(f->v, ids, n, show, &out, &error), &error);
    assert_string_equal(out.data, text);
    buffer_free(&out);
}

static void expect_bytes(const fixture *f, const char *bytes, const char *text) {
    int32_t ids[32];
    size_t n = strlen(bytes);
    for (size_t i = 0; i < n; i++) ids[i] = (uint8_t)bytes[i];
    expect_text(f, ids, n, false, text);
}

#define R "\xef\xbf\xbd"

/* The first cases are tables 3-8 to 3-11 of the Unicode standard, version 15. */
static void ill_formed_bytes_are_replaced_by_maximal_subparts(void **state) {
    expect_bytes(*state, "\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", R R R R R R R R "A");
    expect_bytes(*state, "\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", R R R R R R R R "A");
    expect_bytes(*state, "\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", R R R R R "A" R R "B");
    expect_bytes(*state, "\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", R R R R "A");
    expect_bytes(*state, "\xf0\x9f\x91\x8b", "\xf0\x9f\x91\x8b");
    expect_bytes(*state, "\xf0\x9f\x91", R);
    expect_bytes(*state, "\xe2\x82\xe2\x82\xac", R "\xe2\x82\xac");
    expect_bytes(*state, "\xe2", R);
    expect_bytes(*state, "", "");
}

static void tokens_give_their_text(void **state) {
    static const int32_t ids[] = {BOS, TURN, WORD, SPACED, EURO, '\n', 0xe2, 0x82, 0xac};
    expect_text(*state, ids, 9, false, "word spaced \xe2\x82\xac\n\xe2\x82\xac");
    expect_text(*state, ids, 9, true, "<bos><|turn>word spaced \xe2\x82\xac\n\xe2\x82\xac");
}

static void a_control_token_ends_a_character(void **state) {
    static const int32_t ids[] = {0xe2, 0x82, TURN, 0xac};
    expect_text(*state, ids, 4, false, R R);
    expect_text(*state, ids, 4, true, R "<|turn>" R);
}

static void characters_are_held_until_complete(void **state) {
    const fixture *f = *state;
    facet_error error = {0};
    decoder d;
    decoder_init(&d, f->v, false);
    static const int32_t ids[] = {0xf0, 0x9f, 0x91, 0x8b, WORD, 0xe2, WORD, 0xe2};
    static const char *const texts[] = {"", "", "", "\xf0\x9f\x91\x8b", "word", "", R "word", ""};
    const char *text;
    size_t n;
    for (size_t i = 0; i < 8; i++) {
        assert_ok(decoder_push(&d, ids[i], &text, &n, &error), &error);
        assert_string_equal(text, texts[i]);
        assert_int_equal(n, strlen(text));
    }
    assert_ok(decoder_finish(&d, &text, &n, &error), &error);
    assert_string_equal(text, R);
    assert_ok(decoder_finish(&d, &text, &n, &error), &error);
    assert_string_equal(text, "");
    assert_ok(decoder_push(&d, 0x82, &text, &n, &error), &error);
    assert_string_equal(text, R);
    decoder_free(&d);
}

static void ids_out_of_range_change_nothing(void **state) {
    const fixture *f = *state;
    facet_error error = {0};
    decoder d;
    decoder_init(&d, f->v, true);
    const char *text;
    size_t n;
    assert_ok(decoder_push(&d, 0xc3, &text, &n, &error), &error);
    assert_int_equal(decoder_push(&d, -1, &text, &n, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(decoder_push(&d, vocab_size(f->v), &text, &n, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(n, 0);
    assert_ok(decoder_push(&d, 0xa9, &text, &n, &error), &error);
    assert_string_equal(text, "\xc3\xa9");
    decoder_free(&d);
}

/* Random bytes and tokens: every piece is UTF-8 by itself, together they are the text of the whole, and hiding
 * control tokens removes their spellings and nothing else. */
static void streams_are_utf8_and_complete(void **state) {
    const fixture *f = *state;
    static const int32_t choice[] = {0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x91, 0xc3, 0xa9,
                                     0x41, 0xff, 0xed, 0xa0, WORD, EURO, BOS};
    facet_error error = {0};
    uint32_t seed = 7;
    for (int round = 0; round < 3000; round++) {
        int32_t ids[24];
        buffer whole = {0}, pieces = {0}, hidden = {0};
        decoder d;
        decoder_init(&d, f->v, true);
        const char *text;
        size_t n;
        for (size_t i = 0; i < 24; i++) {
            seed = seed * 1664525u + 1013904223u;
            ids[i] = choice[(seed >> 8) % (sizeof choice / sizeof *choice)];
            assert_ok(decoder_push(&d, ids[i], &text, &n, &error), &error);
            assert_int_equal(utf8_invalid(text, n), n);
            buffer_append(&pieces, text, n);
        }
        assert_ok(decoder_finish(&d, &text, &n, &error), &error);
        buffer_append(&pieces, text, n);
        assert_ok(vocab_decode(f->v, ids, 24, true, &whole, &error), &error);
        assert_string_equal(whole.data, pieces.data);
        assert_ok(vocab_decode(f->v, ids, 24, false, &hidden, &error), &error);
        for (char *at; (at = strstr(whole.data, "<bos>"));) memmove(at, at + 5, strlen(at + 5) + 1);
        assert_string_equal(whole.data, hidden.data ? hidden.data : "");
        decoder_free(&d);
        buffer_free(&whole);
        buffer_free(&pieces);
        buffer_free(&hidden);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ill_formed_bytes_are_replaced_by_maximal_subparts),
        cmocka_unit_test(tokens_give_their_text),
        cmocka_unit_test(a_control_token_ends_a_character),
        cmocka_unit_test(characters_are_held_until_complete),
        cmocka_unit_test(ids_out_of_range_change_nothing),
        cmocka_unit_test(streams_are_utf8_and_complete),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
