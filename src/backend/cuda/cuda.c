/* CUDA devices, by the driver's interface. Owns: the context, the stream, how failures of the driver become a status.
 * Knows nothing of what is computed. Programs are compiled once for a device's compute capability and kept in the
 * cache, if there is one: then the compiler need not be there any more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/api.h"
#include "backend/cuda/compile.h"
#include "backend/gpu/cache.h"
#include "backend/gpu/device.h"

enum { MAX_LAUNCH_ARGUMENTS = 32, OLDEST_CAPABILITY = 75 };

typedef struct cuda_device {
    gpu_device base;
    cuda_api cu;
    nvrtc_api nvrtc; /* opened when the first program must be compiled */
    CUdevice id;
    int capability;
    CUcontext context; /* the device's primary one */
    CUstream stream;
} cuda_device;

struct gpu_program {
    CUmodule module;
};
struct gpu_kernel {
    CUfunction function;
};

static cuda_device *own(gpu_device *d) { return (cuda_device *)d; }

static facet_status failed(const cuda_device *c, CUresult code, const char *what, facet_error *err) {
    const char *name = NULL;
    if (c->cu.GetErrorName(code, &name) != CUDA_SUCCESS || !name) name = "an unknown error";
    facet_status status = code == CUDA_ERROR_OUT_OF_MEMORY ? FACET_ERROR_MEMORY : FACET_ERROR_STATE;
    return error_set(err, status, "%s: %s gave %s", c->base.limits.name, what, name);
}

/* The context is the calling thread's for the time of one call only: threads change, and have contexts of their own.
 */
static CUresult enter(cuda_device *c) { return c->cu.CtxPushCurrent(c->context); }
static void leave(cuda_device *c) {
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
        failed(c, code, "cuInit", err);
        return error_set(err, FACET_ERROR_UNSUPPORTED, "there is a CUDA driver, but it does not start");
    }
    if (index >= (size_t)n) return error_set(err, FACET_ERROR_UNSUPPORTED, "there are %d CUDA devices, from 0 on", n);
    code = c->cu.DeviceGet(&c->id, (int)index);
    return code == CUDA_SUCCESS ? FACET_OK : failed(c, code, "cuDeviceGet", err);
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
    l->kind = "cuda";
    l->memory_bytes = l->buffer_bytes = memory;
    l->group = (size_t)attribute(c, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    l->local_bytes = (size_t)attribute(c, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
    snprintf(l->version, sizeof l->version, "CUDA %d.%d, compute capability %d.%d", version / 1000,
             version % 1000 / 10, c->capability / 10, c->capability % 10);
    if (c->capability >= OLDEST_CAPABILITY) return FACET_OK;
    return error_set(err, FACET_ERROR_UNSUPPORTED, "%s has compute capability %d.%d, 7.5 is needed", l->name,
                     c->capability / 10, c->capability % 10);
}

static facet_status open_stream(cuda_device *c, facet_error *err) {
    CUresult code = c->cu.PrimaryCtxRetain(&c->context, c->id);
    if (code != CUDA_SUCCESS) {
        c->context = NULL;
        return failed(c, code, "cuDevicePrimaryCtxRetain", err);
    }
    code = enter(c);
    if (code != CUDA_SUCCESS) return failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.StreamCreate(&c->stream, CU_STREAM_NON_BLOCKING);
    leave(c);
    if (code != CUDA_SUCCESS) c->stream = NULL;
    return code == CUDA_SUCCESS ? FACET_OK : failed(c, code, "cuStreamCreate", err);
}

static void device_close(gpu_device *d) {
    cuda_device *c = own(d);
    if (c->stream && enter(c) == CUDA_SUCCESS) {
        c->cu.StreamDestroy(c->stream);
        leave(c);
    }
    if (c->context) c->cu.PrimaryCtxRelease(c->id);
    nvrtc_api_close(&c->nvrtc);
    /* The driver's library stays: it has threads of its own. */
    free(c);
}

/* ---- memory */

static CUdeviceptr address(const gpu_buffer *b, uint64_t at) { return (CUdeviceptr)(uintptr_t)b->handle + at; }

static facet_status buffer_new(gpu_device *d, gpu_buffer *out, uint64_t n_bytes, facet_error *err) {
    cuda_device *c = own(d);
    CUdeviceptr memory = 0;
    *out = (gpu_buffer){0};
    CUresult code = enter(c);
    if (code != CUDA_SUCCESS) return failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.MemAlloc(&memory, (size_t)n_bytes);
    leave(c);
    if (code != CUDA_SUCCESS) return failed(c, code, "cuMemAlloc", err);
    *out = (gpu_buffer){.handle = (void *)(uintptr_t)memory, .n_bytes = n_bytes};
    return FACET_OK;
}

static void buffer_release(gpu_device *d, gpu_buffer *b) {
    cuda_device *c = own(d);
    if (b->handle && enter(c) == CUDA_SUCCESS) {
        c->cu.MemFree(address(b, 0));
        leave(c);
    }
    *b = (gpu_buffer){0};
}

/* Memory of malloc is copied to the driver's own before the call returns. */
static facet_status buffer_write(gpu_device *d, const gpu_buffer *to, uint64_t at, const void *data, size_t n_bytes,
                                 facet_error *err) {
    cuda_device *c = own(d);
    CUresult code = enter(c);
    if (code != CUDA_SUCCESS) return failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.MemcpyHtoDAsync(address(to, at), data, n_bytes, c->stream);
    leave(c);
    return code == CUDA_SUCCESS ? FACET_OK : failed(c, code, "cuMemcpyHtoDAsync", err);
}

static facet_status buffer_read(gpu_device *d, const gpu_buffer *from, uint64_t at, void *data, size_t n_bytes,
                                facet_error *err) {
    cuda_device *c = own(d);
    CUresult code = enter(c);
    if (code != CUDA_SUCCESS) return failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.MemcpyDtoHAsync(data, address(from, at), n_bytes, c->stream);
    CUresult end = c->cu.StreamSynchronize(c->stream); /* whatever happened, nothing writes to `data` afterwards */
    leave(c);
    if (code == CUDA_SUCCESS) code = end;
    return code == CUDA_SUCCESS ? FACET_OK : failed(c, code, "reading from the device", err);
}

static facet_status copy(gpu_device *d, const gpu_buffer *to, uint64_t to_at, const gpu_buffer *from,
                         uint64_t from_at, uint64_t n_bytes, facet_error *err) {
    cuda_device *c = own(d);
    CUresult code = enter(c);
    if (code != CUDA_SUCCESS) return failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.MemcpyDtoDAsync(address(to, to_at), address(from, from_at), (size_t)n_bytes, c->stream);
    leave(c);
    return code == CUDA_SUCCESS ? FACET_OK : failed(c, code, "cuMemcpyDtoDAsync", err);
}

/* ---- programs */

/* A cubin does not depend on the driver. */
static gpu_cache_key key_of(const cuda_device *c, const gpu_source *source) {
    gpu_limits part = {.kind = "cuda"};
    snprintf(part.name, sizeof part.name, "sm_%d", c->capability);
    return gpu_cache_key_of(&part, source, CUDA_COMPILE_OPTIONS);
}

static facet_status find_cubin(cuda_device *c, const gpu_source *source, const char *cache, buffer *out,
                               facet_error *err) {
    gpu_cache_key key = key_of(c, source);
    if (gpu_cache_read(cache, &key, out)) return FACET_OK;
    if (!c->nvrtc.library) FACET_TRY(nvrtc_api_open(&c->nvrtc, err));
    FACET_TRY(cuda_compile(&c->nvrtc, source, c->capability, out, err));
    gpu_cache_write(cache, &key, out->data, out->n);
    return FACET_OK;
}

static facet_status load_module(cuda_device *c, CUmodule *out, const void *cubin, facet_error *err) {
    CUresult code = enter(c);
    if (code != CUDA_SUCCESS) return failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.ModuleLoadData(out, cubin);
    leave(c);
    return code == CUDA_SUCCESS ? FACET_OK : failed(c, code, "cuModuleLoadData", err);
}

static facet_status program_new(gpu_device *d, gpu_program **out, const gpu_source *source, const char *cache,
                                facet_error *err) {
    cuda_device *c = own(d);
    buffer cubin;
    *out = NULL;
    gpu_program *p = calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p);
    facet_status status = find_cubin(c, source, cache, &cubin, err);
    if (status == FACET_OK) {
        status = load_module(c, &p->module, cubin.data, err);
        buffer_free(&cubin);
    }
    if (status != FACET_OK)
        free(p);
    else
        *out = p;
    return status;
}

static void program_free(gpu_device *d, gpu_program *p) {
    cuda_device *c = own(d);
    if (p && enter(c) == CUDA_SUCCESS) {
        c->cu.ModuleUnload(p->module);
        leave(c);
    }
    free(p);
}

static facet_status kernel_new(gpu_device *d, gpu_kernel **out, gpu_program *p, const char *name, facet_error *err) {
    cuda_device *c = own(d);
    *out = NULL;
    gpu_kernel *k = calloc(1, sizeof *k);
    if (!k) return error_memory(err, sizeof *k);
    CUresult code = enter(c);
    if (code == CUDA_SUCCESS) {
        code = c->cu.ModuleGetFunction(&k->function, p->module, name);
        leave(c);
    }
    if (code != CUDA_SUCCESS) {
        free(k);
        return failed(c, code, name, err);
    }
    *out = k;
    return FACET_OK;
}

static void kernel_free(gpu_device *d, gpu_kernel *k) {
    (void)d;
    free(k);
}

static facet_status launch(gpu_device *d, gpu_kernel *k, size_t groups_x, size_t groups_y, size_t group,
                           const gpu_argument *arguments, size_t n_arguments, facet_error *err) {
    cuda_device *c = own(d);
    uint64_t values[MAX_LAUNCH_ARGUMENTS];
    void *pointers[MAX_LAUNCH_ARGUMENTS];
    if (n_arguments > MAX_LAUNCH_ARGUMENTS || groups_x > INT32_MAX || groups_y > UINT16_MAX) {
        return error_set(err, FACET_ERROR_INTERNAL, "a launch of %zu x %zu groups with %zu arguments is too large",
                         groups_x, groups_y, n_arguments);
    }
    for (size_t i = 0; i < n_arguments; i++) {
        const gpu_argument *a = &arguments[i];
        pointers[i] = &values[i];
        switch (a->type) {
        case GPU_BUFFER: values[i] = address(a->buffer, 0); break;
        case GPU_INT: memcpy(&values[i], &a->i, sizeof a->i); break;
        case GPU_FLOAT: memcpy(&values[i], &a->f, sizeof a->f); break;
        case GPU_WIDE: values[i] = a->wide; break;
        }
    }
    CUresult code = enter(c);
    if (code != CUDA_SUCCESS) return failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.LaunchKernel(k->function, (unsigned)groups_x, (unsigned)groups_y, 1, (unsigned)group, 1, 1, 0,
                              c->stream, pointers, NULL);
    leave(c);
    return code == CUDA_SUCCESS ? FACET_OK : failed(c, code, "cuLaunchKernel", err);
}

static const gpu_driver driver = {
    .close = device_close,
    .buffer_new = buffer_new,
    .buffer_free = buffer_release,
    .write = buffer_write,
    .read = buffer_read,
    .copy = copy,
    .program_new = program_new,
    .program_free = program_free,
    .kernel_new = kernel_new,
    .kernel_free = kernel_free,
    .launch = launch,
};

facet_status cuda_device_open(gpu_device **out, size_t index, facet_error *err) {
    *out = NULL;
    cuda_device *c = calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c);
    c->base.driver = &driver;
    facet_status status = cuda_api_open(&c->cu, err);
    if (status == FACET_OK) status = find_device(c, index, err);
    if (status == FACET_OK) status = probe(c, err);
    if (status == FACET_OK) status = open_stream(c, err);
    if (status != FACET_OK)
        device_close(&c->base);
    else
        *out = &c->base;
    return status;
}
