/* Writing the formats whose scales are worth a search: the blocks of 256 with scaled scales, the codebooks of four
 * bits, and Q4_0 of a model that was trained on its lattice. Owns: the searches. Knows nothing of files. The table in
 * format.c has the plain entry points; here are those with a weight for every error. */
#ifndef FACET_QUANT_QUANTISE_H
#define FACET_QUANT_QUANTISE_H

#include "quant/format.h"

/* True for the formats whose search takes weights. */
bool quant_takes_weights(const quant_format *f);

/* As f->quantise. `weights`, where not NULL, says how much the squared error of each x counts; none is negative.
 * Formats whose search takes none ignore them. What is not finite in x is written as 0 by the searches. */
void quant_quantise_weighted(const quant_format *f, const float *x, const float *weights, void *blocks,
                             size_t n_blocks);

/* Writes a block of Q4_0 that gives back 32 weights as they are, or gives back what rounds to them in bfloat16.
 * False, with the block untouched, where no scale does: the weights are on no lattice. */
bool quant_q4_0_lattice(const float x[32], void *block);

#endif
