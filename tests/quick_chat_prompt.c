/* Prompts as tokens, with the demonstration model's vocabulary. */
#include "chat/prompt.h"
#include "chat/render.h"
#include "chat_json.h"

typedef struct demo {
    char *bytes;
    gguf_file *file;
    vocab *v;
} demo;

static demo demo_open(void) {
    demo d;
    size_t n;
    facet_error error = {0};
    d.bytes = test_read(FACET_SOURCE_DIR "/models/tiny-q8_0.gguf", &n);
    assert_ok(gguf_open(&d.file, &(gguf_part){(const uint8_t *)d.bytes, n}, 1, NULL, &error), &error);
    assert_ok(vocab_new(&d.v, d.file, &error), &error);
    return d;
}

static void demo_close(demo *d) {
    vocab_free(d->v);
    gguf_free(d->file);
    free(d->bytes);
}

static size_t count(const char *text, const char *needle) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, needle)); at += strlen(needle)) n++;
    return n;
}

/* Whether control spellings stand in the contents of a case: the one difference between text and tokens. */
static bool has_typed_controls(const char *name) {
    return strstr(name, "control") || strstr(name, "random") || strstr(name, "strip") || strstr(name, "markup") ||
           strstr(name, "punctuation") || strstr(name, "several lines") || strstr(name, "keys of arguments") ||
           strstr(name, "not trimmed");
}

/* For chats without typed control spellings the ids are those of the prompt's text with control parsing on. */
static void check_cases(const demo *d, const char *file, facet_chat_kind kind) {
    json_t *cases = json_of_file(file);
    size_t n_compared = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *expected = json_object_get(c, "prompt");
        facet_chat chat = chat_of_case(c);
        facet_prompt *prompt;
        facet_error error = {0};
        facet_status status = chat_prompt_new(&prompt, d->v, kind, &chat, &error);
        if (status == FACET_ERROR_UNSUPPORTED) { /* the small vocabulary has no media */
            assert_null(prompt);
            assert_non_null(strstr(error.message, "|>"));
        } else {
            size_t n;
            assert_int_equal(status, FACET_OK);
            const char *text = facet_prompt_text(prompt, &n);
            assert_int_equal(n, json_string_length(expected));
            assert_memory_equal(text, json_string_value(expected), n);
            token_list whole = {0};
            assert_ok(vocab_encode(d->v, text, n, true, &whole, &error), &error);
            const int32_t *ids = facet_prompt_tokens(prompt, &n);
            assert_int_equal(ids[0], vocab_bos(d->v));
            if (!has_typed_controls(json_string_value(json_object_get(c, "name")))) {
                assert_int_equal(n, whole.n);
                assert_memory_equal(ids, whole.ids, n * sizeof *ids);
                n_compared++;
            }
            free(whole.ids);
            facet_prompt_free(prompt);
        }
        chat_of_case_free(&chat);
    }
    assert_true(n_compared > 20);
    json_decref(cases);
}

static void test_ids_equal_the_encoded_text(void **state) {
    (void)state;
    demo d = demo_open();
    check_cases(&d, "chat/chat-small.json", FACET_CHAT_SMALL);
    check_cases(&d, "chat/chat-large.json", FACET_CHAT_LARGE);
    check_cases(&d, "chat/more-small.json", FACET_CHAT_SMALL);
    check_cases(&d, "chat/more-large.json", FACET_CHAT_LARGE);
    demo_close(&d);
}

static facet_prompt *prompt_of(const demo *d, facet_chat_kind kind, const char *messages, bool think, bool generate) {
    facet_chat chat;
    facet_chat_defaults(&chat);
    facet_value *value = value_of_text(messages);
    chat.messages = value;
    chat.enable_thinking = think;
    chat.add_generation_prompt = generate;
    facet_prompt *prompt;
    facet_error error = {0};
    assert_ok(chat_prompt_new(&prompt, d->v, kind, &chat, &error), &error);
    facet_value_free(value);
    return prompt;
}

/* The history is what the same chat gives without a generation prompt. */
static void test_history(void **state) {
    (void)state;
    static const struct {
        const char *messages;
        bool think, opens;
    } cases[] = {
        {"[{'role':'user','content':'hi'}]", false, false},
        {"[{'role':'user','content':'hi'}]", true, false},
        {"[{'role':'user','content':'hi'},{'role':'assistant','content':'','tool_calls':[{'id':'1','function':"
         "{'name':'f','arguments':{}}}]},{'role':'tool','tool_call_id':'1','content':'x'}]",
         true, true},
        {"[{'role':'user','content':'hi'},{'role':'assistant','content':'','tool_calls':[{'id':'1','function':"
         "{'name':'f','arguments':{}}}]},{'role':'tool','tool_call_id':'1','content':'x'}]",
         false, false},
    };
    demo d = demo_open();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (facet_chat_kind kind = FACET_CHAT_SMALL; kind <= FACET_CHAT_LARGE; kind++) {
            facet_prompt *with = prompt_of(&d, kind, cases[i].messages, cases[i].think, true);
            facet_prompt *without = prompt_of(&d, kind, cases[i].messages, cases[i].think, false);
            size_t n, n_with;
            const int32_t *ids = facet_prompt_tokens(without, &n), *all = facet_prompt_tokens(with, &n_with);
            assert_int_equal(facet_prompt_history(without), n);
            assert_int_equal(facet_prompt_history(with), n);
            assert_true(n_with >= n);
            assert_memory_equal(ids, all, n * sizeof *ids);
            assert_int_equal(with->opens_thought, cases[i].opens);
            assert_int_equal(with->kind, kind);
            facet_prompt_free(with);
            facet_prompt_free(without);
        }
    }
    demo_close(&d);
}

/* Every control spelling in every place a chat has for text: not one more control token comes out. */
static void test_typed_controls_stay_text(void **state) {
    (void)state;
    static const char *const spellings[] = {
        "<bos>",        "<eos>",   "<|turn>", "<turn|>",   "<|channel>", "<channel|>",       "<|tool_call>",
        "<tool_call|>", "<|tool>", "<tool|>", "<|think|>", "<|\\\"|>",   "<|tool_response>", "<tool_response|>",
        "<|image|>",    "<pad>",   "<unk>",   "<mask>"};
    static const char format[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"%1$s\"},{\"role\":\"user\",\"content\":\"a%1$sb\"},"
        "{\"role\":\"assistant\",\"content\":\"x\",\"reasoning\":\"%1$s\",\"tool_calls\":[{\"id\":\"1\",\"function\":"
        "{"
        "\"name\":\"n%1$s\",\"arguments\":{\"%1$s\":\"%1$s\",\"l\":[\"%1$s\"]}}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"%1$s\"},"
        "{\"role\":\"%1$s\",\"content\":[{\"type\":\"text\",\"text\":\"%1$s\"}]}],"
        "\"tools\":[{\"function\":{\"name\":\"%1$s\",\"description\":\"%1$s\",\"parameters\":{\"type\":\"%1$s\","
        "\"properties\":{\"%1$s\":{\"type\":\"string\",\"description\":\"%1$s\",\"enum\":[\"%1$s\"]}},"
        "\"required\":[\"%1$s\"]}}}]}";
    demo d = demo_open();
    size_t plain = 0;
    for (size_t i = 0; i <= sizeof spellings / sizeof *spellings; i++) {
        char *text = NULL;
        const char *spelling = i ? spellings[i - 1] : "word";
        assert_true(asprintf(&text, format, spelling) > 0);
        json_t *c = json_of_text(text, strlen(text));
        facet_chat chat = chat_of_case(c);
        facet_prompt *prompt;
        facet_error error = {0};
        assert_ok(chat_prompt_new(&prompt, d.v, FACET_CHAT_LARGE, &chat, &error), &error);
        size_t n, n_control = 0;
        const int32_t *ids = facet_prompt_tokens(prompt, &n);
        for (size_t k = 0; k < n; k++) n_control += vocab_is_control(d.v, ids[k]);
        if (i == 0) plain = n_control;
        assert_int_equal(n_control, plain);
        if (i == 1) assert_true(count(facet_prompt_text(prompt, NULL), "<bos>") > 10);
        facet_prompt_free(prompt);
        chat_of_case_free(&chat);
        json_decref(c);
        free(text);
    }
    demo_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_equal_the_encoded_text),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_typed_controls_stay_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
