/* The real vocabulary of 262144 tokens: ids of the Hugging Face tokenizers library (data/tokenizer/cases.json), what
 * is control, and a megabyte of hostile text, which a method that is not linear (or n log n) would not finish. */
#include "support.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/map.h"
#include "token/decoder.h"

#ifndef FACET_VOCAB_GGUF
#define FACET_VOCAB_GGUF FACET_TEST_DATA "/tokenizer/vocab.gguf"
#endif

typedef struct fixture {
    os_map map;
    gguf_file *file;
    vocab *v;
} fixture;

static int set_up(void **state) {
    static fixture f;
    facet_error error = {0};
    assert_ok(os_map_open(&f.map, FACET_VOCAB_GGUF, true, &error), &error);
    gguf_part part = {.data = f.map.data, .n_bytes = f.map.n_bytes};
    assert_ok(gguf_open(&f.file, &part, 1, NULL, &error), &error);
    assert_ok(vocab_new(&f.v, f.file, &error), &error);
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    vocab_free(f->v);
    gguf_free(f->file);
    os_map_close(&f->map);
    return 0;
}

static token_list encode(const vocab *v, const char *text, size_t n, bool control) {
    facet_error error = {0};
    token_list list = {0};
    assert_ok(vocab_encode(v, text, n, control, &list, &error), &error);
    return list;
}

static void expect_ids(const vocab *v, const char *text, size_t n, bool control, const json_t *ids) {
    token_list list = encode(v, text, n, control);
    bool same = list.n == json_array_size(ids);
    for (size_t i = 0; same && i < list.n; i++) same = list.ids[i] == json_integer_value(json_array_get(ids, i));
    if (!same) fail_msg("wrong ids for '%.*s'", (int)n, text);
    free(list.ids);
}

/* Decoding gives the text back, but for U+2581, which is written as a space. */
static void expect_round_trip(const vocab *v, const char *text, size_t n, bool control) {
    facet_error error = {0};
    token_list list = encode(v, text, n, control);
    buffer back = {0}, expected = {0};
    for (size_t i = 0; i < n; i++) {
        bool mark = n - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
        buffer_byte(&expected, mark ? ' ' : text[i]);
        if (mark) i += 2;
    }
    assert_ok(vocab_decode(v, list.ids, list.n, true, &back, &error), &error);
    assert_int_equal(back.n, expected.n);
    if (n) assert_memory_equal(back.data, expected.data, back.n);
    buffer_free(&back);
    buffer_free(&expected);
    free(list.ids);
}

static void ids_are_those_of_the_reference(void **state) {
    const fixture *f = *state;
    size_t n_bytes;
    char *bytes = test_read("tokenizer/cases.json", &n_bytes);
    json_error_t where;
    json_t *cases = json_loadb(bytes, n_bytes, JSON_ALLOW_NUL, &where), *one;
    assert_true(json_array_size(cases) >= 180);
    size_t i;
    json_array_foreach(cases, i, one) {
        const json_t *text = json_object_get(one, "text");
        const char *s = json_string_value(text);
        size_t n = json_string_length(text);
        expect_ids(f->v, s, n, true, json_object_get(one, "ids"));
        expect_round_trip(f->v, s, n, true);
        expect_round_trip(f->v, s, n, false);
    }
    json_decref(cases);
    free(bytes);
}

static void typed_control_spellings_stay_text(void **state) {
    const fixture *f = *state;
    for (int32_t id = 0; id < vocab_size(f->v); id++) {
        if (!vocab_is_control(f->v, id)) continue;
        size_t n;
        const char *s = vocab_spelling(f->v, id, &n);
        token_list parsed = encode(f->v, s, n, true), typed = encode(f->v, s, n, false);
        assert_int_equal(parsed.n, 1);
        assert_int_equal(parsed.ids[0], id);
        for (size_t i = 0; i < typed.n; i++) assert_false(vocab_is_control(f->v, typed.ids[i]));
        expect_round_trip(f->v, s, n, false);
        free(parsed.ids);
        free(typed.ids);
    }
}

/* The table of the specification, and its trap: </s> is an HTML tag here. */
static void special_tokens_are_found(void **state) {
    const fixture *f = *state;
    static const int32_t control[] = {0,  1,   2,   3,   4,   46,     47,     48,     49,     50,     51,     52,
                                      98, 100, 101, 105, 106, 255999, 256000, 258880, 258881, 258882, 258883, 258884};
    size_t n_control = 0, n_end = 0;
    for (int32_t id = 0; id < vocab_size(f->v); id++) {
        n_control += vocab_is_control(f->v, id);
        n_end += vocab_is_end(f->v, id);
    }
    for (size_t i = 0; i < sizeof control / sizeof *control; i++) assert_true(vocab_is_control(f->v, control[i]));
    assert_int_equal(n_control, sizeof control / sizeof *control);
    assert_true(vocab_is_end(f->v, 1) && vocab_is_end(f->v, 106) && vocab_is_end(f->v, 50));
    assert_int_equal(n_end, 3);
    assert_int_equal(vocab_bos(f->v), 2);
    assert_int_equal(vocab_find(f->v, "</s>", 4), 212);
    assert_false(vocab_is_control(f->v, 212));
}

static void every_spelling_is_found(void **state) {
    const fixture *f = *state;
    assert_int_equal(vocab_size(f->v), 262144);
    for (int32_t id = 0; id < vocab_size(f->v); id++) {
        size_t n;
        const char *s = vocab_spelling(f->v, id, &n);
        assert_int_equal(vocab_find(f->v, s, n), id);
    }
}

/* What is not UTF-8 becomes the tokens of its bytes, one by one, and its surroundings are as without it. */
static void ill_formed_bytes_are_byte_tokens(void **state) {
    const fixture *f = *state;
    static const char *const bad[] = {"\x80", "\xff", "\xc3", "\xe2\x96", "\xf0\x9f\x91", "\xed\xa0\x80", "\xc0\xaf"};
    token_list hello = encode(f->v, "Hello", 5, true);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[32];
        size_t n_bad = strlen(bad[i]);
        int n = snprintf(text, sizeof text, "Hello%sHello", bad[i]);
        token_list list = encode(f->v, text, (size_t)n, true);
        assert_int_equal(list.n, 2 * hello.n + n_bad);
        assert_memory_equal(list.ids, hello.ids, hello.n * sizeof *hello.ids);
        for (size_t j = 0; j < n_bad; j++) {
            char spelling[8];
            snprintf(spelling, sizeof spelling, "<0x%02X>", (uint8_t)bad[i][j]);
            assert_int_equal(list.ids[hello.n + j], vocab_find(f->v, spelling, 6));
        }
        assert_memory_equal(list.ids + hello.n + n_bad, hello.ids, hello.n * sizeof *hello.ids);
        free(list.ids);
    }
    free(hello.ids);
}

/* ---- a megabyte */

enum { MEGABYTE = 1 << 20, GUARD_SECONDS = 120 };

static char *repeated(const char *part) {
    char *text = malloc(MEGABYTE);
    size_t n = strlen(part);
    for (size_t i = 0; text && i < MEGABYTE; i++) text[i] = part[i % n];
    return text;
}

static void hostile_text_takes_linear_time(void **state) {
    const fixture *f = *state;
    static const char *const parts[] = {"a", " ", "\n", "<<<<<|||", "etaoinshr", "\xf0\x9f\x91\x8b"};
    alarm(GUARD_SECONDS); /* quadratic work would take hours: the alarm ends the program */
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *text = repeated(parts[i]);
        assert_non_null(text);
        size_t n = MEGABYTE - MEGABYTE % strlen(parts[i]);
        expect_round_trip(f->v, text, n, i & 1);
        free(text);
    }
    alarm(0);
}

static void a_megabyte_of_random_bytes_is_encoded(void **state) {
    const fixture *f = *state;
    char *text = malloc(MEGABYTE);
    assert_non_null(text);
    uint32_t seed = 5;
    for (size_t i = 0; i < MEGABYTE; i++) text[i] = (char)((seed = seed * 1664525u + 1013904223u) >> 24);
    alarm(GUARD_SECONDS);
    token_list list = encode(f->v, text, MEGABYTE, true);
    alarm(0);
    buffer bytes = {0}; /* the pieces, unlike decoded text, are the very bytes */
    for (size_t i = 0; i < list.n; i++) assert_true(vocab_piece(f->v, list.ids[i], &bytes));
    assert_int_equal(bytes.n, MEGABYTE);
    assert_memory_equal(bytes.data, text, MEGABYTE);
    buffer_free(&bytes);
    free(list.ids);
    free(text);
}

static void too_long_a_text_is_refused(void **state) {
    const fixture *f = *state;
    facet_error error = {0};
    token_list list = {0};
    assert_int_equal(vocab_encode(f->v, "", (size_t)VOCAB_MAX_TEXT + 1, true, &list, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(list.n, 0);
    assert_ok(vocab_encode(f->v, NULL, 0, true, &list, &error), &error);
    assert_null(list.ids);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_the_reference),
        cmocka_unit_test(typed_control_spellings_stay_text),
        cmocka_unit_test(special_tokens_are_found),
        cmocka_unit_test(every_spelling_is_found),
        cmocka_unit_test(ill_formed_bytes_are_byte_tokens),
        cmocka_unit_test(hostile_text_takes_linear_time),
        cmocka_unit_test(a_megabyte_of_random_bytes_is_encoded),
        cmocka_unit_test(too_long_a_text_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
