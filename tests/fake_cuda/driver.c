/* A CUDA driver and its compiler for tests, over the emulator: libcuda.so.1 and libnvrtc.so.13 in one. So all of the
 * host's side of CUDA runs with real numbers, and so does the text of the kernels (emulator.h).
 *
 * It is strict where a driver would be: calls without a current context, addresses outside of what was allocated, and
 * launches larger than the device's limits fail. fake_cuda_fail(n) makes the n-th call from then on fail, and all
 * that follow, as a lost device does; fake_cuda_capability and fake_cuda_order choose the device and how it runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/api.h"
#include "emulator.h"

#define EXPORT __attribute__((visibility("default")))
enum {
    INVALID = 1,
    NO_CONTEXT = 201,
    NOT_FOUND = 500,
    LOST = 719,
    MAX_ALLOCATIONS = 4096,
    MAX_SHARED = 48 << 10,
    MEMORY = 1 << 30
};

typedef struct allocation {
    char *at; /* NULL: free */
    size_t n_bytes;
} allocation;

struct CUfunc_st {
    CUfunction next;
    emulated_module *module;
    emulated_kernel_fn kernel;
};
struct _nvrtcProgram {
    char *text;
    buffer image; /* or the compiler's messages */
};

/* The state of a driver is global by nature. */
static struct {
    emulator *emulator;
    allocation allocations[MAX_ALLOCATIONS];
    size_t used;
    CUfunction functions;
    int capability;
    int depth;          /* of the stack of contexts */
    long until_failure; /* -1: never */
    bool lost;
    const char *problem; /* of the last launch that failed */
} fake = {.capability = 90, .until_failure = -1};

EXPORT void fake_cuda_fail(long n);
void fake_cuda_fail(long n) {
    fake.until_failure = n;
    fake.lost = false;
}
EXPORT void fake_cuda_capability(int capability);
void fake_cuda_capability(int capability) { fake.capability = capability; }
EXPORT void fake_cuda_order(unsigned seed);
void fake_cuda_order(unsigned seed) { emulator_order(fake.emulator, seed); }

static bool fails(void) {
    if (fake.until_failure >= 0 && fake.until_failure-- == 0) fake.lost = true;
    return fake.lost;
}

#define CHECK_CALL()                                                                                                 \
    do {                                                                                                             \
        if (fails()) return LOST;                                                                                    \
        if (fake.depth == 0) return NO_CONTEXT;                                                                      \
    } while (0)

/* ---- the driver */

#define CU(name, arguments)                                                                                          \
    EXPORT CUresult name arguments;                                                                                  \
    CUresult name arguments

CU(cuInit, (unsigned flags)) {
    if (flags) return INVALID;
    if (fails()) return LOST;
    if (!fake.emulator) fake.emulator = emulator_new();
    return fake.emulator ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
}
CU(cuDriverGetVersion, (int *version)) { return *version = 12040, 0; }
CU(cuDeviceGetCount, (int *n)) { return *n = 1, 0; }
CU(cuDeviceGet, (CUdevice * d, int i)) { return *d = i, i ? INVALID : 0; }
CU(cuDeviceGetName, (char *name, int n, CUdevice d)) { return snprintf(name, (size_t)n, "Fake %d", d), 0; }
CU(cuDeviceTotalMem_v2, (size_t * n, CUdevice d)) { return *n = MEMORY, d ? INVALID : 0; }
CU(cuDeviceGetAttribute, (int *value, int what, CUdevice d)) {
    *value = what == CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK         ? 1024
             : what == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK ? MAX_SHARED
             : what == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR    ? fake.capability / 10
             : what == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR    ? fake.capability % 10
                                                                       : 0;
    return d ? INVALID : 0;
}
CU(cuDevicePrimaryCtxRetain, (CUcontext * c, CUdevice d)) {
    return *c = (CUcontext)&fake, d ? INVALID : fails() ? LOST : 0;
}
CU(cuDevicePrimaryCtxRelease_v2, (CUdevice d)) { return d ? INVALID : 0; }
CU(cuCtxPushCurrent_v2, (CUcontext c)) {
    if (fails()) return LOST;
    fake.depth++;
    return c == (CUcontext)&fake ? 0 : INVALID;
}
CU(cuCtxPopCurrent_v2, (CUcontext * c)) {
    *c = (CUcontext)&fake;
    return fake.depth-- > 0 ? 0 : NO_CONTEXT;
}
CU(cuStreamCreate, (CUstream * s, unsigned flags)) {
    CHECK_CALL();
    *s = (CUstream)&fake;
    return flags == CU_STREAM_NON_BLOCKING ? 0 : INVALID;
}
CU(cuStreamDestroy_v2, (CUstream s)) { return s == (CUstream)&fake ? 0 : INVALID; }
CU(cuStreamSynchronize, (CUstream s)) {
    CHECK_CALL();
    return s == (CUstream)&fake ? 0 : INVALID;
}

/* ---- memory: a device's addresses are the host's */

static char *pointer(CUdeviceptr at) { return (char *)(uintptr_t)at; }

static allocation *find(CUdeviceptr at, size_t n) {
    for (size_t i = 0; i < MAX_ALLOCATIONS; i++) {
        allocation *a = &fake.allocations[i];
        CUdeviceptr first = (CUdeviceptr)(uintptr_t)a->at;
        if (a->at && at >= first && at - first <= a->n_bytes && n <= a->n_bytes - (at - first)) return a;
    }
    return NULL;
}

CU(cuMemAlloc_v2, (CUdeviceptr * out, size_t n)) {
    CHECK_CALL();
    if (n == 0) return INVALID;
    for (size_t i = 0; i < MAX_ALLOCATIONS; i++) {
        allocation *a = &fake.allocations[i];
        if (a->at) continue;
        if (n > MEMORY - fake.used) return CUDA_ERROR_OUT_OF_MEMORY;
        *a = (allocation){.at = aligned_alloc(256, (n + 255) / 256 * 256), .n_bytes = n};
        if (!a->at) return CUDA_ERROR_OUT_OF_MEMORY;
        memset(a->at, 0xa5, n); /* a device's memory begins as it was left */
        fake.used += n;
        return *out = (CUdeviceptr)(uintptr_t)a->at, 0;
    }
    return CUDA_ERROR_OUT_OF_MEMORY;
}
CU(cuMemFree_v2, (CUdeviceptr at)) {
    allocation *a = find(at, 0);
    if (!a || pointer(at) != a->at) return INVALID;
    fake.used -= a->n_bytes;
    free(a->at);
    return *a = (allocation){0}, 0;
}
CU(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t n, CUstream s)) {
    CHECK_CALL();
    if (!find(to, n) || !s) return INVALID;
    return memcpy(pointer(to), from, n), 0;
}
CU(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t n, CUstream s)) {
    CHECK_CALL();
    if (!find(from, n) || !s) return INVALID;
    return memcpy(to, pointer(from), n), 0;
}
CU(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s)) {
    CHECK_CALL();
    if (!find(to, n) || !find(from, n) || !s) return INVALID;
    return memmove(pointer(to), pointer(from), n), 0;
}

/* ---- modules: eight bytes with the image's length, then the image */

CU(cuModuleLoadData, (CUmodule * out, const void *image)) {
    CHECK_CALL();
    uint64_t n;
    memcpy(&n, image, sizeof n);
    emulated_module *m = emulator_load((const char *)image + sizeof n, n);
    return *out = (CUmodule)m, m ? 0 : INVALID;
}
CU(cuModuleUnload, (CUmodule m)) { return m ? 0 : INVALID; }

CU(cuModuleGetFunction, (CUfunction * out, CUmodule m, const char *name)) {
    CHECK_CALL();
    emulated_kernel_fn kernel = emulator_find((emulated_module *)m, name);
    if (!kernel) return NOT_FOUND;
    for (CUfunction f = fake.functions; f; f = f->next) {
        if (f->kernel == kernel) return *out = f, 0;
    }
    CUfunction f = calloc(1, sizeof *f);
    if (!f) return CUDA_ERROR_OUT_OF_MEMORY;
    *f = (struct CUfunc_st){.next = fake.functions, .module = (emulated_module *)m, .kernel = kernel};
    fake.functions = f;
    return *out = f, 0;
}

CU(cuLaunchKernel, (CUfunction f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                    unsigned shared, CUstream s, void **arguments, void **extra)) {
    CHECK_CALL();
    if (!x || !y || !z || y > 65535 || z > 65535 || shared > MAX_SHARED || !s || extra) return INVALID;
    emulated_launch launch = {.module = f->module,
                              .kernel = f->kernel,
                              .grid = {x, y, z},
                              .block = {bx, by, bz},
                              .shared_bytes = shared,
                              .arguments = arguments};
    fake.problem = emulator_run(fake.emulator, &launch);
    if (fake.problem) fprintf(stderr, "fake CUDA: %s\n", fake.problem);
    if (fake.problem) fake.lost = true;
    return fake.problem ? LOST : 0;
}
CU(cuGetErrorName, (CUresult code, const char **name)) {
    *name = code == LOST                       ? "CUDA_ERROR_LAUNCH_FAILED"
            : code == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
                                               : "CUDA_ERROR_INVALID_VALUE";
    return 0;
}

/* ---- the compiler */

CU(nvrtcVersion, (int *major, int *minor)) { return *major = 12, *minor = 4, 0; }
CU(nvrtcCreateProgram, (nvrtcProgram * out, const char *text, const char *name, int n, const char *const *headers,
                        const char *const *names)) {
    (void)name;
    (void)headers;
    (void)names;
    nvrtcProgram p = calloc(1, sizeof *p);
    if (!p || n) return INVALID;
    p->text = strdup(text);
    return *out = p, 0;
}
CU(nvrtcDestroyProgram, (nvrtcProgram * p)) {
    free((*p)->text);
    buffer_free(&(*p)->image);
    free(*p);
    return *p = NULL, 0;
}
CU(nvrtcCompileProgram, (nvrtcProgram p, int n, const char *const *options)) {
    static const char architecture[] = "--gpu-architecture=sm_";
    char defines[800] = "";
    bool contracts = true;
    int capability = 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(options[i], "-fmad=false") == 0) contracts = false;
        if (strncmp(options[i], architecture, sizeof architecture - 1) == 0)
            capability = atoi(options[i] + sizeof architecture - 1);
        if (strncmp(options[i], "-D", 2) != 0) continue;
        strcat(defines, options[i]);
        strcat(defines, " ");
    }
    if (contracts || !capability) return INVALID;
    return emulator_compile(p->text, defines, capability, &p->image) ? 0 : INVALID;
}
CU(nvrtcGetCUBINSize, (nvrtcProgram p, size_t *n)) { return *n = p->image.n + sizeof(uint64_t), 0; }
CU(nvrtcGetCUBIN, (nvrtcProgram p, char *out)) {
    uint64_t n = p->image.n;
    memcpy(out, &n, sizeof n);
    memcpy(out + sizeof n, p->image.data, n);
    return 0;
}
CU(nvrtcGetProgramLogSize, (nvrtcProgram p, size_t *n)) { return *n = p->image.n + 1, 0; }
CU(nvrtcGetProgramLog, (nvrtcProgram p, char *out)) {
    if (p->image.n) memcpy(out, p->image.data, p->image.n);
    return out[p->image.n] = '\0', 0;
}
