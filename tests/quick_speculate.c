/* Speculation changes the time that a text takes, never the text: tokens, log probabilities and what the session
 * knows afterwards are compared with a run without it, bit for bit. */
#include <stdlib.h>
#include <string.h>

#include "support.h"

#define MODEL FACET_SOURCE_DIR "/models/tiny-q8_0.gguf"

typedef struct trace {
    int32_t ids[512];
    float logprobs[512];
    size_t n;
    char text[4096];
    size_t n_text;
} trace;

static bool record(void *ctx, const facet_token *token) {
    trace *t = ctx;
    assert_true(t->n < 512 && t->n_text + token->n_bytes < sizeof t->text);
    if (token->id >= 0) {
        t->ids[t->n] = token->id;
        t->logprobs[t->n++] = token->logprob;
    }
    memcpy(t->text + t->n_text, token->text, token->n_bytes + 1);
    t->n_text += token->n_bytes;
    return true;
}

static facet_session *open_session(facet_model *model, int32_t threads, int32_t ubatch) {
    facet_engine_options o;
    facet_engine *engine;
    facet_session *session;
    facet_error error;
    facet_engine_options_defaults(&o);
    o.n_threads = threads;
    o.max_context = 512;
    o.ubatch = ubatch;
    assert_ok(facet_engine_new(&engine, model, &o, &error), &error);
    assert_ok(facet_session_new(&session, engine, NULL, &error), &error);
    facet_engine_free(engine);
    return session;
}

/* Generates after the tokens; the logits after the last token go to `logits`. */
static trace generate(facet_model *model, const int32_t *tokens, size_t n, const facet_generation *g, int32_t threads,
                      float *logits, facet_generation_result *result) {
    trace t = {.text = ""};
    facet_error error;
    facet_session *session = open_session(model, threads, threads == 1 ? 512 : 5); /* guesses of 4 at most */
    facet_model_info info = {.size = sizeof info};
    facet_model_get_info(model, &info);
    result->size = sizeof *result;
    assert_ok(facet_session_sync(session, tokens, n, NULL, NULL, NULL, &error), &error);
    assert_ok(facet_session_generate(session, g, record, &t, result, &error), &error);
    assert_int_equal(facet_session_length(session), n + result->n_generated);
    const float *after = facet_session_logits(session);
    assert_non_null(after);
    memcpy(logits, after, (size_t)info.n_vocab * sizeof *logits);
    facet_session_free(session);
    return t;
}

static const char *const prompts[] = {
    "<bos><|turn>user\nCount from 3 to 8.<turn|>\n<|turn>model\n3, 4, 5, 6, 7, 8<turn|>\n<|turn>user\nCount from 3 "
    "to "
    "8.<turn|>\n<|turn>model\n",
    "<bos><|turn>user\nWrite a C function that sums an array.<turn|>\n<|turn>model\n```c\nint sum(const int *a, int "
    "n) "
    "{\n    int s = 0;\n    for (int i = 0; i < n; i++) {\n        s += a[i];\n    }\n    return s;\n}\n```<turn|>\n"
    "<|turn>user\nWrite a C function that sums an array.<turn|>\n<|turn>model\n",
    "<bos><|turn>user\nTell me a story.<turn|>\n<|turn>model\n",
};

static void compare(facet_model *model, const char *prompt, facet_generation *g, size_t *n_accepted) {
    facet_error error;
    facet_model_info info = {.size = sizeof info};
    int32_t *tokens;
    size_t n;
    facet_model_get_info(model, &info);
    assert_ok(facet_tokenize(model, prompt, strlen(prompt), true, &tokens, &n, &error), &error);
    size_t bytes = (size_t)info.n_vocab * sizeof(float);
    float *plain_logits = malloc(bytes), *guessed_logits = malloc(bytes);
    facet_generation_result plain_result, guessed_result;
    g->speculation = FACET_SPECULATE_NONE;
    trace plain = generate(model, tokens, n, g, 1, plain_logits, &plain_result);
    g->speculation = FACET_SPECULATE_LOOKUP;
    trace guessed = generate(model, tokens, n, g, 2, guessed_logits, &guessed_result);
    assert_string_equal(plain.text, guessed.text);
    assert_int_equal(plain.n, guessed.n);
    assert_memory_equal(plain.ids, guessed.ids, plain.n * sizeof *plain.ids);
    assert_memory_equal(plain.logprobs, guessed.logprobs, plain.n * sizeof *plain.logprobs);
    assert_int_equal(plain_result.stop_reason, guessed_result.stop_reason);
    assert_int_equal(plain_result.n_generated, guessed_result.n_generated);
    assert_memory_equal(plain_logits, guessed_logits, bytes);
    assert_int_equal(plain_result.n_guessed, 0);
    assert_true(guessed_result.n_accepted <= guessed_result.n_guessed);
    *n_accepted += guessed_result.n_accepted;
    free(plain_logits);
    free(guessed_logits);
    facet_free(tokens);
}

static void test_same_text(void **state) {
    (void)state;
    static const float temperatures[] = {0, 0.7f, 1.5f};
    static const int32_t lengths[] = {-1, 1, 7, 60};
    facet_model *model;
    facet_error error;
    size_t n_accepted = 0;
    assert_ok(facet_model_open(&model, MODEL, NULL, &error), &error);
    for (size_t p = 0; p < sizeof prompts / sizeof prompts[0]; p++) {
        for (size_t t = 0; t < sizeof temperatures / sizeof temperatures[0]; t++) {
            for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
                facet_generation g;
                facet_generation_defaults(&g);
                g.sampling.temperature = temperatures[t];
                g.sampling.repeat_penalty = l % 2 ? 1.1f : 1.0f;
                g.sampling.seed = l;
                g.max_tokens = lengths[l];
                g.logprobs = true;
                g.ignore_end = lengths[l] == 60;
                compare(model, prompts[p], &g, &n_accepted);
            }
        }
    }
    print_message("%zu guessed tokens were right\n", n_accepted);
    assert_true(n_accepted > 50);
    facet_model_free(model);
}

/* The context ends, a stop string ends the text: in the middle of a guess too. */
static void test_ends(void **state) {
    (void)state;
    facet_model *model;
    facet_error error;
    size_t n_accepted = 0;
    static const char *const stop[] = {"a[i]"};
    assert_ok(facet_model_open(&model, MODEL, NULL, &error), &error);
    facet_generation g;
    facet_generation_defaults(&g);
    g.sampling.temperature = 0;
    g.logprobs = true;
    g.stop = stop;
    g.n_stop = 1;
    compare(model, prompts[1], &g, &n_accepted);
    g.n_stop = 0;
    g.ignore_end = true; /* until the context is full */
    compare(model, prompts[0], &g, &n_accepted);
    assert_true(n_accepted > 0);
    facet_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_text),
        cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
