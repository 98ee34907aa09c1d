/* Spans of a rendered chat. See spans.h. */
#include "chat/spans.h"

#include <stdlib.h>

#include "base/checked.h"

static void span_add(chat_spans *spans, chat_span span) {
    if (spans->n == spans->capacity) {
        size_t capacity = spans->capacity ? spans->capacity * 2 : 32, size;
        chat_span *more = checked_mul(capacity, sizeof *more, &size) ? realloc(spans->spans, size) : NULL;
        if (!more) {
            spans->failed = true;
            return;
        }
        spans->spans = more;
        spans->capacity = capacity;
    }
    spans->spans[spans->n++] = span;
}

void spans_control(chat_spans *spans, const char *spelling) {
    size_t start = spans->text.n;
    if (buffer_text(&spans->text, spelling)) span_add(spans, (chat_span){start, spans->text.n - start, true});
}

void spans_take(chat_spans *spans, size_t start) {
    size_t n = spans->text.n - start;
    if (n == 0) return;
    chat_span *last = spans->n ? &spans->spans[spans->n - 1] : NULL;
    if (last && !last->control) {
        last->n_bytes += n;
    } else {
        span_add(spans, (chat_span){start, n, false});
    }
}

void spans_text(chat_spans *spans, const char *text, size_t n_bytes) {
    size_t start = spans->text.n;
    if (n_bytes && buffer_append(&spans->text, text, n_bytes)) spans_take(spans, start);
}

void spans_literal(chat_spans *spans, const char *text) { spans_text(spans, text, strlen(text)); }

void spans_free(chat_spans *spans) {
    buffer_free(&spans->text);
    free(spans->spans);
    *spans = (chat_spans){0};
}
