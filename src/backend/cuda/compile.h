/* CUDA kernels from source. Owns: the compiler's options. Needs no device. */
#ifndef FACET_BACKEND_CUDA_COMPILE_H
#define FACET_BACKEND_CUDA_COMPILE_H

#include "backend/cuda/api.h"
#include "backend/gpu/device.h"
#include "base/buffer.h"

/* Beside the source's own definitions. Nothing is contracted to an fma, divisions are IEEE's. */
#define CUDA_COMPILE_OPTIONS "-fmad=false -ftz=false -prec-div=true -prec-sqrt=true -std=c++17"

/* A cubin for one compute capability, 75 to 90 and what the compiler knows beyond. */
facet_status cuda_compile(const nvrtc_api *nvrtc, const gpu_source *source, int capability, buffer *out,
                          facet_error *err);

#endif
