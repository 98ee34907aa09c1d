/* CUDA devices. See gpu/device.h. */
#include "backend/gpu/device.h"

facet_status cuda_device_open(gpu_device **out, size_t index, facet_error *err) {
    (void)index;
    *out = NULL;
    return error_set(err, FACET_ERROR_UNSUPPORTED, "no CUDA driver (libcuda.so.1) here");
}
