#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

facet_status failure(facet_error *error, facet_status status, const char *format, ...) {
    va_list args;
    *error = (facet_error){.status = status};
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return status;
}
