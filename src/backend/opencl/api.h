/* The part of OpenCL 1.2 that is used, declared by its specification (Khronos, OpenCL 1.2 API), and the loader's
 * functions, found at run time: building needs no header and no library of OpenCL's, running without one is a
 * status. */
#ifndef FACET_BACKEND_OPENCL_API_H
#define FACET_BACKEND_OPENCL_API_H

#include "base/error.h"
#include "os/library.h"

typedef int32_t cl_int;
typedef uint32_t cl_uint;
typedef uint64_t cl_ulong;
typedef cl_uint cl_bool;
typedef cl_ulong cl_bitfield;
typedef struct _cl_platform_id *cl_platform_id;
typedef struct _cl_device_id *cl_device_id;
typedef struct _cl_context *cl_context;
typedef struct _cl_command_queue *cl_command_queue;
typedef struct _cl_mem *cl_mem;
typedef struct _cl_program *cl_program;
typedef struct _cl_kernel *cl_kernel;
typedef struct _cl_event *cl_event;

enum {
    CL_SUCCESS = 0,
    CL_TRUE = 1,
    CL_PLATFORM_VERSION = 0x0901,
    CL_PLATFORM_NAME = 0x0902,
    CL_DEVICE_MAX_COMPUTE_UNITS = 0x1002,
    CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
    CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
    CL_DEVICE_IMAGE_SUPPORT = 0x1016,
    CL_DEVICE_SINGLE_FP_CONFIG = 0x101B,
    CL_DEVICE_GLOBAL_MEM_SIZE = 0x101F,
    CL_DEVICE_LOCAL_MEM_SIZE = 0x1023,
    CL_DEVICE_ENDIAN_LITTLE = 0x1026,
    CL_DEVICE_AVAILABLE = 0x1027,
    CL_DEVICE_COMPILER_AVAILABLE = 0x1028,
    CL_DEVICE_NAME = 0x102B,
    CL_DEVICE_VENDOR = 0x102C,
    CL_DRIVER_VERSION = 0x102D,
    CL_DEVICE_VERSION = 0x102F,
    CL_DEVICE_EXTENSIONS = 0x1030,
    CL_DEVICE_HOST_UNIFIED_MEMORY = 0x1035,
    CL_DEVICE_IMAGE_MAX_BUFFER_SIZE = 0x1040,
    CL_R = 0x10B0,
    CL_RGBA = 0x10B5,
    CL_UNSIGNED_INT32 = 0x10DC,
    CL_MEM_OBJECT_IMAGE1D_BUFFER = 0x10F6,
    CL_PROGRAM_BINARY_SIZES = 0x1165,
    CL_PROGRAM_BINARIES = 0x1166,
    CL_PROGRAM_BUILD_LOG = 0x1183,
    CL_KERNEL_WORK_GROUP_SIZE = 0x11B0,
};
#define CL_DEVICE_TYPE_ALL UINT64_C(0xFFFFFFFF)
#define CL_MEM_READ_WRITE  UINT64_C(1)
#define CL_MEM_READ_ONLY   UINT64_C(4)

typedef struct cl_image_format {
    cl_uint order, type;
} cl_image_format;
typedef struct cl_image_desc {
    cl_uint type;
    size_t width, height, depth, array_size, row_pitch, slice_pitch;
    cl_uint n_mip_levels, n_samples;
    cl_mem buffer;
} cl_image_desc;

/* name, result, arguments */
#define OPENCL_FUNCTIONS(X)                                                                                          \
    X(GetPlatformIDs, cl_int, (cl_uint, cl_platform_id *, cl_uint *))                                                \
    X(GetPlatformInfo, cl_int, (cl_platform_id, cl_uint, size_t, void *, size_t *))                                  \
    X(GetDeviceIDs, cl_int, (cl_platform_id, cl_bitfield, cl_uint, cl_device_id *, cl_uint *))                       \
    X(GetDeviceInfo, cl_int, (cl_device_id, cl_uint, size_t, void *, size_t *))                                      \
    X(CreateContext, cl_context,                                                                                     \
      (const intptr_t *, cl_uint, const cl_device_id *, void (*)(const char *, const void *, size_t, void *),        \
       void *, cl_int *))                                                                                            \
    X(ReleaseContext, cl_int, (cl_context))                                                                          \
    X(CreateCommandQueue, cl_command_queue, (cl_context, cl_device_id, cl_bitfield, cl_int *))                       \
    X(ReleaseCommandQueue, cl_int, (cl_command_queue))                                                               \
    X(CreateBuffer, cl_mem, (cl_context, cl_bitfield, size_t, void *, cl_int *))                                     \
    X(CreateImage, cl_mem,                                                                                           \
      (cl_context, cl_bitfield, const cl_image_format *, const cl_image_desc *, void *, cl_int *))                   \
    X(ReleaseMemObject, cl_int, (cl_mem))                                                                            \
    X(CreateProgramWithSource, cl_program, (cl_context, cl_uint, const char **, const size_t *, cl_int *))           \
    X(CreateProgramWithBinary, cl_program,                                                                           \
      (cl_context, cl_uint, const cl_device_id *, const size_t *, const unsigned char **, cl_int *, cl_int *))       \
    X(BuildProgram, cl_int,                                                                                          \
      (cl_program, cl_uint, const cl_device_id *, const char *, void (*)(cl_program, void *), void *))               \
    X(GetProgramInfo, cl_int, (cl_program, cl_uint, size_t, void *, size_t *))                                       \
    X(GetProgramBuildInfo, cl_int, (cl_program, cl_device_id, cl_uint, size_t, void *, size_t *))                    \
    X(ReleaseProgram, cl_int, (cl_program))                                                                          \
    X(CreateKernel, cl_kernel, (cl_program, const char *, cl_int *))                                                 \
    X(GetKernelWorkGroupInfo, cl_int, (cl_kernel, cl_device_id, cl_uint, size_t, void *, size_t *))                  \
    X(ReleaseKernel, cl_int, (cl_kernel))                                                                            \
    X(SetKernelArg, cl_int, (cl_kernel, cl_uint, size_t, const void *))                                              \
    X(EnqueueNDRangeKernel, cl_int,                                                                                  \
      (cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint,                \
       const cl_event *, cl_event *))                                                                                \
    X(EnqueueReadBuffer, cl_int,                                                                                     \
      (cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint, const cl_event *, cl_event *))            \
    X(EnqueueWriteBuffer, cl_int,                                                                                    \
      (cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint, const cl_event *, cl_event *))      \
    X(EnqueueCopyBuffer, cl_int,                                                                                     \
      (cl_command_queue, cl_mem, cl_mem, size_t, size_t, size_t, cl_uint, const cl_event *, cl_event *))             \
    X(Finish, cl_int, (cl_command_queue))

typedef struct opencl_api {
    os_library *library;
#define X(name, result, arguments) result(*name) arguments;
    OPENCL_FUNCTIONS(X)
#undef X
} opencl_api;

facet_status opencl_api_open(opencl_api *out, facet_error *err);
void opencl_api_close(opencl_api *api);
/* "CL_OUT_OF_RESOURCES", or "error -5" where the name is not known; `text` has 32 places. */
const char *opencl_error_name(cl_int code, char text[32]);

#endif
