/* Finding CUDA's driver and compiler. See api.h. */
#include "backend/cuda/api.h"

static const char *const driver_names[] = {"libcuda.so.1", "libcuda.so", NULL};
static const char *const compiler_names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so",
                                             NULL};

facet_status cuda_api_open(cuda_api *out, facet_error *err) {
    *out = (cuda_api){.library = os_library_open(driver_names)};
    if (!out->library) return error_set(err, FACET_ERROR_UNSUPPORTED, "no CUDA driver (libcuda.so.1) here");
    const char *missing = NULL;
#define X(field, name, arguments)                                                                                    \
    out->field = (CUresult(*) arguments)os_library_find(out->library, #name);                                        \
    if (!out->field) missing = #name;
    CUDA_FUNCTIONS(X)
#undef X
#define X(field, name, arguments) out->field = (CUresult(*) arguments)os_library_find(out->library, #name);
    CUDA_OPTIONAL_FUNCTIONS(X)
#undef X
    if (!missing) return FACET_OK;
    cuda_api_close(out);
    return error_set(err, FACET_ERROR_UNSUPPORTED, "the CUDA driver has no %s: it is too old", missing);
}

void cuda_api_close(cuda_api *api) {
    os_library_close(api->library);
    *api = (cuda_api){0};
}

facet_status nvrtc_api_open(nvrtc_api *out, facet_error *err) {
    *out = (nvrtc_api){.library = os_library_open(compiler_names)};
    if (!out->library) {
        return error_set(err, FACET_ERROR_UNSUPPORTED,
                         "CUDA kernels must be compiled, and there is no compiler for them (libnvrtc.so.12) here");
    }
    const char *missing = NULL;
#define X(field, name, arguments)                                                                                    \
    out->field = (nvrtcResult(*) arguments)os_library_find(out->library, #name);                                     \
    if (!out->field) missing = #name;
    NVRTC_FUNCTIONS(X)
#undef X
    if (!missing) return FACET_OK;
    nvrtc_api_close(out);
    return error_set(err, FACET_ERROR_UNSUPPORTED, "the compiler for CUDA kernels has no %s: it is too old", missing);
}

void nvrtc_api_close(nvrtc_api *api) {
    os_library_close(api->library);
    *api = (nvrtc_api){0};
}
