/* Programs of a CUDA device: from the cache, from what was compiled when facet was built, else compiled now. See
 * parts.h. */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/compile.h"
#include "backend/cuda/parts.h"
#include "backend/gpu/cache.h"

/* ---- images: machine code of one capability (cubin), or text that the driver compiles (PTX) */

static bool find_kept(const gpu_source *source, cuda_target target, const char *cache, buffer *out) {
    gpu_cache_key key = cuda_cache_key(source, target);
    return gpu_cache_read(cache, &key, out) || gpu_cache_read_installed(&key, out);
}

/* Of what was compiled when facet was built: code of an older device of the same family, else the newest text. */
static bool find_compatible(const cuda_device *c, const gpu_source *source, buffer *out) {
    for (int older = c->capability - 1; older >= c->capability / 10 * 10; older--) {
        if (find_kept(source, (cuda_target){older, false}, NULL, out)) return true;
    }
    for (int older = c->capability; older >= CUDA_OLDEST_CAPABILITY; older--) {
        if (find_kept(source, (cuda_target){older, true}, NULL, out)) return true;
    }
    return false;
}

static facet_status find_image(const cuda_device *c, const gpu_source *source, const char *cache, buffer *out,
                               facet_error *err) {
    cuda_target own = {c->capability, false};
    if (find_kept(source, own, cache, out) || find_compatible(c, source, out)) return FACET_OK;
    FACET_TRY(cuda_compile_apart(source, c->capability, out, err));
    gpu_cache_key key = cuda_cache_key(source, own);
    gpu_cache_write(cache, &key, out->data, out->n);
    return FACET_OK;
}

/* Text for devices that cannot overlap launches has kernels that do not wait. */
static bool may_overlap(const buffer *image) {
    static const char target[] = ".target sm_";
    const char *at = memmem(image->data, image->n < 4096 ? image->n : 4096, target, sizeof target - 1);
    return !at || atoi(at + sizeof target - 1) >= CUDA_OVERLAP_CAPABILITY;
}

static facet_status load_module(cuda_device *c, CUmodule *out, const void *image, facet_error *err) {
    CUresult code = cuda_enter(c);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.ModuleLoadData(out, image);
    cuda_leave(c);
    return code == CUDA_SUCCESS ? FACET_OK : cuda_failed(c, code, "cuModuleLoadData", err);
}

facet_status cuda_program_new(gpu_device *d, gpu_program **out, const gpu_source *source, const char *cache,
                              facet_error *err) {
    cuda_device *c = cuda_own(d);
    buffer image;
    *out = NULL;
    gpu_program *p = calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p);
    facet_status status = find_image(c, source, cache, &image, err);
    if (status == FACET_OK) {
        status = load_module(c, &p->module, image.data, err);
        if (!may_overlap(&image)) c->overlaps = false;
        buffer_free(&image);
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
