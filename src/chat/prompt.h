/* A rendered chat as text and tokens: what facet_chat_render returns. */
#ifndef FACET_CHAT_PROMPT_H
#define FACET_CHAT_PROMPT_H

#include "base/buffer.h"
#include "base/error.h"
#include "token/vocab.h"

struct facet_prompt {
    buffer text;
    token_list tokens;
    size_t n_history;   /* tokens before the generation prompt */
    bool opens_thought; /* the output goes on inside a thought */
    facet_chat_kind kind;
};

/* Renders and encodes. Texts are encoded with control parsing off, control spans by their spelling; a spelling that
 * the vocabulary lacks is FACET_ERROR_UNSUPPORTED and named. */
facet_status chat_prompt_new(facet_prompt **out, const vocab *v, facet_chat_kind kind, const facet_chat *chat,
                             facet_error *err);

#endif
