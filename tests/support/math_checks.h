/* Comparing the functions of base/scalar_math.h with libm in double precision. For quick_math.c and full_math.c. */
#ifndef FACET_TESTS_MATH_CHECKS_H
#define FACET_TESTS_MATH_CHECKS_H

#include <math.h>
#include <string.h>

#include "base/scalar_math.h"
#include "support.h"

/* Distance of `got` from the true value in units of the true value's last float place; 0 where both are the same
 * special value. */
static inline double ulps(float got, double want) {
    float rounded = (float)want;
    if (isnan(want)) return isnan(got) ? 0 : INFINITY;
    if (got == rounded) return 0;
    if (isnan(got) || isinf(got)) return INFINITY;
    /* beyond the largest float: as if the exponent went on */
    double a = fabs(want), ulp = a < 0x1p-126 ? 0x1p-149 : ldexp(1.0, ilogb(a) - 23);
    if (isinf(rounded)) return a < 0x1p128 * (1 + 0x1p-22) ? fabs(got - want) / ulp : INFINITY;
    return fabs((double)got - want) / ulp;
}

/* Every `stride`th float of [low, high], by bit pattern, both signs. */
static inline void check_range(float (*f)(float), double (*truth)(double), float low, float high, uint32_t stride) {
    double worst = 0;
    float at = 0;
    for (uint64_t u = 0; u <= 0xff000001u; u += stride) { /* magnitude and sign, infinities included */
        float x = float_of_bits((uint32_t)(u >> 1) | (uint32_t)(u & 1) << 31);
        if (x > high) break;
        if (x < low || isnan(x)) continue;
        double e = ulps(f(x), truth(x));
        if (e > worst) worst = e, at = x;
    }
    if (worst > 2) fail_msg("%.3f ulp at %a", worst, (double)at);
    assert_true(isnan(f(NAN)));
}

static inline void check_pow(uint32_t n) {
    uint64_t seed = 1;
    for (uint32_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        float x = float_of_bits((uint32_t)(seed >> 33)), y = (float)(int32_t)(seed >> 7) * 0x1p-27f;
        if (i % 3 == 0) y *= 0x1p-6f;
        double e = ulps(math_pow(x, y), pow(x, y));
        if (e > 2) fail_msg("%.3f ulp at pow(%a, %a)", e, (double)x, (double)y);
    }
}

#endif
