/* Random numbers without state: each is a function of what it is for, so that a draw made again, elsewhere or in
 * another order is the same draw. Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011. */
#ifndef FACET_BASE_RNG_H
#define FACET_BASE_RNG_H

#include <stdint.h>

/* The generator's block function: ten rounds. */
void rng_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Uniform in [0, 1), 53 bits, for one draw: the key is `seed`, the counter `stream` and `index`. */
double rng_unit(uint64_t seed, uint64_t stream, uint64_t index);

#endif
