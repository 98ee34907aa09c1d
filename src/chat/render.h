/* A chat as the model reads it: the format of Google's canonical Gemma 4 template of 2026-07-09, natively.
 *
 * Control tokens come from the renderer's own literals only; every spelling inside contents, names, tools and schemas
 * stays text. Where the template has no answer the renderer has one: the content of a tool message may be an object
 * (its members become the answer's), and a last assistant message can be continued. */
#ifndef FACET_CHAT_RENDER_H
#define FACET_CHAT_RENDER_H

#include "base/error.h"
#include "chat/spans.h"

/* `out` begins as {0}; free it with spans_free, also after a failure. Failures name the place in the chat. */
facet_status chat_render(facet_chat_kind kind, const facet_chat *chat, chat_spans *out, facet_error *err);

/* The kind of format that a file's template asks for: large where its generation prompt holds the empty thought.
 * Without a template (NULL) the models without per-layer embeddings are large. *is_gemma4 (may be NULL) is false
 * where a template lacks Gemma 4's turn tokens. */
facet_chat_kind chat_kind_detect(const char *chat_template, size_t n_bytes, bool has_ple, bool *is_gemma4);

#endif
