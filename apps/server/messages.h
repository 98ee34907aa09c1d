/* Messages and tools of OpenAI's chat API, checked and brought into the one shape that facet_chat_render takes. */
#ifndef FACET_SERVER_MESSAGES_H
#define FACET_SERVER_MESSAGES_H

#include "job.h"

/* messages and tools, tool_choice, parallel_tool_calls. Sets j->messages, tools, continues, ... False: refused. */
bool messages_read(job *j, const fields *f);
bool tools_read(job *j, const fields *f);

/* The arguments of a call: an object, a string that holds one, "" or null (which mean no arguments). *out is new. */
bool arguments_value(const fields *f, const char *name, facet_value **out);
/* A new array of {type: text, text} or a string. Parts that are not text are refused by name. */
bool content_value(const fields *f, const char *name, facet_value **out);

/* Building values; false: no memory, told in the error. All take `item`. */
bool value_put(request_error *e, facet_value *object, const char *key, facet_value *item);
bool value_add(request_error *e, facet_value *array, facet_value *item);

#endif
