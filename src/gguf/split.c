/* The names of split files: "x-00001-of-00003.gguf". Numbers in names count from 1, parts here from 0. */
#include <stdio.h>
#include <string.h>

#include "gguf/gguf.h"

enum { TAIL = sizeof "-00001-of-00003.gguf" - 1 };

static bool five_digits(const char *text, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *out = *out * 10 + (uint32_t)(text[i] - '0');
    }
    return true;
}

bool gguf_split_parse(const char *path, uint32_t *part, uint32_t *n_parts) {
    size_t n = strlen(path);
    if (n < TAIL) return false;
    const char *tail = path + n - TAIL;
    uint32_t number, count;
    if (tail[0] != '-' || !five_digits(tail + 1, &number) || memcmp(tail + 6, "-of-", 4) != 0 ||
        !five_digits(tail + 10, &count) || memcmp(tail + 15, ".gguf", 5) != 0) {
        return false;
    }
    if (number == 0 || number > count) return false;
    *part = number - 1;
    *n_parts = count;
    return true;
}

bool gguf_split_path(const char *path, uint32_t part, char *out, size_t out_bytes) {
    uint32_t own, n_parts;
    size_t n = strlen(path);
    if (!gguf_split_parse(path, &own, &n_parts) || part >= n_parts || n >= out_bytes) return false;
    snprintf(out, out_bytes, "%.*s-%05u-of-%05u.gguf", (int)(n - TAIL), path, part + 1, n_parts);
    return true;
}
