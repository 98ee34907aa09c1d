/* Kernels as shared libraries of the host. Owns: the compiler's run, the files in between. */
#ifndef FACET_TESTS_FAKE_CUDA_COMPILER_H
#define FACET_TESTS_FAKE_CUDA_COMPILER_H

#include "emulator.h"

/* Gives a module's kernels the emulator that runs them. */
void emulated_module_attach(emulated_module *m, emulated_hooks *hooks);
/* Fills its static shared memory with garbage. */
void emulated_module_spoil(emulated_module *m);

#endif
