/* CUDA devices, by the driver's interface. Owns: the context, the stream, how failures of the driver become a status.
 * Knows nothing of what is computed. Programs are compiled once for a device's compute capability and kept in the
 * cache, if there is one: then the compiler need not be there any more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/parts.h"

facet_status cuda_failed(const cuda_device *c, CUresult code, const char *what, facet_error *err) {
    const char *name = NULL;
    if (c->cu.GetErrorName(code, &name) != CUDA_SUCCESS || !name) name = "an unknown error";
    facet_status status = code == CUDA_ERROR_OUT_OF_MEMORY ? FACET_ERROR_MEMORY : FACET_ERROR_STATE;
    return error_set(err, status, "%s: %s gave %s", c->base.limits.name, what, name);
}

CUresult cuda_enter(cuda_device *c) { return c->cu.CtxPushCurrent(c->context); }
void cuda_leave(cuda_device *c) {
    CUcontext old;
    c->cu.CtxPopCurrent(&old);
}

/* ---- opening */

static facet_status find_device(cuda_device *c, size_t index, facet_error *err) {
    int n = 0;
    snprintf(c->base.limits.name, sizeof c->base.limits.name, "CUDA");
    CUresult code = c->cu.Init(0);
    if (code == CUDA_SUCCESS) code = c->cu.DeviceGetCount(&n);
    if (code != CUDA_SUCCESS) {
        cuda_failed(c, code, "cuInit", err);
        return error_set(err, FACET_ERROR_UNSUPPORTED, "there is a CUDA driver, but it does not start");
    }
    if (index >= (size_t)n) return error_set(err, FACET_ERROR_UNSUPPORTED, "there are %d CUDA devices, from 0 on", n);
    code = c->cu.DeviceGet(&c->id, (int)index);
    return code == CUDA_SUCCESS ? FACET_OK : cuda_failed(c, code, "cuDeviceGet", err);
}

static int attribute(const cuda_device *c, int what) {
    int value = 0;
    c->cu.DeviceGetAttribute(&value, what, c->id);
    return value;
}

static facet_status probe(cuda_device *c, facet_error *err) {
    gpu_limits *l = &c->base.limits;
    size_t memory = 0;
    int version = 0;
    c->cu.DeviceGetName(l->name, (int)sizeof l->name, c->id);
    l->name[sizeof l->name - 1] = '\0';
    c->cu.DriverGetVersion(&version);
    c->cu.DeviceTotalMem(&memory, c->id);
    c->capability = attribute(c, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10 +
                    attribute(c, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    c->overlaps = c->capability >= CUDA_OVERLAP_CAPABILITY && c->cu.LaunchKernelEx;
    l->kind = "cuda";
    l->warps = true;
    l->memory_bytes = l->buffer_bytes = memory;
    l->group = (size_t)attribute(c, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    l->local_bytes = (size_t)attribute(c, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
    int processors = attribute(c, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    l->processors = processors > 0 ? (size_t)processors : 1;
    snprintf(l->version, sizeof l->version, "CUDA %d.%d, compute capability %d.%d", version / 1000,
             version % 1000 / 10, c->capability / 10, c->capability % 10);
    if (c->capability >= CUDA_OLDEST_CAPABILITY) return FACET_OK;
    return error_set(err, FACET_ERROR_UNSUPPORTED, "%s has compute capability %d.%d, 7.5 is needed", l->name,
                     c->capability / 10, c->capability % 10);
}

static facet_status open_stream(cuda_device *c, facet_error *err) {
    CUresult code = c->cu.PrimaryCtxRetain(&c->context, c->id);
    if (code != CUDA_SUCCESS) {
        c->context = NULL;
        return cuda_failed(c, code, "cuDevicePrimaryCtxRetain", err);
    }
    code = cuda_enter(c);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.StreamCreate(&c->stream, CU_STREAM_NON_BLOCKING);
    cuda_leave(c);
    if (code != CUDA_SUCCESS) c->stream = NULL;
    return code == CUDA_SUCCESS ? FACET_OK : cuda_failed(c, code, "cuStreamCreate", err);
}

static void device_close(gpu_device *d) {
    cuda_device *c = cuda_own(d);
    bool entered = c->stream && cuda_enter(c) == CUDA_SUCCESS;
    if (entered) c->cu.StreamSynchronize(c->stream);
    cuda_graphs_close(c);
    cuda_stages_close(c);
    cuda_launches_close(c);
    if (entered) {
        c->cu.StreamDestroy(c->stream);
        cuda_leave(c);
    }
    if (c->context) c->cu.PrimaryCtxRelease(c->id);
    /* The driver's library stays: it has threads of its own. */
    free(c);
}

/* ---- memory */

static facet_status buffer_new(gpu_device *d, gpu_buffer *out, uint64_t n_bytes, facet_error *err) {
    cuda_device *c = cuda_own(d);
    CUdeviceptr memory = 0;
    *out = (gpu_buffer){0};
    CUresult code = cuda_enter(c);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.MemAlloc(&memory, (size_t)n_bytes);
    cuda_leave(c);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuMemAlloc", err);
    *out = (gpu_buffer){.handle = (void *)(uintptr_t)memory, .n_bytes = n_bytes};
    return FACET_OK;
}

static void buffer_release(gpu_device *d, gpu_buffer *b) {
    cuda_device *c = cuda_own(d);
    if (b->handle && cuda_enter(c) == CUDA_SUCCESS) {
        c->cu.MemFree(cuda_address(b, 0));
        cuda_leave(c);
    }
    *b = (gpu_buffer){0};
}

static const gpu_driver driver = {
    .close = device_close,
    .buffer_new = buffer_new,
    .buffer_free = buffer_release,
    .write = cuda_write,
    .stage = cuda_stage_take,
    .send = cuda_stage_send,
    .read = cuda_read,
    .copy = cuda_copy,
    .program_new = cuda_program_new,
    .program_free = cuda_program_free,
    .kernel_new = cuda_kernel_new,
    .kernel_free = cuda_kernel_free,
    .launch = cuda_launch_one,
    .begin = cuda_begin,
    .end = cuda_end,
};

facet_status cuda_device_open(gpu_device **out, size_t index, facet_error *err) {
    *out = NULL;
    cuda_device *c = calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c);
    c->base.driver = &driver;
    facet_status status = cuda_api_open(&c->cu, err);
    if (status == FACET_OK) status = find_device(c, index, err);
    if (status == FACET_OK) status = probe(c, err);
    if (status == FACET_OK) status = cuda_launches_open(c, err);
    if (status == FACET_OK) status = open_stream(c, err);
    if (status != FACET_OK)
        device_close(&c->base);
    else
        *out = &c->base;
    return status;
}
