/* Prompt lookup: a guess is always a text that followed the same last tokens before, and its length follows how the
 * guesses go. */
#include <string.h>

#include "engine/lookup.h"
#include "support.h"

static void test_repeats(void **state) {
    (void)state;
    int32_t draft[LOOKUP_MAX_DRAFT];
    const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 9, 2, 3, 4};
    lookup l = {0};
    size_t n = lookup_guess(&l, tokens, 11, LOOKUP_MAX_DRAFT, draft);
    assert_int_equal(n, 3);
    assert_memory_equal(draft, ((int32_t[]){5, 6, 7}), sizeof(int32_t[3]));
    assert_int_equal(lookup_guess(&l, tokens, 11, 2, draft), 2);
    assert_int_equal(lookup_guess(&l, tokens, 11, 0, draft), 0);
    assert_int_equal(lookup_guess(&l, tokens, 8, LOOKUP_MAX_DRAFT, draft), 0); /* ends in what never was before */
}

/* Whatever the tokens: the guess followed a run of at least two equal tokens somewhere before. */
static void test_every_guess_has_a_reason(void **state) {
    (void)state;
    uint32_t seed = 1;
    int32_t tokens[200];
    for (int round = 0; round < 500; round++) {
        size_t n = 1 + (size_t)round % 200;
        for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)((seed = seed * 1664525u + 1013904223u) >> 30);
        int32_t draft[LOOKUP_MAX_DRAFT];
        lookup l = {.length = 1 + (size_t)round % LOOKUP_MAX_DRAFT};
        size_t n_draft = lookup_guess(&l, tokens, n, LOOKUP_MAX_DRAFT, draft);
        bool found = n_draft == 0;
        for (size_t at = 2; !found && at + n_draft <= n; at++) {
            found = memcmp(tokens + at - 2, tokens + n - 2, 2 * sizeof *tokens) == 0 &&
                    memcmp(tokens + at, draft, n_draft * sizeof *draft) == 0;
        }
        assert_true(found);
        assert_true(n_draft <= LOOKUP_MAX_DRAFT);
    }
}

static void test_learns(void **state) {
    (void)state;
    const int32_t tokens[] = {5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6, 5, 6};
    int32_t draft[LOOKUP_MAX_DRAFT];
    lookup l = {0};
    lookup_learn(&l, 3, 3);
    assert_int_equal(l.length, 6);
    lookup_learn(&l, 6, 6);
    assert_int_equal(l.length, LOOKUP_MAX_DRAFT);
    lookup_learn(&l, 8, 2);
    assert_int_equal(l.length, 3);
    assert_true(lookup_guess(&l, tokens, 26, LOOKUP_MAX_DRAFT, draft) > 0);
    lookup_learn(&l, 2, 0);
    lookup_learn(&l, 1, 0);
    assert_int_equal(lookup_guess(&l, tokens, 26, LOOKUP_MAX_DRAFT, draft), 0); /* it pauses, and goes on again */
    size_t n = 0;
    for (int i = 0; i < 64; i++) n += lookup_guess(&l, tokens, 26, LOOKUP_MAX_DRAFT, draft);
    assert_true(n > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_every_guess_has_a_reason),
        cmocka_unit_test(test_learns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
