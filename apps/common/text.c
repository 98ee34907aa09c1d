/* Strings, files, ids: see text.h. UTF-8 as RFC 3629 has it. */
#include "text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool cli_text_append(text *t, const char *data, size_t n) {
    if (n >= SIZE_MAX / 2 - t->n) return false;
    if (t->n + n + 1 > t->capacity) {
        size_t capacity = (t->n + n + 1) * 2;
        char *grown = realloc(t->data, capacity);
        if (!grown) return false;
        t->data = grown;
        t->capacity = capacity;
    }
    if (n) memcpy(t->data + t->n, data, n);
    t->n += n;
    t->data[t->n] = '\0';
    return true;
}

void cli_text_clear(text *t) {
    t->n = 0;
    if (t->data) t->data[0] = '\0';
}

void cli_text_free(text *t) {
    free(t->data);
    *t = (text){0};
}

const char *cli_text_get(const text *t) { return t->data ? t->data : ""; }

bool cli_text_read(text *t, FILE *file) {
    char chunk[65536];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;) {
        if (!cli_text_append(t, chunk, n)) {
            errno = ENOMEM;
            return false;
        }
    }
    return !ferror(file);
}

/* Length of the well-formed character at p, or 0. */
static size_t character(const unsigned char *p, size_t n) {
    if (p[0] < 0x80) return 1;
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < length) return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xed && p[1] > 0x9f, beyond = p[0] == 0xf4 && p[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : length;
}

size_t cli_text_valid_utf8(const char *data, size_t n) {
    size_t i = 0;
    while (i < n) {
        size_t length = character((const unsigned char *)data + i, n - i);
        if (!length) break;
        i += length;
    }
    return i;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_separator(char c) { return c && strchr(" \t\r\n,[]", c); }

/* The id at data[*i], which is moved behind it; -1: not an id in range. */
static int64_t parse_id(const char *data, size_t n, size_t *i, int32_t n_vocab) {
    int64_t id = 0;
    size_t start = *i;
    while (*i < n && is_digit(data[*i]) && id < n_vocab) id = id * 10 + (data[(*i)++] - '0');
    bool ends = *i == n || is_separator(data[*i]);
    return *i > start && ends && id < n_vocab ? id : -1;
}

static size_t word_length(const char *data, size_t n, size_t i) {
    size_t end = i;
    while (end < n && !is_separator(data[end]) && end - i < 40) end++;
    return end - i;
}

bool cli_text_parse_ids(const char *data, size_t n, int32_t n_vocab, int32_t **out, size_t *n_ids, char *why,
                        size_t why_bytes) {
    int32_t *ids = malloc((n / 2 + 1) * sizeof *ids); /* an id takes a digit and a separator */
    size_t count = 0;
    *out = NULL;
    *n_ids = 0;
    if (!ids) {
        snprintf(why, why_bytes, "out of memory");
        return false;
    }
    for (size_t i = 0; i < n;) {
        if (is_separator(data[i])) {
            i++;
            continue;
        }
        size_t start = i;
        int64_t id = parse_id(data, n, &i, n_vocab);
        if (id < 0) {
            snprintf(why, why_bytes, "byte %zu: '%.*s' is not a token id from 0 to %d", start,
                     (int)word_length(data, n, start), data + start, n_vocab - 1);
            free(ids);
            return false;
        }
        ids[count++] = (int32_t)id;
    }
    *out = ids;
    *n_ids = count;
    return true;
}
