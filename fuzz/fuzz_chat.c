/* Bytes as a chat, through a small grammar: whatever the strings are, the control tokens of the rendering are the
 * same. Each input is built twice, as it is and with '<' made harmless, and both renderings must hold the same
 * control spans (but for <turn|>, as a text that is nothing but a thought is stripped and leaves a turn open). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chat/python.h"
#include "chat/render.h"

typedef struct input {
    const uint8_t *data;
    size_t n;
    size_t at;
    bool harmless;
} input;

static uint8_t next(input *in) { return in->at < in->n ? in->data[in->at++] : 0; }

static const char *const words[] = {"user",
                                    "assistant",
                                    "system",
                                    "developer",
                                    "tool",
                                    "model",
                                    "text",
                                    "image",
                                    "string",
                                    "array",
                                    "object",
                                    "1",
                                    "2",
                                    "a",
                                    "A",
                                    "b:c",
                                    "",
                                    " x ",
                                    "<|turn>",
                                    "<turn|>",
                                    "<|channel>",
                                    "<channel|>",
                                    "<|tool_call>",
                                    "<tool_call|>",
                                    "<|\"|>",
                                    "<|tool_response>",
                                    "<tool_response|>",
                                    "<|tool>",
                                    "<tool|>",
                                    "<bos>",
                                    "<eos>",
                                    "<|think|>",
                                    "<|image|>",
                                    "<|channel>thought\n",
                                    "\xc3\x89",
                                    "\xe3\x80\x80"};
static const char *const keys[] = {"role",       "content",        "reasoning",    "reasoning_content",
                                   "tool_calls", "tool_responses", "tool_call_id", "name",
                                   "id",         "function",       "arguments",    "type",
                                   "text",       "description",    "parameters",   "properties",
                                   "required",   "items",          "enum",         "nullable",
                                   "response",   "<|\"|>",         "<turn|>"};
static const char *const numbers[] = {"0",   "-0",    "12",    "1.50",
                                      "1E5", "-1e-9", "1e999", "123456789012345678901234567890"};

/* A string of the harmless twin: no spelling begins in it, and no two strings become one. */
static void make_harmless(char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '<') s[i] = '=';
    }
}

static size_t build_text(input *in, const char *const *table, size_t n_table, char out[256]) {
    uint8_t choice = next(in);
    size_t n = 0;
    if (choice % 4) {
        const char *word = table[choice / 4 % n_table];
        n = strlen(word);
        memcpy(out, word, n);
    } else {
        for (n = 0; n < choice / 4u && in->at < in->n; n++) {
            out[n] = (char)next(in);
            if (out[n] == '=') out[n] = '-';
        }
    }
    if (in->harmless) make_harmless(out, n);
    return n;
}

#define WORDS words, sizeof words / sizeof *words
#define KEYS  keys, sizeof keys / sizeof *keys

static facet_value *build_value(input *in, unsigned depth);

static facet_value *build_string(input *in) {
    char text[256];
    size_t n = build_text(in, WORDS, text);
    facet_value *value = facet_value_string(text, n);
    return value ? value : facet_value_null();
}

static facet_value *build_array(input *in, unsigned depth) {
    facet_value *array = facet_value_array();
    for (unsigned n = next(in) % 6; n--;) facet_value_append(array, build_value(in, depth + 1));
    return array;
}

static facet_value *build_object(input *in, unsigned depth, unsigned n) {
    facet_value *object = facet_value_object();
    while (n--) {
        char key[256];
        size_t key_bytes = build_text(in, KEYS, key);
        facet_value_set(object, key, key_bytes, build_value(in, depth + 1));
    }
    return object;
}

static facet_value *build_value(input *in, unsigned depth) {
    uint8_t op = next(in), number;
    switch (depth < 12 ? op % 8 : op % 5) {
    case 0: return facet_value_null();
    case 1: return facet_value_bool(op & 16);
    case 2:
        number = next(in) % (sizeof numbers / sizeof *numbers);
        return facet_value_number(numbers[number], strlen(numbers[number]));
    case 5: return build_array(in, depth);
    case 6:
    case 7: return build_object(in, depth, next(in) % 6);
    default: return build_string(in);
    }
}

static void set(facet_value *object, const char *key, facet_value *item) {
    facet_value_set(object, key, strlen(key), item);
}

/* {"function": {"name": .., third: ..}, "id": ..}: a call or a tool of the right shape. */
static facet_value *build_function(input *in, const char *third) {
    facet_value *object = facet_value_object(), *function = build_object(in, 8, next(in) % 3);
    set(function, "name", build_string(in));
    set(function, third, build_object(in, 4, next(in) % 5));
    set(object, "function", function);
    set(object, "id", build_string(in));
    return object;
}

static facet_value *build_message(input *in) {
    static const char *const roles[] = {"user",      "assistant", "tool",      "system",
                                        "assistant", "tool",      "developer", "model"};
    uint8_t shape = next(in);
    const char *role = roles[shape % 8];
    facet_value *message = facet_value_object();
    set(message, "role", facet_value_string(role, strlen(role)));
    set(message, "content", build_string(in));
    if (shape & 8) set(message, "reasoning", build_string(in));
    if (shape & 16) {
        facet_value *calls = facet_value_array();
        for (unsigned n = next(in) % 4; n--;) facet_value_append(calls, build_function(in, "arguments"));
        set(message, "tool_calls", calls);
    }
    if (shape & 32) set(message, "tool_call_id", build_string(in));
    for (unsigned n = shape >> 6; n--;) { /* anything, right or wrong */
        char key[256];
        size_t key_bytes = build_text(in, KEYS, key);
        facet_value_set(message, key, key_bytes, build_value(in, 0));
    }
    return message;
}

static facet_status render(const uint8_t *data, size_t n, bool harmless, chat_spans *spans) {
    input in = {data, n, 0, harmless};
    uint8_t flags = next(&in);
    facet_chat chat;
    facet_chat_defaults(&chat);
    chat.enable_thinking = flags & 1;
    chat.preserve_thinking = flags & 2;
    chat.add_generation_prompt = !(flags & 4);
    chat.continue_final_message = flags & 8;
    facet_value *messages = facet_value_array(), *tools = facet_value_array();
    for (unsigned k = flags >> 6; k--;) facet_value_append(tools, build_function(&in, "parameters"));
    while (in.at < in.n) facet_value_append(messages, build_message(&in));
    chat.messages = messages;
    chat.tools = tools;
    facet_error error = {0};
    facet_status status = chat_render(flags & 16 ? FACET_CHAT_LARGE : FACET_CHAT_SMALL, &chat, spans, &error);
    if (status != FACET_OK && !error.message[0]) abort();
    facet_value_free(messages);
    facet_value_free(tools);
    return status;
}

static const char *const controls[] = {"<bos>",        "<|turn>",          "<|think|>",        "<|tool>",
                                       "<tool|>",      "<|channel>",       "<channel|>",       "<|tool_call>",
                                       "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>",
                                       "<|image|>",    "<|audio|>",        "<|video|>",        "<turn|>"};
enum { N_CONTROLS = sizeof controls / sizeof *controls };

static void count_controls(const chat_spans *spans, size_t counts[N_CONTROLS]) {
    for (size_t i = 0; i < spans->n; i++) {
        const chat_span *span = &spans->spans[i];
        if (!span->control) continue;
        size_t k = 0;
        while (k < N_CONTROLS && (strlen(controls[k]) != span->n_bytes ||
                                  memcmp(controls[k], spans->text.data + span->start, span->n_bytes) != 0))
            k++;
        if (k == N_CONTROLS) abort();
        counts[k]++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n > 1 << 14) return 0;
    chat_spans typed = {0}, harmless = {0};
    size_t of_typed[N_CONTROLS] = {0}, of_harmless[N_CONTROLS] = {0};
    facet_status status = render(data, n, false, &typed);
    if (render(data, n, true, &harmless) != status) abort();
    if (status == FACET_OK) {
        count_controls(&typed, of_typed);
        count_controls(&harmless, of_harmless);
        if (of_typed[0] != 1 || memcmp(of_typed, of_harmless, (N_CONTROLS - 1) * sizeof *of_typed) != 0) abort();
    }
    spans_free(&typed);
    spans_free(&harmless);
    return 0;
}
