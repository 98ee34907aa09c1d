/* A loop of byte products that touch no memory (cpu/peak.h). Included after PEAK_NAME, PEAK_VECTOR, PEAK_OF (a
 * register full of a number), PEAK_STEP (what is made of a sum), PEAK_REGISTER (the constraint of such a register)
 * and PEAK_MACS (products a step). Sums stand in registers by name: an array would be kept in memory, enough of them
 * to hide a step's latency. What the compiler does not see through, it computes. */
#include "cpu/peak.h"

enum { SUMS = 12 };

#define STEP(i)                                                                                                      \
    s##i = PEAK_STEP(s##i, x, y);                                                                                    \
    __asm__ volatile("" : PEAK_REGISTER(s##i))

uint64_t PEAK_NAME(size_t rounds) {
    PEAK_VECTOR x = PEAK_OF(3), y = PEAK_OF(1);
    PEAK_VECTOR s0 = PEAK_OF(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0, s9 = s0,
                s10 = s0, s11 = s0;
    for (size_t r = 0; r < rounds; r++) {
        STEP(0);
        STEP(1);
        STEP(2);
        STEP(3);
        STEP(4);
        STEP(5);
        STEP(6);
        STEP(7);
        STEP(8);
        STEP(9);
        STEP(10);
        STEP(11);
    }
    return (uint64_t)rounds * SUMS * PEAK_MACS;
}
