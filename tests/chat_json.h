/* For the chat's tests: values from jansson, which reads the JSON that the library only writes. */
#ifndef FACET_TESTS_CHAT_JSON_H
#define FACET_TESTS_CHAT_JSON_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

static inline facet_value *value_of_json(const json_t *json) {
    char text[64];
    switch (json_typeof(json)) {
    case JSON_NULL: return facet_value_null();
    case JSON_TRUE: return facet_value_bool(true);
    case JSON_FALSE: return facet_value_bool(false);
    case JSON_STRING: return facet_value_string(json_string_value(json), json_string_length(json));
    case JSON_INTEGER:
        return facet_value_number(text, (size_t)snprintf(text, sizeof text, "%lld", json_integer_value(json)));
    case JSON_REAL:
        return facet_value_number(text, (size_t)snprintf(text, sizeof text, "%.17e", json_real_value(json)));
    case JSON_ARRAY: {
        facet_value *array = facet_value_array();
        for (size_t i = 0; i < json_array_size(json); i++) {
            assert_int_equal(facet_value_append(array, value_of_json(json_array_get(json, i))), FACET_OK);
        }
        return array;
    }
    case JSON_OBJECT: {
        facet_value *object = facet_value_object();
        for (void *at = json_object_iter((json_t *)(uintptr_t)json); at;
             at = json_object_iter_next((json_t *)(uintptr_t)json, at)) {
            facet_value *item = value_of_json(json_object_iter_value(at));
            assert_int_equal(facet_value_set(object, json_object_iter_key(at), json_object_iter_key_len(at), item),
                             FACET_OK);
        }
        return object;
    }
    }
    return NULL;
}

static inline json_t *json_of_text(const char *text, size_t n) {
    json_error_t error;
    json_t *json = json_loadb(text, n, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (!json) fail_msg("not JSON: %s at %d", error.text, error.position);
    return json;
}

/* A value from JSON with ' for ", so that tests read well. */
static inline facet_value *value_of_text(const char *text) {
    char *copy = strdup(text);
    for (char *c = copy; *c; c++) {
        if (*c == '\'') *c = '"';
    }
    json_t *json = json_of_text(copy, strlen(copy));
    facet_value *value = value_of_json(json);
    json_decref(json);
    free(copy);
    return value;
}

static inline json_t *json_of_file(const char *name) {
    size_t n;
    char *text = test_read(name, &n);
    json_t *json = json_of_text(text, n);
    free(text);
    return json;
}

/* The chat of a rendered case; free its values with chat_of_case_free. */
static inline facet_chat chat_of_case(const json_t *c) {
    facet_chat chat;
    facet_chat_defaults(&chat);
    const json_t *tools = json_object_get(c, "tools"), *prompt = json_object_get(c, "add_generation_prompt");
    chat.messages = value_of_json(json_object_get(c, "messages"));
    chat.tools = tools ? value_of_json(tools) : NULL;
    chat.enable_thinking = json_is_true(json_object_get(c, "enable_thinking"));
    chat.preserve_thinking = json_is_true(json_object_get(c, "preserve_thinking"));
    chat.add_generation_prompt = !json_is_false(prompt);
    return chat;
}

static inline void chat_of_case_free(facet_chat *chat) {
    facet_value_free((facet_value *)(uintptr_t)chat->messages);
    facet_value_free((facet_value *)(uintptr_t)chat->tools);
}

#endif
