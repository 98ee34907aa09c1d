/* Small helpers over facet_value: copies, messages, numbers. NULL and false mean: no memory. */
#ifndef FACET_COMMON_VALUE_H
#define FACET_COMMON_VALUE_H

#include <facet.h>

facet_value *cli_value_copy(const facet_value *v);
facet_value *cli_value_message(const char *role, const char *content, size_t n); /* {role, content} */
facet_value *cli_value_text(const char *s);
facet_value *cli_value_integer(uint64_t n);
/* Takes `item` also when it fails. */
bool cli_value_set(facet_value *object, const char *key, facet_value *item);

#endif
