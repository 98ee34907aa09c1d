/* Encoding against a second implementation: the rules written down naively (scan, copy, join the best pair, start
 * over) for random small vocabularies and texts. Shows that the heap, the extra cuts and the tables change nothing.
 * Then: decoding gives the text back, and without control parsing no control token comes out. */
#include "support.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "quick_token_image.h"
#include "token/decoder.h"

enum { N_MAX = 64, TEXT_MAX = 400, N_VOCABULARIES = 150, N_TEXTS = 60 };

typedef struct spelt {
    char s[48];
} spelt;

/* A random vocabulary, and the lists it was made of. */
typedef struct sample {
    spelt token[N_MAX], merge[N_MAX];
    image_token tokens[N_MAX];
    const char *merges[N_MAX];
    size_t n_tokens, n_merges;
    image_file file;
    vocab *v;
} sample;

static uint32_t next(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static const char *const letters[] = {"\xe2\x96\x81", "a", "b", "c", ">", "\n", "\xc3\xa9", "\xe2\x82\xac"};
static const image_token fixed[] = {{"<bos>", 3}, {"<|t>", 4}, {"<|t", 4},  {"<t|>", 1},
                                    {"a\n", 4},   {"b b", 4},  {"\n\n", 4}, {"\xe2\x96\x81\xe2\x96\x81", 4},
                                    {"<unk>", 2}};

static bool has(const sample *s, const char *text) {
    for (size_t i = 0; i < s->n_tokens; i++) {
        if (strcmp(s->tokens[i].text, text) == 0) return true;
    }
    return false;
}

static void add_token(sample *s, const char *text, int32_t type) {
    if (has(s, text) || s->n_tokens == N_MAX) return;
    snprintf(s->token[s->n_tokens].s, sizeof s->token->s, "%s", text);
    s->tokens[s->n_tokens] = (image_token){s->token[s->n_tokens].s, type};
    s->n_tokens++;
}

/* Joins two tokens; now and then the result is no token, or a control token. */
static void add_merge(sample *s, uint32_t *seed) {
    const char *left = s->tokens[next(seed) % s->n_tokens].text, *right = s->tokens[next(seed) % s->n_tokens].text;
    if (strlen(left) + strlen(right) > 20 || strpbrk(left, " <") || strpbrk(right, " <")) return;
    char text[48], joined[48];
    snprintf(text, sizeof text, "%.20s %.20s", left, right);
    snprintf(joined, sizeof joined, "%.20s%.20s", left, right);
    for (size_t i = 0; i < s->n_merges; i++) {
        if (strcmp(s->merges[i], text) == 0) return;
    }
    strcpy(s->merge[s->n_merges].s, text);
    s->merges[s->n_merges] = s->merge[s->n_merges].s;
    s->n_merges++;
    if (next(seed) % 8) add_token(s, joined, next(seed) % 16 ? 1 : 3);
}

static void sample_new(sample *s, uint32_t *seed) {
    *s = (sample){0};
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++) {
        if (i == 0 || next(seed) % 8) add_token(s, letters[i], 1); /* without U+2581 spaces would come back as that */
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (next(seed) % 4) add_token(s, fixed[i].text, fixed[i].type);
    }
    for (uint32_t n = next(seed) % 40; s->n_tokens && n; n--) add_merge(s, seed);
    image im = {.model = "gemma4",
                .bytes = true,
                .tokens = s->tokens,
                .n_tokens = s->n_tokens,
                .merges = s->merges,
                .n_merges = s->n_merges,
                .bos = -1,
                .eos = -1};
    facet_error error = {0};
    assert_ok(image_open(&s->file, &im, &error), &error);
    assert_ok(vocab_new(&s->v, s->file.file, &error), &error);
}

static void sample_free(sample *s) {
    vocab_free(s->v);
    image_close(&s->file);
}

/* ---- the naive implementation */

static int32_t lookup(const sample *s, const char *text, size_t n) {
    for (size_t i = 0; i < s->n_tokens; i++) {
        if (strlen(s->tokens[i].text) == n && memcmp(s->tokens[i].text, text, n) == 0) return 256 + (int32_t)i;
    }
    return -1;
}

static bool is_control(const sample *s, int32_t id) {
    static const char *const names[] = {"<bos>", "<unk>", "<|t>", "<t|>"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(s->tokens[id - 256].text, names[i]) == 0) return true;
    }
    return s->tokens[id - 256].type == 3;
}

static int32_t ordinary(const sample *s, const char *text, size_t n) {
    int32_t id = lookup(s, text, n);
    return id >= 0 && is_control(s, id) ? -1 : id;
}

static size_t rank_of(const sample *s, const char *left, size_t n_left, size_t n_right) {
    for (size_t i = 0; i < s->n_merges; i++) {
        const char *m = s->merges[i];
        if (strlen(m) == n_left + 1 + n_right && m[n_left] == ' ' && memcmp(m, left, n_left) == 0 &&
            memcmp(m + n_left + 1, left + n_left, n_right) == 0)
            return ordinary(s, left, n_left) >= 0 && ordinary(s, left + n_left, n_right) >= 0 &&
                           ordinary(s, left, n_left + n_right) >= 0
                       ? i
                       : SIZE_MAX;
    }
    return SIZE_MAX;
}

static size_t character(const char *s, size_t n) {
    size_t length = utf8_decode(s, n, NULL);
    return length ? length : 1;
}

/* Joins and emits one piece; at[i] is where symbol i starts, at[n] the end. */
static void naive_piece(const sample *s, const char *text, size_t n_bytes, token_list *out) {
    size_t at[3 * TEXT_MAX + 1], n = 0;
    for (size_t i = 0; i < n_bytes; i += character(text + i, n_bytes - i)) at[n++] = i;
    at[n] = n_bytes;
    for (;;) {
        size_t best = SIZE_MAX, where = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            size_t rank = rank_of(s, text + at[i], at[i + 1] - at[i], at[i + 2] - at[i + 1]);
            if (rank < best) {
                best = rank;
                where = i;
            }
        }
        if (best == SIZE_MAX) break;
        memmove(&at[where + 1], &at[where + 2], (n - where - 1) * sizeof *at);
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t id = ordinary(s, text + at[i], at[i + 1] - at[i]);
        for (size_t j = at[i]; id < 0 && j < at[i + 1]; j++) token_list_push(out, (uint8_t)text[j]);
        if (id >= 0) token_list_push(out, id);
    }
}

/* Spaces are marked; runs of newlines are pieces. */
static void naive_text(const sample *s, const char *text, size_t n, token_list *out) {
    buffer piece = {0};
    for (size_t i = 0; i < n;) {
        bool newlines = text[i] == '\n';
        buffer_clear(&piece);
        for (; i < n && (text[i] == '\n') == newlines; i++) {
            if (text[i] == ' ')
                buffer_text(&piece, "\xe2\x96\x81");
            else
                buffer_byte(&piece, text[i]);
        }
        int32_t whole = newlines ? ordinary(s, piece.data, piece.n) : -1;
        if (whole >= 0)
            token_list_push(out, whole);
        else
            naive_piece(s, piece.data, piece.n, out);
    }
    buffer_free(&piece);
}

static int32_t cut_at(const sample *s, const char *text, size_t n, bool control, size_t *length) {
    for (*length = n; *length; --*length) {
        int32_t id = lookup(s, text, *length);
        if (id >= 0 && is_control(s, id) && control) return id;
        if (id >= 0 && !is_control(s, id) && s->tokens[id - 256].type == 4) return id;
    }
    return -1;
}

static void naive_encode(const sample *s, const char *text, size_t n, bool control, token_list *out) {
    size_t start = 0, length;
    for (size_t i = 0; i < n;) {
        int32_t id = cut_at(s, text + i, n - i < 24 ? n - i : 24, control, &length);
        if (id < 0) {
            i++;
            continue;
        }
        naive_text(s, text + start, i - start, out);
        token_list_push(out, id);
        start = i += length;
    }
    naive_text(s, text + start, n - start, out);
}

/* ---- comparing */

static size_t random_text(uint32_t *seed, bool valid, char *out) {
    static const char *const parts[] = {
        "a",      "b",     "c",    ">",     " ",    "\n",   "\xc3\xa9", "\xe2\x82\xac",
        "<|t>",   "<|t",   "<t|>", "<bos>", "ab",   "aab",  "bb",       "  ",
        "\n\n\n", "<unk>", "x",    "b b",   "\xe2", "\x82", "\xff",     "\xe2\x96\x81"};
    size_t n_parts = sizeof parts / sizeof *parts - (valid ? 4 : 0), n = 0;
    for (uint32_t k = next(seed) % 40; k; k--) {
        const char *part = parts[next(seed) % n_parts];
        memcpy(out + n, part, strlen(part));
        n += strlen(part);
    }
    return n;
}

static void compare(const sample *s, const char *text, size_t n, bool control) {
    facet_error error = {0};
    token_list ours = {0}, naive = {0};
    assert_ok(vocab_encode(s->v, text, n, control, &ours, &error), &error);
    naive_encode(s, text, n, control, &naive);
    if (ours.n != naive.n || (ours.n && memcmp(ours.ids, naive.ids, ours.n * sizeof *ours.ids) != 0))
        fail_msg("the two implementations disagree about '%.*s'", (int)n, text);
    for (size_t i = 0; !control && i < ours.n; i++) assert_false(vocab_is_control(s->v, ours.ids[i]));
    free(ours.ids);
    free(naive.ids);
}

static void round_trip(const sample *s, const char *text, size_t n, bool control) {
    facet_error error = {0};
    token_list ids = {0};
    buffer back = {0};
    assert_ok(vocab_encode(s->v, text, n, control, &ids, &error), &error);
    assert_ok(vocab_decode(s->v, ids.ids, ids.n, true, &back, &error), &error);
    assert_int_equal(back.n, n);
    if (n) assert_memory_equal(back.data, text, n);
    free(ids.ids);
    buffer_free(&back);
}

static void random_vocabularies_agree_with_the_naive_rules(void **state) {
    (void)state;
    uint32_t seed = 1;
    char text[TEXT_MAX];
    for (int i = 0; i < N_VOCABULARIES; i++) {
        sample s;
        sample_new(&s, &seed);
        for (int j = 0; j < N_TEXTS; j++) {
            bool control = j & 1, valid = j & 2;
            size_t n = random_text(&seed, valid, text);
            compare(&s, text, n, control);
            if (valid) round_trip(&s, text, n, control);
        }
        sample_free(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_vocabularies_agree_with_the_naive_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
