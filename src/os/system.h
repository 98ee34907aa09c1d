/* The machine as the operating system shows it: processors, clock, big blocks of memory, and sleeping until a word
 * changes. Owns: these system calls. Knows nothing of models. */
#ifndef FACET_OS_SYSTEM_H
#define FACET_OS_SYSTEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Processors this process may use: its affinity mask, cut to its control group's quota, at least 1. */
int os_usable_cpus(void);
/* Seconds of a clock that only goes forward. */
double os_now(void);

/* Zeroed pages, given by the system as they are touched; NULL when refused. Aligned to a page. */
void *os_pages_new(size_t n_bytes);
void os_pages_free(void *pages, size_t n_bytes);
/* Hands the memory of a range of whole pages back to the system; it reads as zero afterwards. */
void os_pages_drop(void *pages, size_t n_bytes);

/* Sleeps while *word is `value`; may return early. Wake: everybody who sleeps on the word. */
void os_wait(atomic_uint *word, unsigned value);
void os_wake(atomic_uint *word);
/* A pause inside a spinning loop. */
static inline void os_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
