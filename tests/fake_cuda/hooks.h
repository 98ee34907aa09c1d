/* What compiled kernels and the emulator have between them; C and C++. A kernel sees its place in the grid here, and
 * calls back where it waits for other threads. */
#ifndef FACET_TESTS_FAKE_CUDA_HOOKS_H
#define FACET_TESTS_FAKE_CUDA_HOOKS_H

#include <stdint.h>

enum { EMULATED_WARP = 32, EMULATED_WORDS = 8 };

typedef struct emulated_place {
    unsigned x, y, z;
} emulated_place;

/* A warp's words, of each lane. */
typedef uint32_t emulated_lanes[EMULATED_WARP][EMULATED_WORDS];

typedef struct emulated_hooks {
    emulated_place thread, block, block_size, grid_size; /* of the thread that runs */
    void *dynamic_shared;
    void (*barrier)(void);
    /* Hands n words on to the lanes of `mask`, waits for theirs; good until the next call. */
    const emulated_lanes *(*exchange)(uint32_t mask, const uint32_t *words, int n);
    void (*grid_wait)(void); /* every thread must have called it once */
    float (*half_to_float)(uint16_t h);
    uint16_t (*float_to_half)(float x);
} emulated_hooks;

#endif
