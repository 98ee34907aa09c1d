/* JSON text to facet_value, by jansson, with the spelling of every number kept: 1.0, 1e5 and integers of any size
 * stay as they were written. \u0000 is allowed; invalid UTF-8, lone surrogates and nesting beyond 2048 are refused.
 */
#ifndef FACET_COMMON_JSON_H
#define FACET_COMMON_JSON_H

#include <facet.h>

/* NULL: `why` tells what is wrong, with line and column. Free the value with facet_value_free. */
facet_value *json_parse(const char *data, size_t n, char *why, size_t why_bytes);
bool json_lacked_memory(const char *why); /* the text may be right */

/* The same for a chat request: where a message's tool_calls hold arguments as a string, the JSON inside that string
 * takes its place. Such a string that is not a JSON object is an error that names its path. */
facet_value *json_parse_request(const char *data, size_t n, char *why, size_t why_bytes);

#endif
