/* Spellings of Python. See python.h. Sources: the Python language reference (str.strip, str.isspace, repr,
 * float.__repr__) and Jinja's manual (dictsort). Not carried over: upper case beyond ASCII (types of schemas are
 * ASCII words), and in repr() of strings the escapes of rare unprintable characters beyond the Basic Latin,
 * punctuation and space blocks. */
#include "chat/python.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/utf8.h"

enum { N_EXPONENT = 32 }; /* room for "e-1000000000000000" and more */

/* ---- text */

static bool is_space(uint32_t c) {
    if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Length of the last character of a well-formed text. */
static size_t last_length(const char *s, size_t n) {
    size_t length = 1;
    while (length < n && ((unsigned char)s[n - length] & 0xc0) == 0x80) length++;
    return length;
}

void python_trim(const char **text, size_t *n_bytes) {
    const char *s = *text;
    size_t n = *n_bytes, length;
    uint32_t c = 0;
    while (n && (length = utf8_decode(s, n, &c)) && is_space(c)) {
        s += length;
        n -= length;
    }
    while (n && (length = last_length(s, n)) && utf8_decode(s + n - length, length, &c) && is_space(c)) n -= length;
    *text = s;
    *n_bytes = n;
}

void python_upper(buffer *out, size_t start) {
    for (size_t i = start; i < out->n; i++) {
        if (out->data[i] >= 'a' && out->data[i] <= 'z') out->data[i] = (char)(out->data[i] - 32);
    }
}

/* ---- numbers
 *
 * strtod and printf follow the program's locale in the decimal point alone; so numbers go through them as an integer
 * and an exponent. */

/* Digits and exponent as one number; `digits` has room for the exponent after its n bytes. */
static double read_digits(char *digits, size_t n, long long exponent) {
    snprintf(digits + n, N_EXPONENT, "e%lld", exponent);
    return strtod(digits, NULL);
}

/* The double of a JSON number without its sign. */
static double magnitude(const char *s, size_t n, bool *ok) {
    buffer digits = {0};
    long long n_fraction = 0, exponent = 0;
    size_t i = 0;
    bool fraction = false, negative;
    for (; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
        if (s[i] == '.') {
            fraction = true;
        } else {
            buffer_byte(&digits, s[i]);
            n_fraction += fraction;
        }
    }
    i++;
    negative = i < n && s[i] == '-';
    for (i += i < n && (s[i] == '-' || s[i] == '+'); i < n; i++) {
        if (exponent < 1000000000000000) exponent = exponent * 10 + (s[i] - '0'); /* beyond, more changes nothing */
    }
    *ok = buffer_reserve(&digits, N_EXPONENT);
    double v = *ok ? read_digits(digits.data, digits.n, (negative ? -exponent : exponent) - n_fraction) : 0;
    buffer_free(&digits);
    return v;
}

/* Adds one to the last digit; false where that carries out of the first. */
static bool increment(char *digits, size_t n) {
    while (n && digits[n - 1] == '9') digits[--n] = '0';
    if (n) digits[n - 1]++;
    return n > 0;
}

/* v > 0 rounded to n digits: v is about 0.ddd * 10^*point. */
static void round_digits(double v, int n, char *digits, int *point) {
    char text[48];
    snprintf(text, sizeof text, "%.*e", n - 1, v);
    const char *c = text;
    for (; *c != 'e'; c++) {
        if (*c >= '0' && *c <= '9') *digits++ = *c;
    }
    *point = atoi(c + 1) + 1;
}

/* The shortest digits that read back as v, the closest of them. */
static int shortest(double v, char digits[17 + N_EXPONENT], int *point) {
    for (int n = 1; n < 17; n++) {
        round_digits(v, n, digits, point);
        if (read_digits(digits, (size_t)n, *point - n) == v) return n;
        /* above a power of two the gap is twice the one below: the next number up may do */
        if (increment(digits, (size_t)n) && read_digits(digits, (size_t)n, *point - n) == v) return n;
    }
    round_digits(v, 17, digits, point);
    return 17;
}

static void write_zeros(buffer *out, int n) {
    while (n-- > 0) buffer_byte(out, '0');
}

static void write_double(buffer *out, double v) {
    char digits[17 + N_EXPONENT];
    int point;
    if (v == 0) {
        buffer_text(out, "0.0");
        return;
    }
    if (v > 1.7976931348623157e308) {
        buffer_text(out, "inf");
        return;
    }
    int n = shortest(v, digits, &point);
    while (n > 1 && digits[n - 1] == '0') n--;
    if (point > 16 || point < -3) {
        char tail[16];
        buffer_byte(out, digits[0]);
        if (n > 1) buffer_byte(out, '.');
        buffer_append(out, digits + 1, (size_t)n - 1);
        snprintf(tail, sizeof tail, "e%c%02d", point > 0 ? '+' : '-', abs(point - 1));
        buffer_text(out, tail);
    } else if (point <= 0) {
        buffer_text(out, "0.");
        write_zeros(out, -point);
        buffer_append(out, digits, (size_t)n);
    } else {
        buffer_append(out, digits, (size_t)(n < point ? n : point));
        write_zeros(out, point - n);
        buffer_byte(out, '.');
        if (n > point) buffer_append(out, digits + point, (size_t)(n - point));
        if (n <= point) buffer_byte(out, '0');
    }
}

void python_number(buffer *out, const char *text, size_t n_bytes) {
    bool negative = n_bytes && text[0] == '-', ok = true;
    if (!memchr(text, '.', n_bytes) && !memchr(text, 'e', n_bytes) && !memchr(text, 'E', n_bytes)) {
        bool minus_zero = n_bytes == 2 && negative && text[1] == '0';
        buffer_append(out, text + minus_zero, n_bytes - minus_zero);
        return;
    }
    double v = magnitude(text + negative, n_bytes - negative, &ok);
    if (!ok) out->failed = true;
    if (negative) buffer_byte(out, '-');
    write_double(out, v);
}

/* ---- values */

/* No digit of the number but zeros. (Numbers too small for a double count as more than nothing.) */
static bool number_is_zero(const char *s, size_t n) {
    for (size_t i = 0; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
        if (s[i] >= '1' && s[i] <= '9') return false;
    }
    return true;
}

bool python_is_true(const facet_value *value) {
    size_t n;
    const char *text = facet_value_text(value, &n);
    switch (facet_value_typeof(value)) {
    case FACET_VALUE_NULL: return false;
    case FACET_VALUE_BOOL: return facet_value_is_true(value);
    case FACET_VALUE_NUMBER: return !number_is_zero(text, n);
    case FACET_VALUE_STRING: return n > 0;
    case FACET_VALUE_ARRAY:
    case FACET_VALUE_OBJECT: return facet_value_count(value) > 0;
    }
    return false;
}

static bool is_printable(uint32_t c) {
    return !(c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad || (c != ' ' && is_space(c)) ||
             (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
             c == 0xfeff);
}

/* repr() of a string: single quotes unless it holds one and no double quote. */
static void write_repr(buffer *out, const char *s, size_t n) {
    char quote = memchr(s, '\'', n) && !memchr(s, '"', n) ? '"' : '\'', escape[16];
    buffer_byte(out, quote);
    for (size_t length; n; s += length, n -= length) {
        uint32_t c = 0;
        length = utf8_decode(s, n, &c);
        if (c == (unsigned char)quote || c == '\\') buffer_byte(out, '\\');
        if (is_printable(c)) {
            buffer_append(out, s, length);
            continue;
        }
        const char *form = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
        if (!form) snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : "\\u%04x", c);
        buffer_text(out, form ? form : escape);
    }
    buffer_byte(out, quote);
}

static void write_scalar(buffer *out, const facet_value *v, bool repr) {
    size_t n;
    const char *text = facet_value_text(v, &n);
    switch (facet_value_typeof(v)) {
    case FACET_VALUE_NULL: buffer_text(out, "None"); break;
    case FACET_VALUE_BOOL: buffer_text(out, facet_value_is_true(v) ? "True" : "False"); break;
    case FACET_VALUE_NUMBER: python_number(out, text, n); break;
    case FACET_VALUE_STRING:
        if (repr) {
            write_repr(out, text, n);
        } else {
            buffer_append(out, text, n);
        }
        break;
    case FACET_VALUE_ARRAY:
    case FACET_VALUE_OBJECT: break;
    }
}

void python_str(buffer *out, const facet_value *value) {
    for (value_walk walk = {.root = value}; value_walk_next(&walk);) {
        const facet_value *v = walk.node, *parent = walk.depth ? value_parent(v) : NULL;
        if (parent && !walk.leaving) {
            size_t n;
            const char *key = facet_value_key(parent, value_place(v), &n);
            if (value_place(v)) buffer_text(out, ", ");
            if (key) write_repr(out, key, n);
            if (key) buffer_text(out, ": ");
        }
        switch (facet_value_typeof(v)) {
        case FACET_VALUE_ARRAY: buffer_byte(out, walk.leaving ? ']' : '['); break;
        case FACET_VALUE_OBJECT: buffer_byte(out, walk.leaving ? '}' : '{'); break;
        default: write_scalar(out, v, parent != NULL);
        }
    }
}

/* ---- dictsort */

typedef struct sort_key {
    const char *lower; /* in the buffer of all keys */
    size_t n;
    size_t place;
} sort_key;

static int compare_keys(const void *a, const void *b) {
    const sort_key *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = n ? memcmp(x->lower, y->lower, n) : 0; /* the order of UTF-8 is that of code points */
    if (order == 0 && x->n != y->n) order = x->n < y->n ? -1 : 1;
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

static size_t append_lower(buffer *out, const char *s, size_t n) {
    size_t start = out->n;
    for (size_t length; n; s += length, n -= length) {
        uint32_t c = 0;
        char text[4];
        length = utf8_decode(s, n, &c);
        buffer_append(out, text, utf8_encode(python_lower(c), text));
    }
    return out->n - start;
}

size_t *python_dictsort(const facet_value *object) {
    size_t count = facet_value_count(object), at = 0;
    buffer lower = {0};
    sort_key *keys = count ? calloc(count, sizeof *keys) : NULL;
    size_t *order = keys ? calloc(count, sizeof *order) : NULL;
    for (size_t i = 0; order && i < count; i++) {
        size_t n;
        const char *key = facet_value_key(object, i, &n);
        keys[i].n = append_lower(&lower, key, n);
        keys[i].place = i;
    }
    if (lower.failed) {
        free(order);
        order = NULL;
    }
    for (size_t i = 0; order && i < count; i++) { /* the buffer moves no more */
        keys[i].lower = lower.data ? lower.data + at : "";
        at += keys[i].n;
    }
    if (order) qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 0; order && i < count; i++) order[i] = keys[i].place;
    free(keys);
    buffer_free(&lower);
    return order;
}
