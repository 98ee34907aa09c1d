/* An error as the library makes one: its status, which is returned, and its message. */
#ifndef FACET_COMMON_FAILURE_H
#define FACET_COMMON_FAILURE_H

#include <facet.h>

facet_status failure(facet_error *error, facet_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
