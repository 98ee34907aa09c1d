/* Values in the notation between calls, answers and declarations: {key:<|"|>text<|"|>,other:[1,true,null]}. */
#ifndef FACET_CHAT_ARGUMENT_H
#define FACET_CHAT_ARGUMENT_H

#include "base/value.h"
#include "chat/spans.h"

#define CHAT_QUOTE "<|\"|>"

/* Text between quote tokens. */
void argument_quoted(chat_spans *out, const char *text, size_t n_bytes);
void argument_value(chat_spans *out, const facet_value *value); /* as str() prints it, unquoted; NULL: nothing */
/* Any value. Keys of objects are quoted on request. NULL is the template's undefined, an empty list. The caller has
 * bounded the depth. */
void argument_write(chat_spans *out, const facet_value *value, bool quote_keys);
/* key:value,key:value of an object, without the braces. */
void argument_members(chat_spans *out, const facet_value *object, bool quote_keys);

#endif
