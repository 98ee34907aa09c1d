/* Opening small vocabularies: what counts as control, byte and end, and a clear refusal of every malformed file. */
#include "support.h"

#include <stdlib.h>

#include "quick_token_image.h"

#define N(array) (sizeof(array) / sizeof *(array))
#define FIRST    256 /* the id of the first token after the bytes */

static const image_token some_tokens[] = {{"<bos>", 3}, {"<eos>", 1}, {"<|turn>", 4}, {"<turn|>", 4},
                                          {"</s>", 4},  {"a", 1},     {"b", 1},       {"ab", 1}};
static const char *const some_merges[] = {"a b"};

static image some_image(void) {
    return (image){.model = "gemma4",
                   .bytes = true,
                   .tokens = some_tokens,
                   .n_tokens = N(some_tokens),
                   .merges = some_merges,
                   .n_merges = N(some_merges),
                   .bos = -1,
                   .eos = -1};
}

static void expect_refusal(const image *im, facet_status status, const char *words) {
    image_file f;
    facet_error error = {0};
    vocab *v = (vocab *)&f; /* must become NULL */
    assert_ok(image_open(&f, im, &error), &error);
    assert_int_equal(vocab_new(&v, f.file, &error), status);
    assert_null(v);
    assert_int_equal(error.status, status);
    if (!strstr(error.message, words)) fail_msg("'%s' does not say '%s'", error.message, words);
    image_close(&f);
}

static void refuse_tokens(const image_token *tokens, size_t n, facet_status status, const char *words) {
    image im = some_image();
    im.tokens = tokens;
    im.n_tokens = n;
    expect_refusal(&im, status, words);
}

static void missing_parts_are_named(void **state) {
    (void)state;
    image im = some_image();
    im.model = NULL;
    expect_refusal(&im, FACET_ERROR_FORMAT, "tokenizer.ggml.model");
    im.model = "llama";
    expect_refusal(&im, FACET_ERROR_UNSUPPORTED, "'llama'");
    im.model = "two\nlines";
    expect_refusal(&im, FACET_ERROR_UNSUPPORTED, "'two?lines'");
    im = some_image();
    im.tokens = NULL;
    expect_refusal(&im, FACET_ERROR_FORMAT, "tokenizer.ggml.tokens is missing");
    im = some_image();
    im.no_types = true;
    expect_refusal(&im, FACET_ERROR_FORMAT, "tokenizer.ggml.token_type is missing");
    im = some_image();
    im.n_types_missing = 1;
    expect_refusal(&im, FACET_ERROR_FORMAT, "264 tokens but 263 types");
    im = some_image();
    im.merges = NULL;
    expect_refusal(&im, FACET_ERROR_FORMAT, "tokenizer.ggml.merges is missing");
    im = some_image();
    im.bytes = false;
    expect_refusal(&im, FACET_ERROR_FORMAT, "<0x00>");
}

static void bad_tokens_are_named(void **state) {
    (void)state;
    static char huge[VOCAB_MAX_SPELLING + 2];
    memset(huge, 'x', sizeof huge - 1);
    refuse_tokens((image_token[]){{"a", 1}, {"b", 1}, {"a", 1}}, 3, FACET_ERROR_FORMAT, "tokens 256 and 258");
    refuse_tokens((image_token[]){{"<0x41>", 6}}, 1, FACET_ERROR_FORMAT, "tokens 65 and 256");
    refuse_tokens((image_token[]){{"", 1}}, 1, FACET_ERROR_FORMAT, "token 256");
    refuse_tokens((image_token[]){{"a", 0}}, 1, FACET_ERROR_FORMAT, "type");
    refuse_tokens((image_token[]){{"a", 7}}, 1, FACET_ERROR_FORMAT, "type");
    refuse_tokens((image_token[]){{"<0x4g>", 6}}, 1, FACET_ERROR_FORMAT, "<0xXX>");
    refuse_tokens((image_token[]){{"a\xe2\x96", 1}}, 1, FACET_ERROR_FORMAT, "not UTF-8");
    refuse_tokens((image_token[]){{huge, 1}}, 1, FACET_ERROR_UNSUPPORTED, "513 bytes");
    image im = some_image();
    im.bytes = false;
    im.n_tokens = 0;
    expect_refusal(&im, FACET_ERROR_UNSUPPORTED, "0 tokens");
}

static void bad_merges_are_named(void **state) {
    (void)state;
    static const char *const bad[] = {"", "ab", " ", "a ", " b", "a b c", "a  b"};
    for (size_t i = 0; i < N(bad); i++) {
        image im = some_image();
        im.merges = (const char *const[]){"a b", bad[i]};
        im.n_merges = 2;
        expect_refusal(&im, FACET_ERROR_FORMAT, "merge 1 ");
    }
    image im = some_image();
    im.merges = (const char *const[]){"a b", "b a", "a b"};
    im.n_merges = 3;
    expect_refusal(&im, FACET_ERROR_FORMAT, "merge 2 repeats merge 0");
}

static void bad_ids_are_named(void **state) {
    (void)state;
    image im = some_image();
    im.eos = 264;
    expect_refusal(&im, FACET_ERROR_FORMAT, "eos_token_id is 264");
    im = some_image();
    im.bos = 4000000000;
    expect_refusal(&im, FACET_ERROR_FORMAT, "bos_token_id is 4000000000");
    im = some_image();
    im.suppressed = (const int32_t[]){1, 264};
    im.n_suppressed = 2;
    expect_refusal(&im, FACET_ERROR_FORMAT, "entry 1");
    im.suppressed = (const int32_t[]){-1};
    im.n_suppressed = 1;
    expect_refusal(&im, FACET_ERROR_FORMAT, "entry 0");
    im.suppressed = calloc(300, sizeof *im.suppressed);
    im.n_suppressed = 300;
    expect_refusal(&im, FACET_ERROR_FORMAT, "more entries");
    free((void *)im.suppressed);
}

/* ---- what a good file holds */

static vocab *open_good(image_file *f, const image *im) {
    facet_error error = {0};
    vocab *v;
    assert_ok(image_open(f, im, &error), &error);
    assert_ok(vocab_new(&v, f->file, &error), &error);
    return v;
}

static void control_tokens_are_told_by_spelling(void **state) {
    (void)state;
    static const image_token tokens[] = {{"<|a>", 1},    {"<a|>", 4},  {"<|a|>", 5},  {"<mask>", 4},
                                         {"<pad>", 1},   {"<unk>", 1}, {"odd", 3},    {"odder", 2},
                                         {"<|>", 1},     {"<||>", 1},  {"<a>", 4},    {"</s>", 4},
                                         {"<|a", 1},     {"a|>", 1},   {"<turn>", 1}, {"<|tool_response>", 1},
                                         {"<turn|>", 4}, {"<eos>", 1}};
    enum { N_CONTROL = 8, FIRST_END = 15 };
    image im = some_image();
    im.tokens = tokens;
    im.n_tokens = N(tokens);
    image_file f;
    vocab *v = open_good(&f, &im);
    for (int32_t i = 0; i < (int32_t)N(tokens); i++) {
        bool end = i >= FIRST_END;
        if (vocab_is_control(v, FIRST + i) != (i < N_CONTROL || end) || vocab_is_end(v, FIRST + i) != end)
            fail_msg("%s is taken for something else", tokens[i].text);
    }
    for (int32_t id = 0; id < FIRST; id++) assert_false(vocab_is_control(v, id) || vocab_is_end(v, id));
    assert_false(vocab_is_control(v, -1) || vocab_is_end(v, -1));
    assert_false(vocab_is_control(v, vocab_size(v)) || vocab_is_end(v, INT32_MAX));
    assert_int_equal(vocab_bos(v), -1);
    vocab_free(v);
    image_close(&f);
}

/* The file's own end counts if it is a control token; an HTML tag does not. */
static void the_named_end_must_be_control(void **state) {
    (void)state;
    image im = some_image();
    image_file f;
    for (int32_t eos = FIRST; eos < FIRST + (int32_t)N(some_tokens); eos++) {
        im.eos = eos;
        vocab *v = open_good(&f, &im);
        for (int32_t id = FIRST; id < vocab_size(v); id++) {
            bool always = id == FIRST + 1 || id == FIRST + 3; /* <eos> <turn|> */
            assert_int_equal(vocab_is_end(v, id), always || (id == eos && id < FIRST + 4));
        }
        vocab_free(v);
        image_close(&f);
    }
}

static void bos_is_found_by_text_then_by_number(void **state) {
    (void)state;
    image im = some_image();
    image_file f;
    im.bos = FIRST + 5;
    vocab *v = open_good(&f, &im);
    assert_int_equal(vocab_bos(v), FIRST);
    vocab_free(v);
    image_close(&f);
    im.tokens++;
    im.n_tokens--;
    v = open_good(&f, &im);
    assert_int_equal(vocab_bos(v), FIRST + 5);
    vocab_free(v);
    image_close(&f);
}

static void suppressed_tokens_are_read(void **state) {
    (void)state;
    image im = some_image();
    im.suppressed = (const int32_t[]){7, 258, 0};
    im.n_suppressed = 3;
    image_file f;
    vocab *v = open_good(&f, &im);
    size_t n;
    const int32_t *ids = vocab_suppressed(v, &n);
    assert_int_equal(n, 3);
    assert_memory_equal(ids, im.suppressed, 3 * sizeof *ids);
    vocab_free(v);
    image_close(&f);
}

static void spelling_and_find_are_inverse(void **state) {
    (void)state;
    image im = some_image();
    image_file f;
    vocab *v = open_good(&f, &im);
    size_t n = 99;
    assert_int_equal(vocab_size(v), FIRST + (int32_t)N(some_tokens));
    for (int32_t id = 0; id < vocab_size(v); id++) {
        const char *s = vocab_spelling(v, id, &n);
        assert_int_equal(vocab_find(v, s, n), id);
        assert_int_equal(vocab_find(v, s, n - 1) == id, 0);
    }
    assert_null(vocab_spelling(v, -1, &n));
    assert_null(vocab_spelling(v, vocab_size(v), NULL));
    assert_int_equal(n, 0);
    assert_int_equal(vocab_find(v, "", 0), -1);
    assert_int_equal(vocab_find(v, "zz", 2), -1);
    vocab_free(v);
    vocab_free(NULL);
    image_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_parts_are_named),
        cmocka_unit_test(bad_tokens_are_named),
        cmocka_unit_test(bad_merges_are_named),
        cmocka_unit_test(bad_ids_are_named),
        cmocka_unit_test(control_tokens_are_told_by_spelling),
        cmocka_unit_test(the_named_end_must_be_control),
        cmocka_unit_test(bos_is_found_by_text_then_by_number),
        cmocka_unit_test(suppressed_tokens_are_read),
        cmocka_unit_test(spelling_and_find_are_inverse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
