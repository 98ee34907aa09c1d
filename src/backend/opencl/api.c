/* Finding OpenCL's loader. See api.h. */
#include "backend/opencl/api.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {"libOpenCL.so.1", "libOpenCL.so", "/vendor/lib64/libOpenCL.so",
                                    "/system/vendor/lib64/libOpenCL.so", NULL};

facet_status opencl_api_open(opencl_api *out, facet_error *err) {
    *out = (opencl_api){.library = os_library_open(names)};
    if (!out->library) return error_set(err, FACET_ERROR_UNSUPPORTED, "no OpenCL loader (libOpenCL.so.1) here");
    const char *missing = NULL;
#define X(name, result, arguments)                                                                                   \
    out->name = (result(*) arguments)os_library_find(out->library, "cl" #name);                                      \
    if (!out->name) missing = "cl" #name;
    OPENCL_FUNCTIONS(X)
#undef X
    if (!missing) return FACET_OK;
    opencl_api_close(out);
    return error_set(err, FACET_ERROR_UNSUPPORTED, "the OpenCL loader has no %s", missing);
}

void opencl_api_close(opencl_api *api) {
    os_library_close(api->library);
    *api = (opencl_api){0};
}

const char *opencl_error_name(cl_int code, char text[32]) {
    static const struct {
        cl_int code;
        const char *name;
    } known[] = {{-1, "CL_DEVICE_NOT_FOUND"},
                 {-2, "CL_DEVICE_NOT_AVAILABLE"},
                 {-3, "CL_COMPILER_NOT_AVAILABLE"},
                 {-4, "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
                 {-5, "CL_OUT_OF_RESOURCES"},
                 {-6, "CL_OUT_OF_HOST_MEMORY"},
                 {-10, "CL_IMAGE_FORMAT_NOT_SUPPORTED"},
                 {-11, "CL_BUILD_PROGRAM_FAILURE"},
                 {-42, "CL_INVALID_BINARY"},
                 {-46, "CL_INVALID_KERNEL_NAME"},
                 {-52, "CL_INVALID_KERNEL_ARGS"},
                 {-54, "CL_INVALID_WORK_GROUP_SIZE"},
                 {-61, "CL_INVALID_BUFFER_SIZE"},
                 {-1001, "no platform"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].code == code) return known[i].name;
    }
    snprintf(text, 32, "error %d", (int)code);
    return text;
}
