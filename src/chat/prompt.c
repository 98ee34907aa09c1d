/* From spans to tokens. See prompt.h. Also the public accessors of a prompt. */
#include "chat/prompt.h"

#include <stdlib.h>

#include "chat/render.h"

static facet_status encode_span(const vocab *v, const chat_spans *spans, size_t i, token_list *out,
                                facet_error *err) {
    const chat_span *span = &spans->spans[i];
    const char *text = spans->text.data + span->start;
    if (!span->control) return vocab_encode(v, text, span->n_bytes, false, out, err);
    int32_t id = i == 0 && vocab_bos(v) >= 0 ? vocab_bos(v) : vocab_find(v, text, span->n_bytes);
    if (id < 0) {
        return error_set(err, FACET_ERROR_UNSUPPORTED, "the vocabulary lacks the chat format's token %.*s",
                         (int)span->n_bytes, text);
    }
    return token_list_push(out, id) ? FACET_OK : error_memory(err, (out->n + 1) * sizeof id);
}

static facet_status encode_spans(facet_prompt *prompt, const vocab *v, const chat_spans *spans, facet_error *err) {
    for (size_t i = 0; i < spans->n; i++) {
        FACET_TRY(encode_span(v, spans, i, &prompt->tokens, err));
        if (i + 1 == spans->n_history) prompt->n_history = prompt->tokens.n;
    }
    return FACET_OK;
}

facet_status chat_prompt_new(facet_prompt **out, const vocab *v, facet_chat_kind kind, const facet_chat *chat,
                             facet_error *err) {
    chat_spans spans = {0};
    facet_status status = FACET_OK;
    *out = NULL;
    facet_prompt *prompt = calloc(1, sizeof *prompt);
    if (!prompt) return error_memory(err, sizeof *prompt);
    status = chat_render(kind, chat, &spans, err);
    if (status == FACET_OK) status = encode_spans(prompt, v, &spans, err);
    if (status != FACET_OK) {
        facet_prompt_free(prompt);
    } else {
        prompt->text = spans.text;
        prompt->opens_thought = spans.opens_thought;
        prompt->kind = kind;
        spans.text = (buffer){0}; /* handed over */
        *out = prompt;
    }
    spans_free(&spans);
    return status;
}

const char *facet_prompt_text(const facet_prompt *prompt, size_t *n_bytes) {
    if (n_bytes) *n_bytes = prompt ? prompt->text.n : 0;
    return prompt ? prompt->text.data : NULL;
}

const int32_t *facet_prompt_tokens(const facet_prompt *prompt, size_t *n) {
    if (n) *n = prompt ? prompt->tokens.n : 0;
    return prompt ? prompt->tokens.ids : NULL;
}

size_t facet_prompt_history(const facet_prompt *prompt) { return prompt ? prompt->n_history : 0; }

void facet_prompt_free(facet_prompt *prompt) {
    if (!prompt) return;
    buffer_free(&prompt->text);
    free(prompt->tokens.ids);
    free(prompt);
}
