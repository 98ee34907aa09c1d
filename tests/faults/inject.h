/* Makes the k-th request to the operating system or the allocator fail, and counts what is still held. The linker's
 * --wrap sends the library's calls here (CMakeLists.txt has the list). */
#ifndef FACET_TESTS_INJECT_H
#define FACET_TESTS_INJECT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum inject_kind { INJECT_NONE, INJECT_MEMORY, INJECT_MAP, INJECT_FILE, INJECT_THREAD } inject_kind;

/* From now on the k-th request fails, k >= 1; 0: none. */
void inject_arm(long k);
/* Ends that. What failed: INJECT_NONE when fewer than k requests were made. */
inject_kind inject_disarm(void);

/* Memory that counts but is never refused: for other people's libraries. */
void *inject_malloc(size_t n);

/* Blocks, mappings, files and threads that were obtained and not given back since the program began. */
typedef struct inject_held {
    long blocks, maps, files, threads;
} inject_held;
inject_held inject_balance(void);

#endif
