/* exp for weights of tokens: a fixed sequence of IEEE operations on doubles. Without fma, unlike the one of
 * base/scalar_math.h, because it runs over whole vocabularies in code that is compiled for any machine, where an fma
 * is a function call; the compiler can put this one into vectors. Reduction: Cody and Waite, Software Manual for the
 * Elementary Functions, 1980; Taylor's polynomial, which at |r| <= log(2) / 2 is good for 10 digits. */
#ifndef FACET_SAMPLE_WEIGHT_H
#define FACET_SAMPLE_WEIGHT_H

#include <stdint.h>
#include <string.h>

/* exp(x) for x <= 0, to 3e-10 of its value; 0 from -700 down, also for a NaN. */
static inline double weight_exp(double x) {
    const double magic = 0x1.8p52; /* adding it leaves the nearest integer in the low bits */
    double reduced = x > -700.0 ? x : -700.0;
    double t = reduced * 0x1.71547652b82fep+0 + magic, k = t - magic;
    double r = (reduced - k * 0x1.62e42fep-1) - k * 0x1.f473de6af278fp-30;
    double p = r * (1.0 / 40320.0) + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t bits, shift;
    memcpy(&bits, &p, sizeof bits);
    memcpy(&shift, &t, sizeof shift);
    bits += shift << 52; /* times 2^k */
    memcpy(&p, &bits, sizeof p);
    return x > -700.0 ? p : 0.0;
}

#endif
