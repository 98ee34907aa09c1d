/* What the processor can do at most: loops of byte products that touch no memory, to hold kernels against. */
#ifndef FACET_CPU_PEAK_H
#define FACET_CPU_PEAK_H

#include <stddef.h>
#include <stdint.h>

/* Returns how many products of bytes were multiplied and added. */
typedef uint64_t cpu_peak_fn(size_t rounds);

cpu_peak_fn *cpu_peak(uint32_t used); /* for FACET_CPU_ sets; NULL: unknown */

#if defined(__x86_64__)
cpu_peak_fn peak_avx2, peak_avxvnni, peak_avx512;
#elif defined(__aarch64__)
cpu_peak_fn peak_neon;
#endif

#endif
