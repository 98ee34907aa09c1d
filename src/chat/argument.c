/* Values in the notation of calls, answers and declarations: the chat template's format_argument. */
#include "chat/argument.h"

#include <stdlib.h>

#include "chat/python.h"

void argument_quoted(chat_spans *out, const char *text, size_t n_bytes) {
    spans_control(out, CHAT_QUOTE);
    spans_text(out, text, n_bytes);
    spans_control(out, CHAT_QUOTE);
}

void argument_value(chat_spans *out, const facet_value *value) {
    size_t start = out->text.n;
    python_str(&out->text, value);
    spans_take(out, start);
}

void argument_members(chat_spans *out, const facet_value *object, bool quote_keys) {
    size_t count = facet_value_count(object), *order = python_dictsort(object);
    if (count && !order) out->failed = true;
    for (size_t i = 0; order && i < count; i++) {
        size_t n;
        const char *key = facet_value_key(object, order[i], &n);
        if (i) spans_literal(out, ",");
        if (quote_keys) {
            argument_quoted(out, key, n);
        } else {
            spans_text(out, key, n);
        }
        spans_literal(out, ":");
        argument_write(out, facet_value_at(object, order[i]), quote_keys);
    }
    free(order);
}

static void write_array(chat_spans *out, const facet_value *array, bool quote_keys) {
    spans_literal(out, "[");
    for (size_t i = 0; i < facet_value_count(array); i++) {
        if (i) spans_literal(out, ",");
        argument_write(out, facet_value_at(array, i), quote_keys);
    }
    spans_literal(out, "]");
}

void argument_write(chat_spans *out, const facet_value *value, bool quote_keys) {
    size_t n;
    const char *text = facet_value_text(value, &n);
    switch (facet_value_typeof(value)) {
    case FACET_VALUE_NULL: spans_literal(out, value ? "null" : "[]"); break;
    case FACET_VALUE_BOOL: spans_literal(out, facet_value_is_true(value) ? "true" : "false"); break;
    case FACET_VALUE_NUMBER: argument_value(out, value); break;
    case FACET_VALUE_STRING: argument_quoted(out, text, n); break;
    case FACET_VALUE_ARRAY: write_array(out, value, quote_keys); break;
    case FACET_VALUE_OBJECT:
        spans_literal(out, "{");
        argument_members(out, value, quote_keys);
        spans_literal(out, "}");
        break;
    }
}
