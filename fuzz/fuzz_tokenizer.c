/* Text of any kind through a small vocabulary that has everything: merges across spaces, user-defined tokens, newline
 * runs, control tokens. The first byte of the input says whether control tokens are parsed. Checks that the pieces
 * are the very bytes of the text (spaces, marked in the vocabulary, apart), that typed text holds no control token,
 * and that what is decoded is UTF-8. */
#include <stdint.h>
#include <stdlib.h>

#include "../tests/quick_token_image.h"
#include "base/utf8.h"
#include "token/decoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define SPACE "\xe2\x96\x81"

static const image_token tokens[] = {{"<bos>", 3},     {"<eos>", 3},    {"<|turn>", 4},  {"<turn|>", 3},
                                     {"<|\"|>", 4},    {"<table>", 4},  {"</h1>", 4},    {"<unused1>", 4},
                                     {"\n", 4},        {"\n\n", 4},     {SPACE, 1},      {SPACE SPACE, 4},
                                     {"a", 1},         {"b", 1},        {"t", 1},        {"h", 1},
                                     {"e", 1},         {">", 1},        {"<", 1},        {"/", 1},
                                     {"|", 1},         {"\xc3\xa9", 1}, {"th", 1},       {"the", 1},
                                     {SPACE "the", 1}, {"</", 1},       {SPACE "</", 1}, {">" SPACE "</", 1},
                                     {"<|", 1},        {"ab", 1},       {"aa", 1},       {"aaaa", 1}};
static const char *const merges[] = {"t h",           "th e",  SPACE " the", "< /",           SPACE " </",
                                     "> " SPACE "</", "< |",   "a b",        SPACE " " SPACE, "a a",
                                     "aa aa",         "\n \n", "q u"};

static void check(bool good) {
    if (!good) abort();
}

static void put_spaces(buffer *b, const uint8_t *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool mark = n - i >= 3 && memcmp(text + i, SPACE, 3) == 0;
        buffer_byte(b, mark ? ' ' : (char)text[i]);
        if (mark) i += 2;
    }
}

static void check_text(const vocab *v, const uint8_t *text, size_t n, bool control) {
    token_list ids = {0};
    buffer pieces = {0}, expected = {0}, decoded = {0};
    check(vocab_encode(v, (const char *)text, n, control, &ids, NULL) == FACET_OK);
    for (size_t i = 0; i < ids.n; i++) {
        check(control || !vocab_is_control(v, ids.ids[i]));
        check(vocab_piece(v, ids.ids[i], &pieces));
    }
    put_spaces(&expected, text, n);
    check(pieces.n == expected.n && (!n || memcmp(pieces.data, expected.data, pieces.n) == 0));
    check(vocab_decode(v, ids.ids, ids.n, true, &decoded, NULL) == FACET_OK);
    check(utf8_invalid(decoded.data, decoded.n) == decoded.n);
    if (utf8_invalid((const char *)text, n) == n)
        check(decoded.n == expected.n && (!n || memcmp(decoded.data, expected.data, decoded.n) == 0));
    free(ids.ids);
    buffer_free(&pieces);
    buffer_free(&expected);
    buffer_free(&decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    image im = {.model = "gemma4",
                .bytes = true,
                .tokens = tokens,
                .n_tokens = sizeof tokens / sizeof *tokens,
                .merges = merges,
                .n_merges = sizeof merges / sizeof *merges,
                .bos = -1,
                .eos = -1};
    image_file file;
    vocab *v;
    if (n == 0) return 0;
    check(image_open(&file, &im, NULL) == FACET_OK);
    check(vocab_new(&v, file.file, NULL) == FACET_OK);
    check_text(v, data + 1, n - 1, data[0] & 1);
    vocab_free(v);
    image_close(&file);
    return 0;
}
