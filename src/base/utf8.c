/* UTF-8. See utf8.h. The table of well-formed sequences is Unicode 15, table 3-7. */
#include "base/utf8.h"

/* The sequence length that a first byte announces (0: none) and the range of the second byte. */
static size_t lead(uint8_t c, uint8_t *low, uint8_t *high) {
    *low = 0x80;
    *high = 0xbf;
    if (c < 0x80) return 1;
    if (c < 0xc2) return 0;
    if (c < 0xe0) return 2;
    if (c < 0xf0) {
        if (c == 0xe0) *low = 0xa0;
        if (c == 0xed) *high = 0x9f;
        return 3;
    }
    if (c > 0xf4) return 0;
    if (c == 0xf0) *low = 0x90;
    if (c == 0xf4) *high = 0x8f;
    return 4;
}

/* How many of the n bytes at s are a prefix of a well-formed character whose length goes to *length (0: none). */
static size_t match(const char *s, size_t n, size_t *length) {
    const uint8_t *p = (const uint8_t *)s;
    uint8_t low, high;
    *length = n ? lead(p[0], &low, &high) : 0;
    if (*length == 0) return 0;
    size_t i = 1;
    while (i < *length && i < n && p[i] >= low && p[i] <= high) {
        low = 0x80;
        high = 0xbf;
        i++;
    }
    return i;
}

size_t utf8_decode(const char *s, size_t n, uint32_t *code) {
    size_t length;
    if (match(s, n, &length) < length || length == 0) return 0;
    if (code) {
        static const uint8_t first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
        uint32_t c = (uint8_t)s[0] & first_bits[length];
        for (size_t i = 1; i < length; i++) c = c << 6 | ((uint8_t)s[i] & 0x3f);
        *code = c;
    }
    return length;
}

size_t utf8_encode(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t mark[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(mark[n] | code);
    return n;
}

size_t utf8_invalid(const char *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        size_t length = utf8_decode(s + i, n - i, NULL);
        if (length == 0) return i;
        i += length;
    }
    return n;
}

size_t utf8_complete(const char *s, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        size_t length;
        size_t matched = match(s + n - back, back, &length);
        if (length > back && matched == back) return n - back;
        if (length) break; /* a first byte: whatever it is, it does not reach beyond n */
    }
    return n;
}
