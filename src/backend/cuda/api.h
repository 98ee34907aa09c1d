/* The part of CUDA that is used: the driver's interface (libcuda, which comes with the driver) and the compiler for
 * kernels at run time (NVRTC, of the toolkit), both declared by their manuals and found at run time: building needs
 * neither, running without them is a status. Where the toolkit's headers are, tests/cuda_headers compares. */
#ifndef FACET_BACKEND_CUDA_API_H
#define FACET_BACKEND_CUDA_API_H

#include "base/error.h"
#include "os/library.h"

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUkern_st *CUkernel;
typedef int CUdevice_attribute;
typedef int nvrtcResult;
typedef struct _nvrtcProgram *nvrtcProgram;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 1,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK = 8,
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    CU_STREAM_NON_BLOCKING = 1,
    CU_EVENT_DISABLE_TIMING = 2,
    CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
    CU_GRAPH_NODE_TYPE_KERNEL = 0,
    CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC = 1,
    CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC = 1,
};

/* A launch with attributes. */
typedef union CUlaunchAttributeValue {
    char pad[64];
    int programmaticStreamSerializationAllowed;
} CUlaunchAttributeValue;
typedef struct CUlaunchAttribute {
    int id;
    char pad[4];
    CUlaunchAttributeValue value;
} CUlaunchAttribute;
typedef struct CUlaunchConfig {
    unsigned gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes;
    CUstream hStream;
    CUlaunchAttribute *attrs;
    unsigned numAttrs;
} CUlaunchConfig;

/* A launch as a graph has it: version 3 of nodes that are added, version 2 of those that are changed; both alike. */
typedef struct CUDA_KERNEL_NODE_PARAMS {
    CUfunction func;
    unsigned gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes;
    void **kernelParams, **extra;
    CUkernel kern;
    CUcontext ctx;
} CUDA_KERNEL_NODE_PARAMS;
typedef struct CUgraphNodeParams {
    int type, reserved0[3];
    union {
        long long reserved1[29];
        CUDA_KERNEL_NODE_PARAMS kernel;
    };
    long long reserved2;
} CUgraphNodeParams;
typedef struct CUgraphEdgeData {
    unsigned char from_port, to_port, type, reserved[5];
} CUgraphEdgeData;

/* field, name in the library, arguments; all give a CUresult */
#define CUDA_FUNCTIONS(X)                                                                                            \
    X(Init, cuInit, (unsigned))                                                                                      \
    X(DriverGetVersion, cuDriverGetVersion, (int *))                                                                 \
    X(DeviceGetCount, cuDeviceGetCount, (int *))                                                                     \
    X(DeviceGet, cuDeviceGet, (CUdevice *, int))                                                                     \
    X(DeviceGetName, cuDeviceGetName, (char *, int, CUdevice))                                                       \
    X(DeviceGetAttribute, cuDeviceGetAttribute, (int *, CUdevice_attribute, CUdevice))                               \
    X(DeviceTotalMem, cuDeviceTotalMem_v2, (size_t *, CUdevice))                                                     \
    X(PrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                                           \
    X(PrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CUdevice))                                                   \
    X(CtxPushCurrent, cuCtxPushCurrent_v2, (CUcontext))                                                              \
    X(CtxPopCurrent, cuCtxPopCurrent_v2, (CUcontext *))                                                              \
    X(MemAlloc, cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                              \
    X(MemFree, cuMemFree_v2, (CUdeviceptr))                                                                          \
    X(MemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUstream))                          \
    X(MemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *, CUdeviceptr, size_t, CUstream))                                \
    X(MemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CUdeviceptr, CUdeviceptr, size_t, CUstream))                           \
    X(StreamCreate, cuStreamCreate, (CUstream *, unsigned))                                                          \
    X(StreamSynchronize, cuStreamSynchronize, (CUstream))                                                            \
    X(StreamDestroy, cuStreamDestroy_v2, (CUstream))                                                                 \
    X(ModuleLoadData, cuModuleLoadData, (CUmodule *, const void *))                                                  \
    X(ModuleUnload, cuModuleUnload, (CUmodule))                                                                      \
    X(ModuleGetFunction, cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                                \
    X(LaunchKernel, cuLaunchKernel,                                                                                  \
      (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **,          \
       void **))                                                                                                     \
    X(GetErrorName, cuGetErrorName, (CUresult, const char **))

/* Those that a driver may lack; the field is NULL then. */
#define CUDA_OPTIONAL_FUNCTIONS(X)                                                                                   \
    X(MemHostAlloc, cuMemHostAlloc, (void **, size_t, unsigned))                                                     \
    X(MemFreeHost, cuMemFreeHost, (void *))                                                                          \
    X(EventCreate, cuEventCreate, (CUevent *, unsigned))                                                             \
    X(EventDestroy, cuEventDestroy_v2, (CUevent))                                                                    \
    X(EventRecord, cuEventRecord, (CUevent, CUstream))                                                               \
    X(EventSynchronize, cuEventSynchronize, (CUevent))                                                               \
    X(LaunchKernelEx, cuLaunchKernelEx, (const CUlaunchConfig *, CUfunction, void **, void **))                      \
    X(GraphCreate, cuGraphCreate, (CUgraph *, unsigned))                                                             \
    X(GraphDestroy, cuGraphDestroy, (CUgraph))                                                                       \
    X(GraphAddNode, cuGraphAddNode_v2,                                                                               \
      (CUgraphNode *, CUgraph, const CUgraphNode *, const CUgraphEdgeData *, size_t, CUgraphNodeParams *))           \
    X(GraphInstantiate, cuGraphInstantiateWithFlags, (CUgraphExec *, CUgraph, unsigned long long))                   \
    X(GraphExecKernelNodeSetParams, cuGraphExecKernelNodeSetParams_v2,                                               \
      (CUgraphExec, CUgraphNode, const CUDA_KERNEL_NODE_PARAMS *))                                                   \
    X(GraphLaunch, cuGraphLaunch, (CUgraphExec, CUstream))                                                           \
    X(GraphExecDestroy, cuGraphExecDestroy, (CUgraphExec))

#define NVRTC_FUNCTIONS(X)                                                                                           \
    X(Version, nvrtcVersion, (int *, int *))                                                                         \
    X(CreateProgram, nvrtcCreateProgram,                                                                             \
      (nvrtcProgram *, const char *, const char *, int, const char *const *, const char *const *))                   \
    X(DestroyProgram, nvrtcDestroyProgram, (nvrtcProgram *))                                                         \
    X(CompileProgram, nvrtcCompileProgram, (nvrtcProgram, int, const char *const *))                                 \
    X(GetNumSupportedArchs, nvrtcGetNumSupportedArchs, (int *))                                                      \
    X(GetSupportedArchs, nvrtcGetSupportedArchs, (int *))                                                            \
    X(GetPTXSize, nvrtcGetPTXSize, (nvrtcProgram, size_t *))                                                         \
    X(GetPTX, nvrtcGetPTX, (nvrtcProgram, char *))                                                                   \
    X(GetCUBINSize, nvrtcGetCUBINSize, (nvrtcProgram, size_t *))                                                     \
    X(GetCUBIN, nvrtcGetCUBIN, (nvrtcProgram, char *))                                                               \
    X(GetProgramLogSize, nvrtcGetProgramLogSize, (nvrtcProgram, size_t *))                                           \
    X(GetProgramLog, nvrtcGetProgramLog, (nvrtcProgram, char *))

typedef struct cuda_api {
    os_library *library;
#define X(field, name, arguments) CUresult(*field) arguments;
    CUDA_FUNCTIONS(X)
    CUDA_OPTIONAL_FUNCTIONS(X)
#undef X
} cuda_api;

typedef struct nvrtc_api {
    os_library *library;
#define X(field, name, arguments) nvrtcResult(*field) arguments;
    NVRTC_FUNCTIONS(X)
#undef X
} nvrtc_api;

facet_status cuda_api_open(cuda_api *out, facet_error *err);
void cuda_api_close(cuda_api *api);
facet_status nvrtc_api_open(nvrtc_api *out, facet_error *err);
void nvrtc_api_close(nvrtc_api *api);

#endif
