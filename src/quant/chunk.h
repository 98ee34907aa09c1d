/* Weights in the lanes of a search: sixteen groups of consecutive weights, brought to a range where sums of squares
 * neither overflow nor vanish. Private to src/quant. */
#ifndef FACET_QUANT_CHUNK_H
#define FACET_QUANT_CHUNK_H

#include "quant/search.h"

typedef struct quant_chunk {
    search_problem p;
    int n_blocks, groups;     /* blocks in the chunk, groups in a block; n_blocks * groups <= SEARCH_LANES */
    float unit[SEARCH_LANES]; /* of each block: a power of two; its weights are p.x * unit */
} quant_chunk;

/* `n_blocks` blocks of `groups` groups of n weights. `weights` may be NULL. The lanes of absent blocks are zero. */
void quant_chunk_load(quant_chunk *c, const float *x, const float *weights, int n_blocks, int groups, int n);

/* The f16 nearest to v * unit, as it is stored, and in *v what that is in the chunk's range. */
uint16_t quant_chunk_f16(float unit, float *v);

#endif
