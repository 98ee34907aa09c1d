/* The most products of bytes that AVX2 makes: see cpu/peak.h. */
#include <immintrin.h>

#include "cpu/peak.h"

enum { SUMS = 8, MACS = 32 };

/* Registers by name: an array would be kept in memory. What the compiler does not see through, it computes. */
#define SUM(i) __m256i s##i = _mm256_set1_epi8(i)
#define STEP(i)                                                                                                      \
    s##i = _mm256_add_epi16(s##i, _mm256_maddubs_epi16(x, y));                                                       \
    __asm__ volatile("" : "+v"(s##i))
#define EACH(m)                                                                                                      \
    m(0);                                                                                                            \
    m(1);                                                                                                            \
    m(2);                                                                                                            \
    m(3);                                                                                                            \
    m(4);                                                                                                            \
    m(5);                                                                                                            \
    m(6);                                                                                                            \
    m(7);

uint64_t peak_avx2(size_t rounds) {
    __m256i x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(1);
    EACH(SUM)
    for (size_t r = 0; r < rounds; r++) {
        EACH(STEP)
    }
    return (uint64_t)rounds * SUMS * MACS;
}
