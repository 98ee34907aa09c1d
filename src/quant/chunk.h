/* Weights in the lanes of a search: sixteen groups of consecutive weights, brought to a range where sums of squares
 * neither overflow nor vanish. Private to src/quant. */
#ifndef FACET_QUANT_CHUNK_H
#define FACET_QUANT_CHUNK_H

#include "quant/format.h"
#include "quant/search.h"

typedef struct quant_chunk {
    search_problem p;
    int n_blocks, groups;     /* blocks in the chunk, groups in a block; n_blocks * groups <= SEARCH_LANES */
    float unit[SEARCH_LANES]; /* of each block: a power of two; its weights are p.x * unit */
} quant_chunk;

/* `n_blocks` blocks of `groups` groups of n weights. `weights` may be NULL. The lanes of absent blocks are zero. */
void quant_chunk_load(quant_chunk *c, const float *x, const float *weights, int n_blocks, int groups, int n);

/* Blocks of format f in chunks, whose groups are of n weights: `write` makes the blocks of each. */
typedef void (*quant_chunk_fn)(const quant_chunk *c, const void *rule, void *blocks);
void quant_chunks(const quant_format *f, int n, const float *x, const float *weights, void *blocks, size_t n_blocks,
                  quant_chunk_fn write, const void *rule);

/* The f16 nearest to v * unit, as it is stored, and in *v what that is in the chunk's range. */
uint16_t quant_chunk_f16(float unit, float *v);

/* The 256 codes of block b in the order of its weights. */
void quant_chunk_codes(const quant_chunk *c, const uint8_t (*codes)[SEARCH_LANES], int b, uint8_t out[256]);

/* Four bits of each of 256 codes: in runs of `run` weights the first half is low, the second high. */
void quant_pack_four_bits(const uint8_t codes[256], int run, uint8_t out[128]);
/* Two bits of each, from bit `shift`: in each half byte i holds weights 32 j + i, lowest first. */
void quant_pack_two_bits(const uint8_t codes[256], int shift, uint8_t out[64]);

#endif
