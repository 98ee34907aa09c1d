/* How Python and Jinja spell things, as far as the chat template's output depends on it: white space, numbers, str(),
 * truth, case, the order of dictsort. Knows nothing of chats. */
#ifndef FACET_CHAT_PYTHON_H
#define FACET_CHAT_PYTHON_H

#include "base/buffer.h"
#include "base/value.h"

/* str.strip(): moves both ends inwards over white space. */
void python_trim(const char **text, size_t *n_bytes);
/* The number behind a JSON text: integers as they are, all else as repr() of the double. */
void python_number(buffer *out, const char *text, size_t n_bytes);
/* str(): what {{ value }} prints. NULL is undefined and prints nothing. */
void python_str(buffer *out, const facet_value *value);
bool python_is_true(const facet_value *value); /* NULL, null, false, 0, "" and empty containers are not */
uint32_t python_lower(uint32_t c);
/* str.upper() of the last bytes, from `start` on, for ASCII. */
void python_upper(buffer *out, size_t start);

/* The places of an object's members in the order of dictsort: keys by lower case, ties as they come. malloc'ed, NULL
 * when there is no memory or no member. */
size_t *python_dictsort(const facet_value *object);

#endif
