/* The ways into the searches. See quantise.h. */
#include "quant/quantise.h"

#include "quant/families.h"
#include "quant/quantise_k.h"

typedef void (*weigh_fn)(const float *x, const float *weights, void *blocks, size_t n_blocks);

static const weigh_fn searches[QUANT_N_TYPES] = {
    [QUANT_Q4_0] = quant_weigh_q4_0,   [QUANT_Q5_0] = quant_weigh_q5_0,     [QUANT_Q2_K] = quant_weigh_q2_k,
    [QUANT_Q3_K] = quant_weigh_q3_k,   [QUANT_Q4_K] = quant_weigh_q4_k,     [QUANT_Q5_K] = quant_weigh_q5_k,
    [QUANT_Q6_K] = quant_weigh_q6_k,   [QUANT_IQ4_NL] = quant_weigh_iq4_nl, [QUANT_IQ4_XS] = quant_weigh_iq4_xs,
    [QUANT_MXFP4] = quant_weigh_mxfp4, [QUANT_NVFP4] = quant_weigh_nvfp4,
};

bool quant_takes_weights(const quant_format *f) { return searches[f->type]; }

void quant_quantise_weighted(const quant_format *f, const float *x, const float *weights, void *blocks,
                             size_t n_blocks) {
    if (searches[f->type]) {
        searches[f->type](x, weights, blocks, n_blocks);
    } else {
        f->quantise(x, blocks, n_blocks);
    }
}

#define PLAIN(name)                                                                                                  \
    void quant_quantise_##name(const float *x, void *blocks, size_t n_blocks) {                                      \
        quant_weigh_##name(x, NULL, blocks, n_blocks);                                                               \
    }
PLAIN(q2_k)
PLAIN(q3_k)
PLAIN(q4_k)
PLAIN(q5_k)
PLAIN(q6_k)
PLAIN(iq4_nl)
PLAIN(iq4_xs)
PLAIN(mxfp4)
PLAIN(nvfp4)
