/* Programs of a CUDA device: from the cache, else compiled. See parts.h. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/compile.h"
#include "backend/cuda/parts.h"
#include "backend/gpu/cache.h"

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
    CUresult code = cuda_enter(c);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.ModuleLoadData(out, cubin);
    cuda_leave(c);
    return code == CUDA_SUCCESS ? FACET_OK : cuda_failed(c, code, "cuModuleLoadData", err);
}

facet_status cuda_program_new(gpu_device *d, gpu_program **out, const gpu_source *source, const char *cache,
                              facet_error *err) {
    cuda_device *c = cuda_own(d);
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

void cuda_program_free(gpu_device *d, gpu_program *p) {
    cuda_device *c = cuda_own(d);
    if (p && cuda_enter(c) == CUDA_SUCCESS) {
        c->cu.ModuleUnload(p->module);
        cuda_leave(c);
    }
    free(p);
}

facet_status cuda_kernel_new(gpu_device *d, gpu_kernel **out, gpu_program *p, const char *name, facet_error *err) {
    cuda_device *c = cuda_own(d);
    *out = NULL;
    gpu_kernel *k = calloc(1, sizeof *k);
    if (!k) return error_memory(err, sizeof *k);
    CUresult code = cuda_enter(c);
    if (code == CUDA_SUCCESS) {
        code = c->cu.ModuleGetFunction(&k->function, p->module, name);
        cuda_leave(c);
    }
    if (code != CUDA_SUCCESS) {
        free(k);
        return cuda_failed(c, code, name, err);
    }
    *out = k;
    return FACET_OK;
}

void cuda_kernel_free(gpu_device *d, gpu_kernel *k) {
    (void)d;
    free(k);
}
