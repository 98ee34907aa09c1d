/* Shared libraries that are opened at run time. Owns: that system call. Knows nothing of what they hold. */
#ifndef FACET_OS_LIBRARY_H
#define FACET_OS_LIBRARY_H

#include <stddef.h>

typedef struct os_library os_library;

/* The first of the names (NULL at the end) that the system finds; NULL: none. */
os_library *os_library_open(const char *const *names);
/* Its symbols are gone afterwards. NULL is fine. */
void os_library_close(os_library *library);

typedef void (*os_function)(void);
/* NULL: there is none of that name. Cast it to its own type. */
os_function os_library_find(const os_library *library, const char *name);

#endif
