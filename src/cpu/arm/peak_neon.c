/* The most products of bytes that the dot product of NEON makes: see cpu/peak.h. */
#include <arm_neon.h>

#include "cpu/peak.h"

enum { SUMS = 12, MACS = 16 };

/* Registers by name: an array would be kept in memory. What the compiler does not see through, it computes. */
#define SUM(i) int32x4_t s##i = vdupq_n_s32(i)
#define STEP(i)                                                                                                      \
    s##i = vdotq_s32(s##i, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(y));                                        \
    __asm__ volatile("" : "+w"(s##i))
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

uint64_t peak_neon(size_t rounds) {
    int32x4_t x = vdupq_n_s32(3), y = vdupq_n_s32(1);
    EACH(SUM)
    for (size_t r = 0; r < rounds; r++) {
        EACH(STEP)
    }
    return (uint64_t)rounds * SUMS * MACS;
}
