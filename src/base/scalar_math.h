/* exp, tanh, sin, cos, log and pow of float, as fixed sequences of IEEE operations: the same bits on every machine
 * and in every lane of a vector (contract, rule 4). Owns: the sequences. Knows nothing of vectors, but uses only
 * steps that a vector has too: add, mul, fma, compare and select, integer add and shift. At most 2 ulp over the whole
 * range (sin, cos: |x| <= 2^18; beyond that the value is the same everywhere but means nothing). NaN in, NaN out.
 * Polynomials: minimax fits made for this file; reductions: Cody and Waite, Software Manual for the Elementary
 * Functions, 1980, with fma. Round to nearest even and denormals are taken for granted.
 *
 * fmaf is an fma instruction or libm's exact one: the bits are the same, only the speed differs. */
#ifndef FACET_BASE_SCALAR_MATH_H
#define FACET_BASE_SCALAR_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/half.h"

/* Adding it to |v| < 2^22 leaves rint(v) in the low bits of the sum. */
#define MATH_MAGIC     0x1.8p23f
#define MATH_LOG2E     0x1.715476p+0f
#define MATH_LN2_HIGH  0x1.62e43p-1f
#define MATH_LN2_LOW   (-0x1.05c61p-29f)
#define MATH_EXP_MIN   (-104.0f) /* exp is 0 from here down */
#define MATH_EXP_MAX   89.0f     /* exp is infinite from here up */
#define MATH_TANH_EDGE 0.6f      /* below: the odd polynomial; above: by exp */
#define MATH_TANH_MAX  10.0f     /* tanh is 1 from here up */
#define MATH_2_OVER_PI 0x1.45f306p-1f
#define MATH_PIO2_A    0x1.921fb6p+0f /* pi / 2 = A + B + C + less than 2^-76 */
#define MATH_PIO2_B    (-0x1.777a5cp-25f)
#define MATH_PIO2_C    (-0x1.ee59dap-50f)

/* The comparisons of vector max and min: where one side is NaN the second is the result. */
static inline float math_max(float a, float b) { return a > b ? a : b; }
static inline float math_min(float a, float b) { return a < b ? a : b; }

/* 2^k for -126 <= k <= 127 */
static inline float math_exp2i(int32_t k) { return float_of_bits((uint32_t)(k + 127) << 23); }

static inline float math_exp(float x) {
    x = math_max(MATH_EXP_MIN, math_min(MATH_EXP_MAX, x));
    float t = fmaf(x, MATH_LOG2E, MATH_MAGIC);
    float k = t - MATH_MAGIC;
    int32_t ki = (int32_t)(bits_of_float(t) - bits_of_float(MATH_MAGIC));
    float r = fmaf(k, -MATH_LN2_LOW, fmaf(k, -MATH_LN2_HIGH, x));
    float p = fmaf(0x1.6dbc4cp-10f, r, 0x1.124136p-7f);
    p = fmaf(p, r, 0x1.555454p-5f);
    p = fmaf(p, r, 0x1.555488p-3f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r * r, r) + 1.0f;
    /* two factors, so that the result may be infinite or denormal and is rounded once. A NaN makes ki arbitrary. */
    int32_t half = (int32_t)((uint32_t)(ki & 511) << 23) >> 24;
    int32_t rest = ((int32_t)((uint32_t)(ki & 511) << 23) >> 23) - half;
    return p * math_exp2i(half) * math_exp2i(rest);
}

static inline float math_tanh(float x) {
    float a = fabsf(x), z = a * a;
    float p = fmaf(0x1.246dfcp-9f, z, -0x1.0ee55cp-7f);
    p = fmaf(p, z, 0x1.6418d8p-6f);
    p = fmaf(p, z, -0x1.b9fa8ap-5f);
    p = fmaf(p, z, 0x1.11109ep-3f);
    p = fmaf(p, z, -0x1.555554p-2f);
    float small = fmaf(a * z, p, a);
    float c = math_min(MATH_TANH_MAX, a);
    float large = 1.0f - 2.0f / (math_exp(c + c) + 1.0f);
    float y = a < MATH_TANH_EDGE ? small : large;
    return float_of_bits(bits_of_float(y) | (bits_of_float(x) & 0x80000000u));
}

/* sin and cos of x = quadrant * pi / 2 + (high + low) */
static inline void math_sincos(float x, float *sine, float *cosine) {
    float t = fmaf(x, MATH_2_OVER_PI, MATH_MAGIC);
    float k = t - MATH_MAGIC;
    uint32_t quadrant = bits_of_float(t);
    float a = fmaf(k, -MATH_PIO2_A, x); /* exact */
    float b = k * -MATH_PIO2_B, b_error = fmaf(k, -MATH_PIO2_B, -b);
    float high = a + b, v = high - a; /* and the error of that sum, exact (Knuth) */
    float low = fmaf(k, -MATH_PIO2_C, ((a - (high - v)) + (b - v)) + b_error);
    float z = high * high;
    float s = fmaf(0x1.6cd5ecp-19f, z, -0x1.a00f94p-13f);
    s = fmaf(s, z, 0x1.111108p-7f);
    s = fmaf(s, z, -0x1.555556p-3f);
    s = fmaf(high * z, s, low) + high;
    float c = fmaf(-0x1.242908p-22f, z, 0x1.a01118p-16f);
    c = fmaf(c, z, -0x1.6c16b8p-10f);
    c = fmaf(c, z, 0x1.555556p-5f);
    c = fmaf(c, z, -0.5f);
    c = fmaf(c, z, -(high * low)) + 1.0f;
    float ys = quadrant & 1 ? c : s, yc = quadrant & 1 ? s : c;
    *sine = float_of_bits(bits_of_float(ys) ^ (quadrant & 2) << 30);
    *cosine = float_of_bits(bits_of_float(yc) ^ ((quadrant + 1) & 2) << 30);
}
static inline float math_sin(float x) {
    float s, c;
    math_sincos(x, &s, &c);
    return s;
}
static inline float math_cos(float x) {
    float s, c;
    math_sincos(x, &s, &c);
    return c;
}

/* Natural logarithm of a finite x > 0 in double, to about 2^-50 of its value: x = m 2^e with m near 1, and
 * log m = 2 atanh((m - 1) / (m + 1)). */
static inline double math_log_double(double x) {
    uint64_t u, edge = 0x3fe6a09e667f3bcdu; /* sqrt(1/2) */
    memcpy(&u, &x, sizeof u);
    int64_t e = (int64_t)(u - edge) >> 52;
    u -= (uint64_t)e << 52;
    double m;
    memcpy(&m, &u, sizeof m);
    double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = fma(1.0 / 17.0, z, 1.0 / 15.0);
    p = fma(p, z, 1.0 / 13.0);
    p = fma(p, z, 1.0 / 11.0);
    p = fma(p, z, 1.0 / 9.0);
    p = fma(p, z, 1.0 / 7.0);
    p = fma(p, z, 1.0 / 5.0);
    p = fma(p, z, 1.0 / 3.0);
    p = fma(p * z, s, s);
    return fma((double)e, 0x1.62e42fefa39efp-1, p + p);
}

/* exp of |x| <= 700 in double, to about 2^-46 of its value. */
static inline double math_exp_double(double x) {
    double t = fma(x, 0x1.71547652b82fep+0, 0x1.8p52), k = t - 0x1.8p52;
    double r = fma(k, -0x1.62e42fefa39efp-1, x);
    double p = fma(1.0 / 479001600.0, r, 1.0 / 39916800.0);
    p = fma(p, r, 1.0 / 3628800.0);
    p = fma(p, r, 1.0 / 362880.0);
    p = fma(p, r, 1.0 / 40320.0);
    p = fma(p, r, 1.0 / 5040.0);
    p = fma(p, r, 1.0 / 720.0);
    p = fma(p, r, 1.0 / 120.0);
    p = fma(p, r, 1.0 / 24.0);
    p = fma(p, r, 1.0 / 6.0);
    p = fma(p, r, 0.5);
    p = fma(p, r, 1.0);
    p = fma(p, r, 1.0);
    uint64_t scale = (uint64_t)((int64_t)k + 1023) << 52;
    double two_k;
    memcpy(&two_k, &scale, sizeof two_k);
    return p * two_k;
}

static inline float math_log(float x) {
    if (!(x > 0.0f)) return x == 0.0f ? -INFINITY : NAN;
    if (x == INFINITY) return x;
    return (float)math_log_double(x);
}

/* Special cases as C has them: pow(x, 0) and pow(1, y) are 1; a negative x needs a whole y. */
static inline float math_pow(float x, float y) {
    if (y == 0.0f || x == 1.0f) return 1.0f;
    if (x != x || y != y) return NAN;
    float a = fabsf(x);
    int whole = truncf(y) == y, odd = whole && fabsf(y) < 0x1p24f && ((int32_t)y & 1);
    float sign = signbit(x) && odd ? -1.0f : 1.0f;
    if (a == 0.0f || a == INFINITY) return (a == 0.0f) == (y > 0.0f) ? sign * 0.0f : sign * INFINITY;
    if (fabsf(y) == INFINITY) return a == 1.0f ? 1.0f : (a > 1.0f) == (y > 0.0f) ? INFINITY : 0.0f;
    if (x < 0.0f && !whole) return NAN;
    double t = (double)y * math_log_double(a);
    t = t > 200.0 ? 200.0 : t < -200.0 ? -200.0 : t;
    return sign * (float)math_exp_double(t);
}

#endif
