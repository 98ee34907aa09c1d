/* The most products of bytes that vpdpbusd in 512 bits makes: see cpu/peak.h. */
#include <immintrin.h>

#include "cpu/peak.h"

enum { SUMS = 12, MACS = 64 };

/* Registers by name: an array would be kept in memory. What the compiler does not see through, it computes. */
#define SUM(i) __m512i s##i = _mm512_set1_epi8(i)
#define STEP(i)                                                                                                      \
    s##i = _mm512_dpbusd_epi32(s##i, x, y);                                                                          \
    __asm__ volatile("" : "+v"(s##i))
#define EACH(m)                                                                                                      \
    m(0);                                                                                                            \
    m(1);                                                                                                            \
    m(2);                                                                                                            \
    m(3);                                                                                                            \
    m(4);                                                                                                            \
    m(5);                                                                                                            \
    m(6);                                                                                                            \
    m(7);                                                                                                            \
    m(8);                                                                                                            \
    m(9);                                                                                                            \
    m(10);                                                                                                           \
    m(11);

uint64_t peak_avx512(size_t rounds) {
    __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(1);
    EACH(SUM)
    for (size_t r = 0; r < rounds; r++) {
        EACH(STEP)
    }
    return (uint64_t)rounds * SUMS * MACS;
}
