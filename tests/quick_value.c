/* Values: building, ownership, order, JSON text, deep trees. Truth: the rules of facet.h, and jansson for JSON. */
#include "base/value.h"
#include "chat_json.h"

static facet_value *number(const char *text) { return facet_value_number(text, strlen(text)); }

static void test_numbers(void **state) {
    (void)state;
    static const char *const good[] = {
        "0", "-0", "10", "-1.5", "0.0", "1e5", "1E+05", "-12.50e-7", "99999999999999999999"};
    static const char *const bad[] = {"",   "-",   "01",  "+1", "1.",  ".5",   "1e",  "1e+", "0x1",  "1 ",
                                      " 1", "NaN", "inf", "1,", "--1", "1.e1", "1_0", "-01", "1e5.0"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        facet_value *v = number(good[i]);
        assert_non_null(v);
        assert_string_equal(facet_value_text(v, NULL), good[i]);
        facet_value_free(v);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_null(number(bad[i]));
    assert_null(facet_value_number(NULL, 0));
}

static void test_strings(void **state) {
    (void)state;
    facet_value *v = facet_value_string("a\0b", 3);
    size_t n;
    assert_memory_equal(facet_value_text(v, &n), "a\0b", 4);
    assert_int_equal(n, 3);
    facet_value_free(v);
    assert_null(facet_value_string("\xff", 1));
    assert_null(facet_value_string("\xc3", 1));
    assert_null(facet_value_string(NULL, 1));
    v = facet_value_string(NULL, 0);
    assert_string_equal(facet_value_text(v, NULL), "");
    facet_value_free(v);
}

static void test_reading_of_other_types(void **state) {
    (void)state;
    assert_int_equal(facet_value_typeof(NULL), FACET_VALUE_NULL);
    assert_false(facet_value_is_true(NULL));
    assert_null(facet_value_text(NULL, NULL));
    assert_int_equal(facet_value_count(NULL), 0);
    assert_null(facet_value_at(NULL, 0));
    assert_null(facet_value_get(NULL, "a"));
    assert_null(facet_value_key(NULL, 0, NULL));
    facet_value *v = facet_value_bool(true);
    assert_true(facet_value_is_true(v));
    assert_null(facet_value_text(v, NULL));
    facet_value_free(v);
    v = facet_value_array();
    facet_value_append(v, facet_value_null());
    assert_null(facet_value_key(v, 0, NULL));
    assert_null(facet_value_at(v, 1));
    facet_value_free(v);
}

static void test_objects_keep_order_and_last_value(void **state) {
    (void)state;
    facet_value *o = facet_value_object();
    char key[32];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5000; i++) {
            int n = snprintf(key, sizeof key, "k%d", i), v = snprintf(key + 16, 16, "%d", i + round);
            assert_int_equal(facet_value_set(o, key, (size_t)n, facet_value_number(key + 16, (size_t)v)), FACET_OK);
        }
    }
    assert_int_equal(facet_value_count(o), 5000);
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_string_equal(facet_value_key(o, (size_t)i, NULL), key);
        assert_ptr_equal(facet_value_get(o, key), facet_value_at(o, (size_t)i));
        assert_int_equal(atoi(facet_value_text(facet_value_get(o, key), NULL)), i + 1);
    }
    assert_null(facet_value_get(o, "k5000"));
    facet_value_free(o);
}

static void test_keys_with_nul(void **state) {
    (void)state;
    facet_value *o = facet_value_object();
    assert_int_equal(facet_value_set(o, "a\0b", 3, number("1")), FACET_OK);
    assert_int_equal(facet_value_set(o, "a", 1, number("2")), FACET_OK);
    assert_int_equal(facet_value_set(o, NULL, 0, number("3")), FACET_OK);
    assert_string_equal(facet_value_text(value_get(o, "a\0b", 3), NULL), "1");
    assert_string_equal(facet_value_text(facet_value_get(o, "a"), NULL), "2");
    assert_string_equal(facet_value_text(facet_value_get(o, ""), NULL), "3");
    size_t n;
    char *json = facet_value_to_json(o, &n);
    assert_string_equal(json, "{\"a\\u0000b\":1,\"a\":2,\"\":3}");
    facet_free(json);
    facet_value_free(o);
}

/* A refused item is gone all the same, unless it belongs to another value. */
static void test_ownership(void **state) {
    (void)state;
    facet_value *a = facet_value_array(), *o = facet_value_object(), *item = number("1");
    assert_int_equal(facet_value_append(a, NULL), FACET_ERROR_MEMORY);
    assert_int_equal(facet_value_append(NULL, number("1")), FACET_ERROR_MEMORY);
    assert_int_equal(facet_value_append(o, number("1")), FACET_ERROR_ARGUMENT);
    assert_int_equal(facet_value_set(a, "k", 1, number("1")), FACET_ERROR_ARGUMENT);
    assert_int_equal(facet_value_set(o, "\xff", 1, number("1")), FACET_ERROR_ENCODING);
    assert_int_equal(facet_value_append(a, item), FACET_OK);
    assert_int_equal(facet_value_set(o, "k", 1, item), FACET_ERROR_ARGUMENT); /* owned */
    assert_int_equal(facet_value_append(a, a), FACET_ERROR_ARGUMENT);
    facet_value *inner = facet_value_array();
    assert_int_equal(facet_value_append(a, inner), FACET_OK);
    assert_int_equal(facet_value_append(inner, a), FACET_ERROR_ARGUMENT); /* a circle */
    facet_value_free(inner);                                              /* not the owner: stays */
    assert_int_equal(facet_value_count(a), 2);
    facet_value_free(a);
    facet_value_free(o);
    facet_value_free(NULL);
}

static void test_json(void **state) {
    (void)state;
    static const char *const texts[] = {
        "null",
        "true",
        "[]",
        "{}",
        "[1,-2.50,\"x\",[],{\"a\":{},\"b\":[null,false]}]",
        "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u0001\\u001f\x7f/\xc3\xa9\xf0\x9f\x91\x8b\"",
        "{\"\\n\":\"\",\"z\":1,\"a\":2}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *json = json_of_text(texts[i], strlen(texts[i]));
        facet_value *v = value_of_json(json), *copy = value_copy(v);
        size_t n;
        char *text = facet_value_to_json(copy, &n);
        assert_int_equal(n, strlen(text));
        json_t *again = json_of_text(text, n);
        assert_true(json_equal(json, again));
        if (i != 4) assert_string_equal(text, texts[i]); /* (the helper spells 2.50 in its own way) */
        facet_free(text);
        facet_value_free(v);
        facet_value_free(copy);
        json_decref(json);
        json_decref(again);
    }
    char *text = facet_value_to_json(NULL, NULL);
    assert_string_equal(text, "null");
    facet_free(text);
}

static void check_deep(facet_value *deep, size_t depth) {
    size_t n;
    assert_int_equal(value_depth(deep), depth + 1);
    facet_value *copy = value_copy(deep);
    assert_int_equal(value_depth(copy), depth + 1);
    char *json = facet_value_to_json(copy, &n);
    assert_int_equal(n, 2 * depth + 4 + depth / 2 * 4);
    facet_free(json);
    facet_value_free(copy);
    facet_value_free(deep);
}

/* A million levels, built from the inside and from the outside: no stack is used. */
static void test_deep(void **state) {
    (void)state;
    enum { DEPTH = 1000000, SHALLOWER = 100000 };
    facet_value *deep = facet_value_null();
    for (size_t i = 0; i < DEPTH; i++) {
        facet_value *outer = i & 1 ? facet_value_array() : facet_value_object();
        assert_int_equal(i & 1 ? facet_value_append(outer, deep) : facet_value_set(outer, "k", 1, deep), FACET_OK);
        deep = outer;
    }
    check_deep(deep, DEPTH);
    facet_value *top = facet_value_array(), *at = top;
    for (size_t i = 1; i < SHALLOWER; i++) {
        facet_value *inner = i & 1 ? facet_value_object() : facet_value_array();
        assert_int_equal(i & 1 ? facet_value_append(at, inner) : facet_value_set(at, "k", 1, inner), FACET_OK);
        at = inner;
    }
    assert_int_equal(facet_value_set(at, "k", 1, facet_value_null()), FACET_OK);
    check_deep(top, SHALLOWER);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_reading_of_other_types),
        cmocka_unit_test(test_objects_keep_order_and_last_value),
        cmocka_unit_test(test_keys_with_nul),
        cmocka_unit_test(test_ownership),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
