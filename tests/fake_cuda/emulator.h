/* CUDA kernels on the host's processor. Owns: how a grid of threads runs. A kernel's text is compiled by the host's
 * C++ compiler behind device.hpp; the threads of a block are fibers, blocks come one after another. So tests see what
 * a kernel computes, with barriers, shuffles and matrix instructions as their manuals have them; they see nothing of
 * speed, of a device's compiler and of its memory's order.
 *
 * It is strict where a device is merely undefined: shared memory begins as garbage in each block, threads run in an
 * order that can be changed, a thread that waits for one that never comes is an error, so is a warp that diverges at
 * a shuffle. Built with AddressSanitizer it watches the kernels' accesses too. */
#ifndef FACET_TESTS_FAKE_CUDA_EMULATOR_H
#define FACET_TESTS_FAKE_CUDA_EMULATOR_H

#include "base/buffer.h"
#include "hooks.h"

typedef struct emulator emulator;
typedef struct emulated_module emulated_module;
typedef void (*emulated_kernel_fn)(void **arguments);

/* Compiles CUDA C (options: "-DNAME=VALUE ..." and capability, 75 to 90); false: `out` has the compiler's messages.
 */
bool emulator_compile(const char *text, const char *defines, int capability, buffer *out);

emulated_module *emulator_load(const void *image, size_t n_bytes);
emulated_kernel_fn emulator_find(const emulated_module *m, const char *name);
/* The bytes of a kernel's arguments, 0 behind the last one. */
const size_t *emulator_arguments(const emulated_module *m, const char *name);

typedef struct emulated_launch {
    emulated_module *module;
    emulated_kernel_fn kernel;
    emulated_place grid, block;
    size_t shared_bytes;
    void **arguments;
} emulated_launch;

emulator *emulator_new(void);
void emulator_free(emulator *e);
/* In which order threads take their turns: 0 ascending, 1 descending, others shuffled. */
void emulator_order(emulator *e, uint32_t seed);
/* NULL: done; else what the kernel did wrong. */
const char *emulator_run(emulator *e, const emulated_launch *launch);

#endif
