/* The fault sweep: a model is opened, asked and freed again and again, and each time another request for memory, a
 * mapping, a file or a thread fails. Whatever fails, the library returns the status that tells it, gives everything
 * back, and a session that survived still gives the right answer.
 *   faults quick   every early request, then some of the rest
 *   faults full    every request */
#include "inject.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool every_request;

/* Where the bytes of the model come from. */
typedef enum origin { ORIGIN_MAPPED, ORIGIN_READ, ORIGIN_MEMORY, ORIGIN_SOURCE, ORIGIN_STREAM } origin;

/* One life of a model. */
typedef struct life {
    origin from;
    char *image; /* of the file; all but ORIGIN_MAPPED and ORIGIN_READ */
    size_t image_bytes;
    int n_released;
    facet_loader *loader; /* ORIGIN_STREAM */
    facet_model *model;
    facet_engine *engine;
    facet_session *session;
    facet_prompt *prompt;
    facet_reply_parser *parser;
    facet_status parser_status;
    facet_error error;
    char answer[512];
    size_t answer_bytes;
} life;

static const char MODEL[] = FACET_SOURCE_DIR "/models/tiny-q8_0.gguf";
static const char QUESTION[] = "What is the capital of Italy?";
static const char EXPECTED[] = "The capital of Italy is Rome.";

static void on_release(void *ctx, const void *data, size_t n_bytes) {
    life *l = ctx;
    assert_ptr_equal(data, l->image);
    assert_int_equal(n_bytes, l->image_bytes);
    l->n_released++;
}

static void on_event(void *ctx, const facet_reply_event *event) {
    life *l = ctx;
    assert_true(l->answer_bytes + event->n_bytes < sizeof l->answer);
    memcpy(l->answer + l->answer_bytes, event->text, event->n_bytes);
    l->answer_bytes += event->n_bytes;
    l->answer[l->answer_bytes] = '\0';
}

static bool on_token(void *ctx, const facet_token *token) {
    life *l = ctx;
    l->parser_status = facet_reply_parser_push(l->parser, token->text, token->n_bytes, token->control);
    return l->parser_status == FACET_OK;
}

static facet_status read_image(void *ctx, uint64_t offset, void *to, size_t n, facet_error *error) {
    const life *l = ctx;
    (void)error;
    memcpy(to, l->image + offset, n);
    return FACET_OK;
}

static void release_source(void *ctx) { ((life *)ctx)->n_released++; }

static facet_status open_source(life *l) {
    facet_source source = {
        .size = sizeof source, .n_bytes = l->image_bytes, .read = read_image, .release = release_source, .ctx = l};
    return facet_model_open_source(&l->model, &source, NULL, &l->error);
}

/* The second half comes first, in crumbs, so that the list of ranges grows. */
static facet_status feed_image(life *l) {
    size_t half = l->image_bytes / 2;
    for (size_t i = 0; i < 40; i++) {
        FACET_TRY(facet_loader_feed(l->loader, half + 100 * i, l->image + half + 100 * i, 1, &l->error));
    }
    FACET_TRY(facet_loader_feed(l->loader, half, l->image + half, l->image_bytes - half, &l->error));
    return facet_loader_feed(l->loader, 0, l->image, half, &l->error);
}

static facet_status open_stream(life *l) {
    facet_model *again;
    facet_loader_options options;
    facet_loader_options_defaults(&options);
    options.n_bytes = l->image_bytes;
    options.timeout_seconds = 0;
    FACET_TRY(facet_loader_new(&l->loader, &options, &l->error));
    FACET_TRY(feed_image(l));
    FACET_TRY(facet_loader_open(l->loader, &l->model, &l->error));
    facet_status status = facet_loader_finish(l->loader, &again, &l->error);
    facet_model_free(again);
    return status;
}

static facet_status life_open(life *l) {
    if (l->from == ORIGIN_SOURCE) return open_source(l);
    if (l->from == ORIGIN_STREAM) return open_stream(l);
    facet_model_options options;
    facet_model_options_defaults(&options);
    options.use_mmap = l->from == ORIGIN_MAPPED;
    if (l->from == ORIGIN_MEMORY)
        return facet_model_open_memory(&l->model, l->image, l->image_bytes, on_release, l, &options, &l->error);
    return facet_model_open(&l->model, MODEL, &options, &l->error);
}

static facet_status life_start(life *l) {
    facet_engine_options options;
    facet_engine_options_defaults(&options);
    options.n_threads = 2;
    options.max_context = 256;
    FACET_TRY(facet_engine_new(&l->engine, l->model, &options, &l->error));
    return facet_session_new(&l->session, l->engine, NULL, &l->error);
}

/* Text to tokens and back, and the arithmetic of memory: what a program does beside chatting. */
static facet_status life_tokens(life *l) {
    int32_t *ids = NULL;
    char *text = NULL;
    size_t n = 0, n_bytes = 0;
    facet_fit fit = {.size = sizeof fit};
    FACET_TRY(facet_fit_compute(l->model, NULL, &fit, &l->error));
    facet_status status = facet_tokenize(l->model, QUESTION, strlen(QUESTION), false, &ids, &n, &l->error);
    if (!status) status = facet_detokenize(l->model, ids, n, false, &text, &n_bytes, &l->error);
    if (!status) assert_string_equal(text, QUESTION);
    facet_free(ids);
    facet_free(text);
    return status;
}

/* A chat of one message and a tool. Values report failures by NULL and a status: FACET_ERROR_MEMORY here. */
static facet_status life_render(life *l) {
    facet_value *message = facet_value_object(), *messages = facet_value_array();
    facet_value *function = facet_value_object(), *tool = facet_value_object(), *tools = facet_value_array();
    bool failed = !message || !messages || !function || !tool || !tools;
    failed |= !!facet_value_set(message, "role", 4, facet_value_string("user", 4));
    failed |= !!facet_value_set(message, "content", 7, facet_value_string(QUESTION, strlen(QUESTION)));
    failed |= !!facet_value_append(messages, message);
    failed |= !!facet_value_set(function, "name", 4, facet_value_string("get_time", 8));
    failed |= !!facet_value_set(tool, "type", 4, facet_value_string("function", 8));
    failed |= !!facet_value_set(tool, "function", 8, function);
    failed |= !!facet_value_append(tools, tool);
    facet_status status = failed ? FACET_ERROR_MEMORY : FACET_OK;
    if (failed) snprintf(l->error.message, sizeof l->error.message, "no memory for values");

    facet_chat chat;
    facet_chat_defaults(&chat);
    chat.messages = messages;
    if (!status) status = facet_chat_render(l->model, &chat, &l->prompt, &l->error);
    if (!status) status = facet_reply_parser_new(&l->parser, l->prompt, tools, on_event, l, &l->error);
    facet_value_free(messages);
    facet_value_free(tools);
    return status;
}

/* Can be called again after it failed. */
static facet_status life_answer(life *l) {
    l->answer_bytes = 0;
    l->answer[0] = '\0';
    size_t n;
    const int32_t *tokens = facet_prompt_tokens(l->prompt, &n);
    FACET_TRY(facet_session_sync(l->session, tokens, n, NULL, NULL, NULL, &l->error));
    facet_generation generation;
    facet_generation_defaults(&generation);
    generation.sampling.temperature = 0;
    generation.sampling.repeat_penalty = 1.0001f; /* so that the penalties' memory is in use */
    generation.max_tokens = 20;
    const char *stop[] = {"\nnever written"};
    generation.stop = stop;
    generation.n_stop = 1;
    FACET_TRY(facet_session_generate(l->session, &generation, on_token, l, NULL, &l->error));
    FACET_TRY(l->parser_status);
    return facet_reply_parser_finish(l->parser);
}

static void life_end(life *l) {
    facet_reply_parser_free(l->parser);
    facet_prompt_free(l->prompt);
    facet_session_free(l->session);
    facet_engine_free(l->engine);
    facet_model_free(l->model);
    facet_loader_free(l->loader);
}

static facet_status life_run(life *l) {
    FACET_TRY(life_open(l));
    FACET_TRY(life_tokens(l));
    FACET_TRY(life_start(l));
    FACET_TRY(life_render(l));
    return life_answer(l);
}

/* The status that tells what failed. */
static bool tells(facet_status status, inject_kind kind) {
    switch (kind) {
    case INJECT_MEMORY:
    case INJECT_THREAD: return status == FACET_ERROR_MEMORY;
    case INJECT_MAP: return status == FACET_ERROR_MEMORY || status == FACET_ERROR_IO;
    case INJECT_FILE: return status == FACET_ERROR_IO;
    case INJECT_NONE: return false;
    }
    return false;
}

/* A fault in the middle of an answer leaves a session that can be asked again. The parser may have stopped inside a
 * text, so the answer goes to a new one. */
static void check_usable(life *l) {
    facet_reply_parser_free(l->parser);
    l->parser = NULL;
    l->parser_status = FACET_OK;
    assert_ok(facet_reply_parser_new(&l->parser, l->prompt, NULL, on_event, l, &l->error), &l->error);
    assert_ok(life_answer(l), &l->error);
    assert_string_equal(l->answer, EXPECTED);
}

/* One life in which request k fails. Returns what failed. */
static inject_kind check_life(life l, long k) {
    inject_held before = inject_balance();
    inject_arm(k);
    facet_status status = life_run(&l);
    inject_kind kind = inject_disarm();
    if (status == FACET_OK) { /* nothing failed, or the library did without */
        assert_string_equal(l.answer, EXPECTED);
    } else if (!tells(status, kind) || (!l.error.message[0] && l.parser_status == FACET_OK)) {
        fail_msg("request %ld (kind %d) failed: status %s, message \"%s\"", k, kind, facet_status_name(status),
                 l.error.message);
    } else if (l.parser) {
        check_usable(&l);
    }
    life_end(&l);
    inject_held after = inject_balance();
    if (memcmp(&before, &after, sizeof before))
        fail_msg("request %ld (kind %d) failed with %s and left %ld blocks, %ld maps, %ld files, %ld threads", k,
                 kind, facet_status_name(status), after.blocks - before.blocks, after.maps - before.maps,
                 after.files - before.files, after.threads - before.threads);
    if (l.from == ORIGIN_MEMORY || l.from == ORIGIN_SOURCE) assert_int_equal(l.n_released, 1);
    return kind;
}

static void sweep(origin from) {
    life l = {.from = from};
    if (from != ORIGIN_MAPPED && from != ORIGIN_READ) {
        char *bytes = test_read(MODEL, &l.image_bytes);
        l.image = aligned_alloc(64, (l.image_bytes + 63) / 64 * 64);
        memcpy(l.image, bytes, l.image_bytes);
        free(bytes);
    }
    check_life(l, 0);
    long k = 1, n_checked = 0;
    while (check_life(l, k) != INJECT_NONE) {
        k += every_request || k < 32 ? 1 : 1 + k / 8;
        n_checked++;
    }
    print_message("origin %d: %ld faults\n", from, n_checked);
    assert_true(n_checked > 20);
    free(l.image);
}

static void mapped(void **state) {
    (void)state;
    sweep(ORIGIN_MAPPED);
}

static void read_whole(void **state) {
    (void)state;
    sweep(ORIGIN_READ);
}

static void from_source(void **state) {
    (void)state;
    sweep(ORIGIN_SOURCE);
}

static void from_stream(void **state) {
    (void)state;
    sweep(ORIGIN_STREAM);
}

static void in_memory(void **state) {
    (void)state;
    sweep(ORIGIN_MEMORY);
}

/* ---- grammars: compiled, followed and freed while requests fail */

static facet_value *text_value(const char *text) { return facet_value_string(text, strlen(text)); }

/* {"type": "object", "properties": {"a": {"type": "string", "pattern": ...}, "b": {"enum": [1, "x"]}}} */
static facet_value *make_schema(void) {
    facet_value *schema = facet_value_object(), *properties = facet_value_object(), *a = facet_value_object();
    facet_value *b = facet_value_object(), *list = facet_value_array();
    facet_value_set(a, "type", 4, text_value("string"));
    facet_value_set(a, "pattern", 7, text_value("^(x|y)+[0-9]{2}$"));
    facet_value_append(list, facet_value_number("1", 1));
    facet_value_append(list, text_value("x"));
    facet_value_set(b, "enum", 4, list);
    facet_value_set(properties, "a", 1, a);
    facet_value_set(properties, "b", 1, b);
    facet_value_set(schema, "type", 4, text_value("object"));
    facet_value_set(schema, "properties", 10, properties);
    facet_value_set(schema, "additionalProperties", 20, facet_value_bool(true));
    return schema;
}

static facet_value *make_tools(void) {
    facet_value *function = facet_value_object(), *tool = facet_value_object(), *tools = facet_value_array();
    facet_value_set(function, "name", 4, text_value("get_time"));
    facet_value_set(function, "parameters", 10, make_schema());
    facet_value_set(tool, "function", 8, function);
    facet_value_append(tools, tool);
    return tools;
}

typedef struct constrained {
    facet_model *model;
    facet_session *session;
    facet_value *schema, *tools;
    facet_grammar *grammars[3];
    facet_error error;
} constrained;

static facet_status constrain(constrained *c) {
    static const char gbnf[] = "root ::= ([a-z]{2,5} | \"x\" root)* \"end\"";
    static const int32_t prompt[] = {2};
    FACET_TRY(facet_grammar_from_schema(&c->grammars[0], c->model, c->schema, &c->error));
    FACET_TRY(facet_grammar_from_tools(&c->grammars[1], c->model, c->tools, NULL, true, &c->error));
    FACET_TRY(facet_grammar_from_gbnf(&c->grammars[2], c->model, gbnf, strlen(gbnf), &c->error));
    for (size_t i = 0; i < 6; i++) { /* twice: the second time takes what the first has worked out */
        facet_generation generation;
        facet_generation_defaults(&generation);
        generation.max_tokens = 4 + (int32_t)i / 3;
        generation.grammar = c->grammars[i % 3];
        generation.grammar_after_thought = i % 3 == 2;
        FACET_TRY(facet_session_sync(c->session, prompt, 1, NULL, NULL, NULL, &c->error));
        FACET_TRY(facet_session_generate(c->session, &generation, NULL, NULL, NULL, &c->error));
    }
    return FACET_OK;
}

/* A model of its own each time: it keeps what grammars have worked out. */
static inject_kind constrain_once(long k) {
    life l = {.from = ORIGIN_MAPPED};
    constrained c = {.schema = make_schema(), .tools = make_tools()};
    inject_held before = inject_balance();
    assert_ok(life_open(&l), &l.error);
    assert_ok(life_start(&l), &l.error);
    c.model = l.model;
    c.session = l.session;
    inject_arm(k);
    facet_status status = constrain(&c);
    inject_kind kind = inject_disarm();
    for (size_t i = 0; i < 3; i++) facet_grammar_free(c.grammars[i]);
    life_end(&l);
    inject_held after = inject_balance();
    if (status != FACET_OK && (!tells(status, kind) || !c.error.message[0]))
        fail_msg("request %ld: %s: %s", k, facet_status_name(status), c.error.message);
    if (memcmp(&before, &after, sizeof before))
        fail_msg("request %ld left %ld blocks", k, after.blocks - before.blocks);
    facet_value_free(c.schema);
    facet_value_free(c.tools);
    return kind;
}

/* A model's trie of tokens is made with its first grammar. */
static void check_trie(long k) {
    life l = {.from = ORIGIN_MAPPED};
    facet_grammar *g;
    assert_ok(life_open(&l), &l.error);
    inject_arm(k);
    facet_status status = facet_grammar_from_gbnf(&g, l.model, "root ::= \"a\"", 12, &l.error);
    inject_kind kind = inject_disarm();
    assert_true(status == FACET_OK || tells(status, kind));
    facet_grammar_free(g);
    facet_model_free(l.model);
}

static void grammars(void **state) {
    (void)state;
    for (long k = 1; k < 50; k++) check_trie(k);
    long k = 1, n_checked = 0;
    while (constrain_once(k) != INJECT_NONE) {
        k += every_request || k < 32 ? 1 : 1 + k / 32;
        n_checked++;
    }
    print_message("grammars: %ld faults\n", n_checked);
    assert_true(n_checked > 50);
}

/* ---- context shift: a session that loses its oldest tokens while requests fail */

enum { SHIFT_CONTEXT = 64, SHIFT_PROMPT = 40, SHIFT_TOKENS = 60 };

typedef struct written {
    int32_t ids[SHIFT_TOKENS];
    size_t n;
} written;

static bool note_token(void *ctx, const facet_token *token) {
    written *w = ctx;
    assert_true(w->n < SHIFT_TOKENS);
    w->ids[w->n++] = token->id;
    return true;
}

/* The same each time: fifteen tokens leave the middle of the prompt's pages, then the context overflows twice. */
static facet_status shift_and_go_on(life *l, written *w) {
    int32_t prompt[SHIFT_PROMPT];
    for (int32_t i = 0; i < SHIFT_PROMPT; i++) prompt[i] = 300 + 7 * i % 90;
    w->n = 0;
    FACET_TRY(facet_session_sync(l->session, prompt, SHIFT_PROMPT, NULL, NULL, NULL, &l->error));
    FACET_TRY(facet_session_shift(l->session, 5, 15, &l->error));
    facet_generation g;
    facet_generation_defaults(&g);
    g.sampling.temperature = 0;
    g.max_tokens = SHIFT_TOKENS;
    g.ignore_end = true;
    g.shift_keep = 4;
    facet_generation_result result = {.size = sizeof result};
    facet_status status = facet_session_generate(l->session, &g, note_token, w, &result, &l->error);
    if (status == FACET_OK) assert_in_range(result.n_shifted, 1, SHIFT_TOKENS);
    return status;
}

static facet_status shift_life(life *l, written *w) {
    facet_engine_options options;
    facet_engine_options_defaults(&options);
    options.n_threads = 2;
    options.max_context = SHIFT_CONTEXT;
    FACET_TRY(facet_engine_new(&l->engine, l->model, &options, &l->error));
    FACET_TRY(facet_session_new(&l->session, l->engine, NULL, &l->error));
    return shift_and_go_on(l, w);
}

static inject_kind check_shift(const life *opened, const written *want, long k) {
    life l = *opened;
    written w = {.n = 0};
    inject_held before = inject_balance();
    inject_arm(k);
    facet_status status = shift_life(&l, &w);
    inject_kind kind = inject_disarm();
    if (status != FACET_OK && (!tells(status, kind) || !l.error.message[0]))
        fail_msg("request %ld: %s: %s", k, facet_status_name(status), l.error.message);
    if (status != FACET_OK && l.session) assert_ok(shift_and_go_on(&l, &w), &l.error);
    if (status == FACET_OK || l.session) {
        assert_int_equal(w.n, want->n);
        assert_memory_equal(w.ids, want->ids, w.n * sizeof *w.ids);
    }
    facet_session_free(l.session);
    facet_engine_free(l.engine);
    inject_held after = inject_balance();
    if (memcmp(&before, &after, sizeof before))
        fail_msg("request %ld left %ld blocks", k, after.blocks - before.blocks);
    return kind;
}

static void shifts(void **state) {
    (void)state;
    life l = {.from = ORIGIN_MAPPED};
    written want = {.n = 0};
    assert_ok(life_open(&l), &l.error);
    life first = l;
    assert_ok(shift_life(&first, &want), &first.error);
    assert_int_equal(want.n, SHIFT_TOKENS);
    facet_session_free(first.session);
    facet_engine_free(first.engine);
    long k = 1, n_checked = 0;
    while (check_shift(&l, &want, k) != INJECT_NONE) {
        k += every_request || k < 32 ? 1 : 1 + k / 32;
        n_checked++;
    }
    print_message("shifts: %ld faults\n", n_checked);
    assert_true(n_checked > 30);
    facet_model_free(l.model);
}

int main(int argc, char **argv) {
    every_request = argc > 1 && !strcmp(argv[1], "full");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapped),      cmocka_unit_test(read_whole),  cmocka_unit_test(in_memory),
        cmocka_unit_test(from_source), cmocka_unit_test(from_stream), cmocka_unit_test(grammars),
        cmocka_unit_test(shifts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
