/* Tools as the system turn announces them. */
#ifndef FACET_CHAT_DECLARE_H
#define FACET_CHAT_DECLARE_H

#include "base/error.h"
#include "base/value.h"
#include "chat/spans.h"

/* declaration:NAME{...} of one checked tool (check.h); `index` is its place in `tools`, for messages. */
facet_status declare_tool(chat_spans *out, const facet_value *tool, size_t index, facet_error *err);

#endif
