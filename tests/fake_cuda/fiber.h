/* Threads that give way to each other on their own account, all within one thread of the system. Owns: their stacks
 * and the switch from one to another. */
#ifndef FACET_TESTS_FAKE_CUDA_FIBER_H
#define FACET_TESTS_FAKE_CUDA_FIBER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fibers fibers;

/* `run` is what every fiber does; index says which it is. NULL: no memory. */
fibers *fibers_new(size_t most, void (*run)(size_t index, void *ctx), void *ctx);
void fibers_free(fibers *f);
/* Makes fiber `index` begin anew at its next turn. */
void fibers_restart(fibers *f, size_t index);
/* Runs a fiber until it gives way; true: its `run` has returned. */
bool fibers_turn(fibers *f, size_t index);
/* Called by the fiber that runs: back to fibers_turn. */
void fibers_give_way(fibers *f);

#endif
