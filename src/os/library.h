/* Shared libraries that are opened at run time, and where our own code is. Owns: these system calls. Knows nothing of
 * what they hold. */
#ifndef FACET_OS_LIBRARY_H
#define FACET_OS_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

typedef struct os_library os_library;

/* The first of the names (NULL at the end) that the system finds; NULL: none. */
os_library *os_library_open(const char *const *names);
/* Its symbols are gone afterwards. NULL is fine. */
void os_library_close(os_library *library);

typedef void (*os_function)(void);
/* NULL: there is none of that name. Cast it to its own type. */
os_function os_library_find(const os_library *library, const char *name);

/* Where the file is that this code was loaded from, facet's shared library or a program that has it inside: its
 * directory. False: nobody knows, or it is longer than n_bytes. */
bool os_library_own_directory(char *out, size_t n_bytes);

#endif
