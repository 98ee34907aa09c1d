/* Key-values for people: types and values as one line of text. See facet_tools.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"
#include "gguf_view.h"

size_t facet_gguf_n_keys(const facet_gguf *g) { return gguf_n_kv(g->file); }

const char *facet_gguf_key(const facet_gguf *g, size_t i, size_t *n_bytes) {
    const gguf_kv *kv = gguf_kv_at(g->file, i);
    *n_bytes = kv->key.n;
    return kv->key.data;
}

bool facet_gguf_find_key(const facet_gguf *g, const char *key, size_t *i) {
    const gguf_kv *kv = gguf_find(g->file, key);
    if (kv) *i = (size_t)(kv - gguf_kv_at(g->file, 0));
    return kv;
}

void facet_gguf_value_type(const facet_gguf *g, size_t i, char out[32]) {
    const gguf_kv *kv = gguf_kv_at(g->file, i);
    if (kv->type == GGUF_ARRAY) {
        snprintf(out, 32, "%s[%llu]", gguf_type_name(kv->element), (unsigned long long)kv->n);
    } else {
        snprintf(out, 32, "%s", gguf_type_name(kv->type));
    }
}

const char *facet_gguf_value_string(const facet_gguf *g, size_t i, size_t *n_bytes) {
    const gguf_kv *kv = gguf_kv_at(g->file, i);
    if (kv->type != GGUF_STRING) return NULL;
    gguf_string text = {0};
    gguf_string_iterator it = gguf_strings(kv);
    gguf_next_string(&it, &text);
    *n_bytes = text.n;
    return text.data;
}

/* A line of limited length. Each piece goes in whole or ends the line. */
typedef struct line {
    char *out;
    size_t n, limit; /* the limit leaves room for "..." and the terminator */
    bool full;
} line;

static bool put(line *l, const char *text, size_t n) {
    if (l->full || n > l->limit - l->n) {
        l->full = true;
        return false;
    }
    memcpy(l->out + l->n, text, n);
    l->n += n;
    return true;
}

__attribute__((format(printf, 2, 3))) static bool put_format(line *l, const char *fmt, ...) {
    char text[64];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return put(l, text, (size_t)n);
}

static bool put_character(line *l, const char *s, size_t n) {
    if (n == 0) return put(l, "\xef\xbf\xbd", 3); /* no UTF-8 */
    unsigned char c = (unsigned char)*s;
    if (c == '\n') return put(l, "\\n", 2);
    if (c == '\t') return put(l, "\\t", 2);
    if (c < 0x20 || c == 0x7f) return put_format(l, "\\u%04x", c);
    return put(l, s, n);
}

static void put_text(line *l, gguf_string text) {
    for (size_t at = 0; at < text.n;) {
        size_t n = utf8_decode(text.data + at, text.n - at, NULL);
        if (!put_character(l, text.data + at, n)) return;
        at += n ? n : 1;
    }
}

static double double_of(uint64_t bits) {
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static void put_number(line *l, gguf_type type, const uint8_t *data) {
    size_t size = gguf_type_bytes(type);
    bytes in = bytes_of(data, size), again = in;
    uint64_t u = bytes_le(&in, size);
    switch (type) {
    case GGUF_F32: put_format(l, "%.9g", (double)bytes_f32(&again)); break;
    case GGUF_F64: put_format(l, "%.17g", double_of(u)); break;
    case GGUF_BOOL: put_format(l, "%s", u ? "true" : "false"); break;
    case GGUF_I8: put_format(l, "%d", (int8_t)u); break;
    case GGUF_I16: put_format(l, "%d", (int16_t)u); break;
    case GGUF_I32: put_format(l, "%d", (int32_t)u); break;
    case GGUF_I64: put_format(l, "%lld", (long long)u); break;
    default: put_format(l, "%llu", (unsigned long long)u); break;
    }
}

static void put_array(line *l, const gguf_kv *kv) {
    gguf_string_iterator it = gguf_strings(kv);
    gguf_string text = {0};
    put(l, "[", 1);
    for (uint64_t i = 0; i < kv->n && !l->full; i++) {
        if (i) put(l, ", ", 2);
        if (gguf_next_string(&it, &text)) {
            put(l, "\"", 1);
            put_text(l, text);
            put(l, "\"", 1);
        } else {
            put_number(l, kv->element, kv->data + i * gguf_type_bytes(kv->element));
        }
    }
    put(l, "]", 1);
}

size_t facet_gguf_value_text(const facet_gguf *g, size_t i, char *out, size_t out_bytes) {
    const gguf_kv *kv = gguf_kv_at(g->file, i);
    line l = {.out = out, .limit = out_bytes - 4};
    gguf_string text = {0};
    if (kv->type == GGUF_ARRAY) {
        put_array(&l, kv);
    } else if (kv->type == GGUF_STRING) {
        text.data = facet_gguf_value_string(g, i, &text.n);
        put_text(&l, text);
    } else {
        put_number(&l, kv->type, kv->data);
    }
    if (l.full) {
        memcpy(out + l.n, "...", 3);
        l.n += 3;
    }
    out[l.n] = '\0';
    return l.n;
}
