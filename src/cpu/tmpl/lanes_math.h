/* exp and tanh of sixteen lanes: step for step the sequences of base/scalar_math.h, hence the same bits. Included
 * after a lanes_ISA.h. */
#ifndef FACET_CPU_TMPL_LANES_MATH_H
#define FACET_CPU_TMPL_LANES_MATH_H

#include "base/scalar_math.h"

LANES_INLINE lanes lanes_exp(lanes x) {
    x = lanes_max(lanes_of(MATH_EXP_MIN), lanes_min(lanes_of(MATH_EXP_MAX), x));
    lanes t = lanes_fma(x, lanes_of(MATH_LOG2E), lanes_of(MATH_MAGIC));
    lanes k = lanes_sub(t, lanes_of(MATH_MAGIC));
    lanes r = lanes_fma(k, lanes_of(-MATH_LN2_LOW), lanes_fma(k, lanes_of(-MATH_LN2_HIGH), x));
    lanes p = lanes_fma(lanes_of(0x1.6dbc4cp-10f), r, lanes_of(0x1.124136p-7f));
    p = lanes_fma(p, r, lanes_of(0x1.555454p-5f));
    p = lanes_fma(p, r, lanes_of(0x1.555488p-3f));
    p = lanes_fma(p, r, lanes_of(0.5f));
    p = lanes_add(lanes_fma(p, lanes_mul(r, r), r), lanes_of(1.0f));
    return lanes_scale(p, t);
}

LANES_INLINE lanes lanes_tanh(lanes x) {
    lanes a = lanes_abs(x), z = lanes_mul(a, a), one = lanes_of(1.0f);
    lanes p = lanes_fma(lanes_of(0x1.246dfcp-9f), z, lanes_of(-0x1.0ee55cp-7f));
    p = lanes_fma(p, z, lanes_of(0x1.6418d8p-6f));
    p = lanes_fma(p, z, lanes_of(-0x1.b9fa8ap-5f));
    p = lanes_fma(p, z, lanes_of(0x1.11109ep-3f));
    p = lanes_fma(p, z, lanes_of(-0x1.555554p-2f));
    lanes small = lanes_fma(lanes_mul(a, z), p, a);
    lanes c = lanes_min(lanes_of(MATH_TANH_MAX), a);
    lanes e = lanes_exp(lanes_add(c, c));
    lanes large = lanes_sub(one, lanes_div(lanes_of(2.0f), lanes_add(e, one)));
    return lanes_with_sign(lanes_if_less(a, lanes_of(MATH_TANH_EDGE), small, large), x);
}

#endif
