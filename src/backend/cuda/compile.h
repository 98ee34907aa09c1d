/* CUDA kernels from source. Owns: the compiler's options, its process, what its results are called. Needs no device.
 */
#ifndef FACET_BACKEND_CUDA_COMPILE_H
#define FACET_BACKEND_CUDA_COMPILE_H

#include "backend/cuda/api.h"
#include "backend/gpu/cache.h"
#include "base/buffer.h"

/* Beside the source's own definitions. Nothing is contracted to an fma, divisions are IEEE's. */
#define CUDA_COMPILE_OPTIONS "-fmad=false -ftz=false -prec-div=true -prec-sqrt=true -std=c++17"

/* What a program is compiled for: devices of one compute capability, or (ptx) text that the driver compiles for
 * devices of that capability and all later ones. */
typedef struct cuda_target {
    int capability; /* 75, ... */
    bool ptx;
} cuda_target;

facet_status cuda_compile(const nvrtc_api *nvrtc, const gpu_source *source, cuda_target target, buffer *out,
                          facet_error *err);
/* The newest capability up to this one that the compiler knows; 0: none, or it does not tell. */
int cuda_compiler_knows(const nvrtc_api *nvrtc, int capability);
/* With whatever compiler is here, in a process of its own where there is one to be had: a compiler that breaks down
 * takes nothing with it. For devices that the compiler does not know: PTX of the newest that it does. */
facet_status cuda_compile_apart(const gpu_source *source, int capability, buffer *out, facet_error *err);

/* Where the cache has a program. A cubin does not depend on the driver. */
gpu_cache_key cuda_cache_key(const gpu_source *source, cuda_target target);

#endif
