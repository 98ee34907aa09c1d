/* Which instruction sets this machine has, the operating system's support for their registers included. */
#include "cpu/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

static uint32_t enabled_state(void) { /* XCR0: the register files that the system saves */
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

uint32_t cpu_detect(void) {
    unsigned a, b, c, d, b7, c7, d7, a71, sets = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    bool fma_f16c = (c & bit_FMA) && (c & bit_F16C) && (c & bit_AVX);
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return 0;
    if (!fma_f16c || !(b7 & bit_AVX2) || (enabled_state() & 6) != 6) return 0;
    sets |= FACET_CPU_AVX2;
    if (__get_cpuid_count(7, 1, &a71, &b, &c, &d) && (a71 & 1u << 4)) sets |= FACET_CPU_AVXVNNI;
    unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    if ((b7 & wanted) == wanted && (c7 & bit_AVX512VNNI) && (enabled_state() & 0xe6) == 0xe6)
        sets |= FACET_CPU_AVX512;
    return sets;
}
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

enum { DOT_PRODUCT = 1 << 20, I8MM = 1 << 13 }; /* HWCAP_ASIMDDP, HWCAP2_I8MM: old headers lack them */

uint32_t cpu_detect(void) {
    if (!(getauxval(AT_HWCAP) & DOT_PRODUCT)) return 0;
    return FACET_CPU_NEON | (getauxval(AT_HWCAP2) & I8MM ? FACET_CPU_I8MM : 0);
}
#else
uint32_t cpu_detect(void) { return FACET_CPU_REFERENCE; }
#endif
