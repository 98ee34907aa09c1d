/* The chat format against what the canonical templates render (tests/data/chat, made with Jinja): byte for byte. */
#include "chat/python.h"
#include "chat/render.h"
#include "chat_json.h"

static char *rendered(facet_chat_kind kind, const facet_chat *chat, size_t *n) {
    chat_spans spans = {0};
    facet_error error = {0};
    facet_status status = chat_render(kind, chat, &spans, &error);
    if (status != FACET_OK) print_error("%s\n", error.message);
    assert_int_equal(status, FACET_OK);
    size_t total = 0;
    for (size_t i = 0; i < spans.n; i++) { /* spans tile the text, and no two texts are neighbours */
        assert_int_equal(spans.spans[i].start, total);
        assert_true(spans.spans[i].n_bytes > 0);
        assert_true(i == 0 || spans.spans[i].control || spans.spans[i - 1].control);
        total += spans.spans[i].n_bytes;
    }
    assert_int_equal(total, spans.text.n);
    char *text = spans.text.data;
    *n = spans.text.n;
    free(spans.spans);
    return text;
}

static void check_file(const char *name, facet_chat_kind kind) {
    json_t *cases = json_of_file(name);
    assert_true(json_array_size(cases) > 20);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *prompt = json_object_get(c, "prompt");
        facet_chat chat = chat_of_case(c);
        size_t n;
        char *text = rendered(kind, &chat, &n);
        if (n != json_string_length(prompt) || memcmp(text, json_string_value(prompt), n) != 0) {
            fail_msg("%s: %s\nexpected %s\nrendered %s", name, json_string_value(json_object_get(c, "name")),
                     json_string_value(prompt), text);
        }
        free(text);
        chat_of_case_free(&chat);
    }
    json_decref(cases);
}

static void test_small(void **state) {
    (void)state;
    check_file("chat/chat-small.json", FACET_CHAT_SMALL);
    check_file("chat/more-small.json", FACET_CHAT_SMALL);
}

static void test_large(void **state) {
    (void)state;
    check_file("chat/chat-large.json", FACET_CHAT_LARGE);
    check_file("chat/more-large.json", FACET_CHAT_LARGE);
}

/* Pairs of a JSON number and what Python prints after reading it. */
static void test_numbers(void **state) {
    (void)state;
    json_t *pairs = json_of_file("chat/numbers.json");
    assert_true(json_array_size(pairs) > 100);
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *pair = json_array_get(pairs, i), *number = json_array_get(pair, 0);
        buffer b = {0};
        assert_true(value_number_valid(json_string_value(number), json_string_length(number)));
        python_number(&b, json_string_value(number), json_string_length(number));
        assert_string_equal(b.data, json_string_value(json_array_get(pair, 1)));
        buffer_free(&b);
    }
    json_decref(pairs);
}

/* ---- what goes beyond the template */

static void expect(facet_chat_kind kind, facet_chat chat, const char *messages, const char *prompt) {
    chat.messages = value_of_text(messages);
    size_t n;
    char *text = rendered(kind, &chat, &n);
    assert_string_equal(text, prompt);
    free(text);
    facet_value_free((facet_value *)(uintptr_t)chat.messages);
}

static void test_continue(void **state) {
    (void)state;
    facet_chat chat;
    facet_chat_defaults(&chat);
    chat.continue_final_message = true;
    expect(FACET_CHAT_LARGE, chat, "[{'role':'user','content':'a'},{'role':'assistant','content':'The answer is '}]",
           "<bos><|turn>user\na<turn|>\n<|turn>model\nThe answer is");
    expect(FACET_CHAT_LARGE, chat, "[{'role':'user','content':'a'}]",
           "<bos><|turn>user\na<turn|>\n<|turn>model\n<|channel>thought\n<channel|>");
    expect(FACET_CHAT_SMALL, chat,
           "[{'role':'assistant','content':'','tool_calls':[{'function':{'name':'f','arguments':{}}}]}]",
           "<bos><|turn>model\n<|tool_call>call:f{}<tool_call|><|tool_response>");
    chat.continue_final_message = false;
    expect(FACET_CHAT_SMALL, chat, "[{'role':'user','content':'a'},{'role':'assistant','content':'b'}]",
           "<bos><|turn>user\na<turn|>\n<|turn>model\nb<turn|>\n<|turn>model\n");
}

static void test_object_answer(void **state) {
    (void)state;
    facet_chat chat;
    facet_chat_defaults(&chat);
    expect(FACET_CHAT_SMALL, chat,
           "[{'role':'assistant','tool_calls':[{'id':'1','function':{'name':'f','arguments':null}}]},"
           "{'role':'tool','tool_call_id':'1','content':{'b':[1,2.50],'A':{'x':null}}}]",
           "<bos><|turn>model\n<|tool_call>call:f{}<tool_call|><|tool_response>response:f{A:{x:null},b:[1,2.5]}"
           "<tool_response|>");
}

static void test_errors_name_the_place(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{}", "messages must be an array"},
        {"null", "messages must be an array"},
        {"[{'role':'user','content':'a'},5]", "messages[1] must be an object"},
        {"[{'content':'a'}]", "messages[0].role is missing"},
        {"[{'role':'user'},{'role':7}]", "messages[1].role must be a string"},
        {"[{'role':'user','content':5}]", "messages[0].content must be a string or an array"},
        {"[{'role':'user','content':{}}]", "messages[0].content must be a string or an array"},
        {"[{'role':'user','content':['a']}]", "messages[0].content[0] must be an object"},
        {"[{'role':'user','content':[{'text':'a'}]}]", "messages[0].content[0].type is missing"},
        {"[{'role':'user','content':[{'type':'text'}]}]", "messages[0].content[0].text is missing"},
        {"[{'role':'user','content':[{'type':'text','text':1}]}]", "messages[0].content[0].text must be a string"},
        {"[{'role':'assistant','reasoning':[]}]", "messages[0].reasoning must be a string"},
        {"[{'role':'assistant','tool_calls':{}}]", "messages[0].tool_calls must be an array"},
        {"[{'role':'assistant','tool_calls':[{}]}]", "messages[0].tool_calls[0].function is missing"},
        {"[{'role':'assistant','tool_calls':[{'function':{}}]}]",
         "messages[0].tool_calls[0].function.name is missing"},
        {"[{'role':'assistant','tool_calls':[{'function':{'name':'f','arguments':'{}'}}]}]",
         "messages[0].tool_calls[0].function.arguments must be an object"},
        {"[{'role':'assistant','tool_calls':[{'function':{'name':'f'}}]}]",
         "messages[0].tool_calls[0].function.arguments is missing"},
        {"[{'role':'assistant','tool_calls':[{'id':3,'function':{'name':'f','arguments':{}}}]}]",
         "messages[0].tool_calls[0].id must be a string"},
        {"[{'role':'tool','tool_call_id':5}]", "messages[0].tool_call_id must be a string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        facet_chat chat;
        facet_chat_defaults(&chat);
        facet_value *messages = value_of_text(cases[i][0]);
        chat.messages = messages;
        chat_spans spans = {0};
        facet_error error = {0};
        assert_int_equal(chat_render(FACET_CHAT_SMALL, &chat, &spans, &error), FACET_ERROR_FORMAT);
        assert_string_equal(error.message, cases[i][1]);
        spans_free(&spans);
        facet_value_free(messages);
    }
}

static void test_tool_errors(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{'a':1}", "tools must be an array"},
        {"[1]", "tools[0] must be an object"},
        {"[{'function':{'description':'x'}}]", "tools[0].function.name is missing"},
        {"[{'function':{'name':'f','parameters':[1]}}]", "tools[0].function.parameters must be an object"},
        {"[{'function':{'name':'f','parameters':{'properties':[1]}}}]",
         "tools[0].function.parameters.properties must be an object"},
        {"[{'function':{'name':'f','parameters':{'required':'a'}}}]",
         "tools[0].function: a \"required\" of its schema must be an array"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        facet_chat chat;
        facet_chat_defaults(&chat);
        facet_value *messages = facet_value_array(), *tools = value_of_text(cases[i][0]);
        chat.messages = messages;
        chat.tools = tools;
        chat_spans spans = {0};
        facet_error error = {0};
        assert_int_equal(chat_render(FACET_CHAT_SMALL, &chat, &spans, &error), FACET_ERROR_FORMAT);
        assert_string_equal(error.message, cases[i][1]);
        spans_free(&spans);
        facet_value_free(messages);
        facet_value_free(tools);
    }
}

static void test_depth(void **state) {
    (void)state;
    facet_value *deep = facet_value_null();
    for (size_t i = 0; i < 100000; i++) {
        facet_value *array = facet_value_array();
        assert_int_equal(facet_value_append(array, deep), FACET_OK);
        deep = array;
    }
    facet_chat chat;
    facet_chat_defaults(&chat);
    chat.messages = deep;
    chat_spans spans = {0};
    facet_error error = {0};
    assert_int_equal(chat_render(FACET_CHAT_SMALL, &chat, &spans, &error), FACET_ERROR_FORMAT);
    assert_string_equal(error.message, "messages: nested more than 256 deep");
    spans_free(&spans);
    facet_value_free(deep);
}

static void test_kind(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool has_ple;
        facet_chat_kind kind;
        bool is_gemma4;
    } cases[] = {
        {NULL, true, FACET_CHAT_SMALL, true},
        {NULL, false, FACET_CHAT_LARGE, true},
        {"{{ '<|turn>' }}<turn|>", false, FACET_CHAT_SMALL, true},
        {"<|turn><turn|>'<|channel>thought\\n<channel|>'", true, FACET_CHAT_LARGE, true},
        {"<|turn><turn|><|channel>thought\n<channel|>", true, FACET_CHAT_LARGE, true},
        {"<|turn>model", true, FACET_CHAT_SMALL, false},
        {"<start_of_turn>", false, FACET_CHAT_SMALL, false},
        {"", false, FACET_CHAT_SMALL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool is_gemma4;
        size_t n = cases[i].text ? strlen(cases[i].text) : 0;
        assert_int_equal(chat_kind_detect(cases[i].text, n, cases[i].has_ple, &is_gemma4), cases[i].kind);
        assert_int_equal(is_gemma4, cases[i].is_gemma4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),         cmocka_unit_test(test_large),
        cmocka_unit_test(test_numbers),       cmocka_unit_test(test_continue),
        cmocka_unit_test(test_object_answer), cmocka_unit_test(test_errors_name_the_place),
        cmocka_unit_test(test_tool_errors),   cmocka_unit_test(test_depth),
        cmocka_unit_test(test_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
