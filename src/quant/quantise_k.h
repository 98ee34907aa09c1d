/* The searches behind quantise.h, one for each format. Private to src/quant. */
#ifndef FACET_QUANT_QUANTISE_K_H
#define FACET_QUANT_QUANTISE_K_H

#include "quant/format.h"

#define QUANT_WEIGHS(name)                                                                                           \
    void quant_weigh_##name(const float *x, const float *weights, void *blocks, size_t n_blocks)
QUANT_WEIGHS(q4_0);
QUANT_WEIGHS(q5_0);
QUANT_WEIGHS(q2_k);
QUANT_WEIGHS(q3_k);
QUANT_WEIGHS(q4_k);
QUANT_WEIGHS(q5_k);
QUANT_WEIGHS(q6_k);
QUANT_WEIGHS(iq4_nl);
QUANT_WEIGHS(iq4_xs);
QUANT_WEIGHS(mxfp4);
QUANT_WEIGHS(nvfp4);
#undef QUANT_WEIGHS

#endif
