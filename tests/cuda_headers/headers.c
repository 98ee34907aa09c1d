/* Compiles where cuda/api.h says the same as the toolkit's own headers, else not: values, layouts, and the types of
 * every function. The names of api.h get a prefix first, so that both can be seen at once; its lists of functions are
 * then read once more, with the toolkit's types behind the same words. Only built where those headers are. */
#define CUresult                own_CUresult
#define CUdevice                own_CUdevice
#define CUdeviceptr             own_CUdeviceptr
#define CUdevice_attribute      own_CUdevice_attribute
#define CUlaunchAttributeValue  own_CUlaunchAttributeValue
#define CUlaunchAttribute       own_CUlaunchAttribute
#define CUlaunchConfig          own_CUlaunchConfig
#define CUDA_KERNEL_NODE_PARAMS own_CUDA_KERNEL_NODE_PARAMS
#define CUgraphNodeParams       own_CUgraphNodeParams
#define CUgraphEdgeData         own_CUgraphEdgeData
#define nvrtcResult             own_nvrtcResult

#define CUDA_SUCCESS                                          own_CUDA_SUCCESS
#define CUDA_ERROR_OUT_OF_MEMORY                              own_CUDA_ERROR_OUT_OF_MEMORY
#define CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK             own_MAX_THREADS_PER_BLOCK
#define CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK       own_MAX_SHARED_MEMORY_PER_BLOCK
#define CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT              own_MULTIPROCESSOR_COUNT
#define CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR          own_COMPUTE_CAPABILITY_MAJOR
#define CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR          own_COMPUTE_CAPABILITY_MINOR
#define CU_STREAM_NON_BLOCKING                                own_STREAM_NON_BLOCKING
#define CU_EVENT_DISABLE_TIMING                               own_EVENT_DISABLE_TIMING
#define CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION own_PROGRAMMATIC_STREAM_SERIALIZATION
#define CU_GRAPH_NODE_TYPE_KERNEL                             own_GRAPH_NODE_TYPE_KERNEL
#define CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC                own_KERNEL_NODE_PORT_PROGRAMMATIC
#define CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC                 own_DEPENDENCY_TYPE_PROGRAMMATIC

#include "backend/cuda/api.h"

#undef CUresult
#undef CUdevice
#undef CUdeviceptr
#undef CUdevice_attribute
#undef CUlaunchAttributeValue
#undef CUlaunchAttribute
#undef CUlaunchConfig
#undef CUDA_KERNEL_NODE_PARAMS
#undef CUgraphNodeParams
#undef CUgraphEdgeData
#undef nvrtcResult
#undef CUDA_SUCCESS
#undef CUDA_ERROR_OUT_OF_MEMORY
#undef CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK
#undef CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK
#undef CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
#undef CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
#undef CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
#undef CU_STREAM_NON_BLOCKING
#undef CU_EVENT_DISABLE_TIMING
#undef CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
#undef CU_GRAPH_NODE_TYPE_KERNEL
#undef CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC
#undef CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC

#include <cuda.h>
#include <nvrtc.h>

/* ---- values */

#define SAME_VALUE(own, theirs) _Static_assert((int)(own) == (int)(theirs), #theirs)
SAME_VALUE(own_CUDA_SUCCESS, CUDA_SUCCESS);
SAME_VALUE(own_CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY);
SAME_VALUE(own_MAX_THREADS_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
SAME_VALUE(own_MAX_SHARED_MEMORY_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
SAME_VALUE(own_MULTIPROCESSOR_COUNT, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
SAME_VALUE(own_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME_VALUE(own_COMPUTE_CAPABILITY_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
SAME_VALUE(own_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING);
SAME_VALUE(own_EVENT_DISABLE_TIMING, CU_EVENT_DISABLE_TIMING);
SAME_VALUE(own_PROGRAMMATIC_STREAM_SERIALIZATION, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
SAME_VALUE(own_GRAPH_NODE_TYPE_KERNEL, CU_GRAPH_NODE_TYPE_KERNEL);
SAME_VALUE(own_KERNEL_NODE_PORT_PROGRAMMATIC, CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC);
SAME_VALUE(own_DEPENDENCY_TYPE_PROGRAMMATIC, CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC);

/* ---- layouts */

#define SAME_SIZE(type)         _Static_assert(sizeof(own_##type) == sizeof(type), #type)
#define SAME_PLACE(type, field) SAME_VALUE(offsetof(own_##type, field), offsetof(type, field))
SAME_SIZE(CUresult);
SAME_SIZE(CUdevice);
SAME_SIZE(CUdeviceptr);
SAME_SIZE(CUdevice_attribute);
SAME_SIZE(nvrtcResult);
SAME_SIZE(CUlaunchAttributeValue);
SAME_SIZE(CUlaunchAttribute);
SAME_PLACE(CUlaunchAttribute, id);
SAME_PLACE(CUlaunchAttribute, value);
SAME_PLACE(CUlaunchAttributeValue, programmaticStreamSerializationAllowed);
SAME_SIZE(CUlaunchConfig);
SAME_PLACE(CUlaunchConfig, gridDimX);
SAME_PLACE(CUlaunchConfig, blockDimX);
SAME_PLACE(CUlaunchConfig, sharedMemBytes);
SAME_PLACE(CUlaunchConfig, hStream);
SAME_PLACE(CUlaunchConfig, attrs);
SAME_PLACE(CUlaunchConfig, numAttrs);
SAME_SIZE(CUDA_KERNEL_NODE_PARAMS);
SAME_PLACE(CUDA_KERNEL_NODE_PARAMS, func);
SAME_PLACE(CUDA_KERNEL_NODE_PARAMS, gridDimX);
SAME_PLACE(CUDA_KERNEL_NODE_PARAMS, blockDimX);
SAME_PLACE(CUDA_KERNEL_NODE_PARAMS, sharedMemBytes);
SAME_PLACE(CUDA_KERNEL_NODE_PARAMS, kernelParams);
SAME_PLACE(CUDA_KERNEL_NODE_PARAMS, extra);
SAME_PLACE(CUDA_KERNEL_NODE_PARAMS, kern);
SAME_PLACE(CUDA_KERNEL_NODE_PARAMS, ctx);
_Static_assert(sizeof(own_CUDA_KERNEL_NODE_PARAMS) == sizeof(CUDA_KERNEL_NODE_PARAMS_v3), "both versions are alike");
SAME_SIZE(CUgraphNodeParams);
SAME_PLACE(CUgraphNodeParams, type);
SAME_PLACE(CUgraphNodeParams, kernel);
SAME_PLACE(CUgraphNodeParams, kernel.kernelParams);
SAME_PLACE(CUgraphNodeParams, reserved2);
SAME_SIZE(CUgraphEdgeData);
SAME_PLACE(CUgraphEdgeData, from_port);
SAME_PLACE(CUgraphEdgeData, to_port);
SAME_PLACE(CUgraphEdgeData, type);

/* ---- functions: their types, with what the arguments' names mean in the toolkit */

#define X(field, name, arguments) extern CUresult(*const type_of_##field) arguments;
CUDA_FUNCTIONS(X)
CUDA_OPTIONAL_FUNCTIONS(X)
#undef X
#define X(field, name, arguments)                                                                                    \
    _Static_assert(__builtin_types_compatible_p(__typeof__(*type_of_##field), __typeof__(name)), #name);
CUDA_FUNCTIONS(X)
CUDA_OPTIONAL_FUNCTIONS(X)
#undef X
#define X(field, name, arguments) extern nvrtcResult(*const type_of_nvrtc##field) arguments;
NVRTC_FUNCTIONS(X)
#undef X
#define X(field, name, arguments)                                                                                    \
    _Static_assert(__builtin_types_compatible_p(__typeof__(*type_of_nvrtc##field), __typeof__(name)), #name);
NVRTC_FUNCTIONS(X)
#undef X
