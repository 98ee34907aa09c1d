/* Status and error text. Owns: how a failure becomes a facet_error. Knows nothing of files, models or threads. */
#ifndef FACET_BASE_ERROR_H
#define FACET_BASE_ERROR_H

#include "facet.h"

/* Fills *err (which may be NULL) and returns `status`, so that failing is one statement:
 * `return error_set(err, FACET_ERROR_FORMAT, "...", ...)`. Text beyond the message's size is cut at a character. */
__attribute__((format(printf, 3, 4))) facet_status error_set(facet_error *err, facet_status status, const char *fmt,
                                                             ...);
/* The same with the byte offset in the input. */
__attribute__((format(printf, 4, 5))) facet_status error_at(facet_error *err, facet_status status, uint64_t position,
                                                            const char *fmt, ...);
facet_status error_memory(facet_error *err, size_t n_bytes); /* FACET_ERROR_MEMORY with the size that failed */
void error_clear(facet_error *err);

/* Leaves the function with the status of a failing call. For functions that own nothing at that point. */
#define FACET_TRY(call)                                                                                              \
    do {                                                                                                             \
        facet_status facet_try_status = (call);                                                                      \
        if (facet_try_status != FACET_OK) return facet_try_status;                                                   \
    } while (0)

#endif
