/* A rendered chat before it is tokens: one text, cut in spans of plain text and control tokens. Control spans come
 * from the renderer's own literals only; that is what keeps typed markup text. */
#ifndef FACET_CHAT_SPANS_H
#define FACET_CHAT_SPANS_H

#include "base/buffer.h"

typedef struct chat_span {
    size_t start; /* in the text */
    size_t n_bytes;
    bool control; /* exactly one control token's spelling */
} chat_span;

/* Appending never reports: check spans_failed once at the end. Text next to text is one span. */
typedef struct chat_spans {
    buffer text;
    chat_span *spans;
    size_t n;
    size_t capacity;
    size_t n_history;   /* spans before the generation prompt */
    bool opens_thought; /* the text ends inside a thought */
    bool failed;
} chat_spans;

void spans_control(chat_spans *spans, const char *spelling);
void spans_text(chat_spans *spans, const char *text, size_t n_bytes);
void spans_literal(chat_spans *spans, const char *text);
/* What was appended to spans->text directly, from `start` on, becomes text. */
void spans_take(chat_spans *spans, size_t start);
static inline bool spans_failed(const chat_spans *spans) { return spans->failed || spans->text.failed; }
void spans_free(chat_spans *spans);

#endif
