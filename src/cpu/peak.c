/* The choice of a peak loop. See peak.h. */
#include "cpu/peak.h"

#include "facet.h"

cpu_peak_fn *cpu_peak(uint32_t used) {
#if defined(__x86_64__)
    if (used & FACET_CPU_AVX512) return peak_avx512;
    if (used & FACET_CPU_AVXVNNI) return peak_avxvnni;
    if (used & FACET_CPU_AVX2) return peak_avx2;
#elif defined(__aarch64__)
    if (used & FACET_CPU_NEON) return peak_neon;
#endif
    (void)used;
    return NULL;
}
