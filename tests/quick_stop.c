/* Stop strings: a naive oracle that sees the whole text, over random texts, strings and cuts. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "sample/stop.h"
#include "support.h"

/* ---- the oracle: at each end, the longest string that ends there */

typedef struct verdict {
    bool matched;
    size_t shown; /* bytes of the text before the match, or all */
} verdict;

static verdict oracle(const char *text, size_t n, const char *const *strings, size_t n_strings) {
    for (size_t end = 1; end <= n; end++) {
        size_t longest = 0;
        for (size_t s = 0; s < n_strings; s++) {
            size_t k = strlen(strings[s]);
            if (k <= end && k > longest && memcmp(text + end - k, strings[s], k) == 0) longest = k;
        }
        if (longest) return (verdict){true, end - longest};
    }
    return (verdict){false, n};
}

/* The longest end of text[0, n) that begins a string: what has to wait. */
static size_t must_wait(const char *text, size_t n, const char *const *strings, size_t n_strings) {
    size_t wait = 0;
    for (size_t s = 0; s < n_strings; s++) {
        for (size_t k = 1; k < strlen(strings[s]) && k <= n; k++) {
            if (k > wait && memcmp(text + n - k, strings[s], k) == 0) wait = k;
        }
    }
    return wait;
}

/* ---- random material */

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Letters of few kinds, so that beginnings overlap; some are longer than a byte. */
static void random_text(uint32_t *seed, size_t n_letters, unsigned kinds, buffer *out) {
    static const char *const letters[] = {"a", "b", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    buffer_clear(out);
    for (size_t i = 0; i < n_letters; i++) buffer_text(out, letters[next_random(seed) % kinds]);
}

/* Feeds the text in pieces of at most `most` bytes (0: whole characters) and compares with the oracle on the way. */
static void check_cuts(stop_matcher *stop, const buffer *text, const char *const *strings, size_t n_strings,
                       uint32_t *seed, size_t most) {
    facet_error error;
    buffer shown = {0};
    const char *out;
    size_t n_out, at = 0;
    verdict want = oracle(text->data, text->n, strings, n_strings);
    while (at < text->n) {
        size_t n = most ? 1 + next_random(seed) % most : utf8_decode(text->data + at, text->n - at, NULL);
        if (n > text->n - at) n = text->n - at;
        char *piece = malloc(n); /* of its own, so that reading past it is seen */
        memcpy(piece, text->data + at, n);
        at += n;
        assert_ok(stop_push(stop, piece, n, &out, &n_out, &error), &error);
        free(piece);
        assert_int_equal(out[n_out], '\0');
        assert_true(buffer_append(&shown, out, n_out));
        verdict now = oracle(text->data, at, strings, n_strings);
        assert_int_equal(stop_matched(stop), now.matched);
        size_t visible = now.matched ? now.shown : at - must_wait(text->data, at, strings, n_strings);
        assert_int_equal(shown.n, visible); /* no more than allowed, and no less */
        if (!most) assert_int_equal(utf8_invalid(shown.data, shown.n), shown.n);
    }
    assert_int_equal(stop_matched(stop), want.matched);
    stop_finish(stop, &out, &n_out);
    assert_int_equal(out[n_out], '\0');
    assert_true(buffer_append(&shown, out, n_out));
    assert_int_equal(shown.n, want.shown);
    assert_memory_equal(shown.data, text->data, shown.n);
    assert_false(stop_matched(stop));
    buffer_free(&shown);
}

static void agrees_with_the_oracle(void **state) {
    (void)state;
    uint32_t seed = 12345;
    size_t n_matched = 0;
    for (int round = 0; round < 1500; round++) {
        buffer text = {0}, copies[4] = {{0}};
        const char *strings[4];
        facet_error error;
        stop_matcher *stop;
        size_t n_strings = 1 + next_random(&seed) % 4;
        unsigned kinds = 2 + next_random(&seed) % 4;
        for (size_t s = 0; s < n_strings; s++) {
            random_text(&seed, 1 + next_random(&seed) % 7, kinds, &copies[s]);
            strings[s] = copies[s].data;
        }
        assert_ok(stop_new(&stop, strings, n_strings, &error), &error);
        for (int use = 0; use < 3; use++) { /* a matcher is used again after each text */
            random_text(&seed, 1 + next_random(&seed) % 60, kinds, &text);
            n_matched += oracle(text.data, text.n, strings, n_strings).matched;
            check_cuts(stop, &text, strings, n_strings, &seed, use * 4);
        }
        stop_free(stop);
        buffer_free(&text);
        for (size_t s = 0; s < n_strings; s++) buffer_free(&copies[s]);
    }
    assert_in_range(n_matched, 1000, 4000); /* the material has both kinds */
}

static void push_all(stop_matcher *stop, const char *text, const char *want, bool matched) {
    facet_error error;
    const char *out;
    size_t n_out;
    assert_ok(stop_push(stop, text, strlen(text), &out, &n_out, &error), &error);
    assert_string_equal(out, want);
    assert_int_equal(n_out, strlen(want));
    assert_int_equal(stop_matched(stop), matched);
}

static void spelled_out(void **state) {
    (void)state;
    static const char *const strings[] = {"\nUser:", "</s>", "User"};
    facet_error error;
    stop_matcher *stop;
    const char *out;
    size_t n_out;
    assert_ok(stop_new(&stop, strings, 3, &error), &error);
    push_all(stop, "hello\n", "hello", false);
    push_all(stop, "there <", "\nthere ", false);
    push_all(stop, "/", "", false);
    push_all(stop, "p>\nUse", "</p>", false);
    push_all(stop, "r: more", "\n", true); /* "User" ends before "\nUser:" does */
    push_all(stop, "ignored", "", true);
    stop_finish(stop, &out, &n_out);
    assert_int_equal(n_out, 0);
    push_all(stop, "a</s", "a", false);
    stop_reset(stop);
    push_all(stop, ">b", ">b", false);
    push_all(stop, "</s", "", false);
    stop_finish(stop, &out, &n_out);
    assert_string_equal(out, "</s");
    stop_finish(stop, &out, &n_out);
    assert_string_equal(out, "");
    stop_free(stop);
    stop_free(NULL);
}

static void no_strings_hold_nothing_back(void **state) {
    (void)state;
    facet_error error;
    stop_matcher *stop;
    assert_ok(stop_new(&stop, NULL, 0, &error), &error);
    push_all(stop, "", "", false);
    push_all(stop, "all of it", "all of it", false);
    stop_free(stop);
}

static void wrong_strings_are_refused(void **state) {
    (void)state;
    facet_error error;
    stop_matcher *stop = (stop_matcher *)&error;
    assert_int_equal(stop_new(&stop, (const char *const[]){"a", ""}, 2, &error), FACET_ERROR_ARGUMENT);
    assert_null(stop);
    assert_non_null(strstr(error.message, "stop string 1"));
    assert_int_equal(stop_new(&stop, (const char *const[]){"a\xc3"}, 1, &error), FACET_ERROR_ENCODING);
    assert_null(stop);
    assert_int_equal(error.position, 1);
    assert_int_equal(stop_new(&stop, (const char *const[]){NULL}, 1, NULL), FACET_ERROR_ARGUMENT);
}

/* A long string whose beginning goes on and on: byte by byte this must not look at everything held back each time.
 * (Quadratic time would run into the test's time limit.) */
static void long_beginnings_cost_nothing(void **state) {
    (void)state;
    enum { N = 200000, TEXT = 2 * N };
    char *string = malloc(N + 2);
    memset(string, 'a', N);
    memcpy(string + N, "b", 2);
    facet_error error;
    stop_matcher *stop;
    const char *strings[] = {string}, *out;
    size_t n_out, total = 0;
    assert_ok(stop_new(&stop, strings, 1, &error), &error);
    for (size_t i = 0; i < TEXT; i++) {
        assert_ok(stop_push(stop, "a", 1, &out, &n_out, &error), &error);
        total += n_out;
    }
    assert_int_equal(total, TEXT - N);
    assert_ok(stop_push(stop, "b", 1, &out, &n_out, &error), &error);
    assert_true(stop_matched(stop));
    assert_int_equal(n_out, 0);
    stop_free(stop);
    free(string);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_oracle),       cmocka_unit_test(spelled_out),
        cmocka_unit_test(no_strings_hold_nothing_back), cmocka_unit_test(wrong_strings_are_refused),
        cmocka_unit_test(long_beginnings_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
