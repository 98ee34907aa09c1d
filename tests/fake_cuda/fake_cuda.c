/* A CUDA driver and its compiler for tests, over OpenCL (PoCL): libcuda.so.1 and libnvrtc.so.13 in one. "Compiling"
 * keeps the text of a program and its definitions, loading it builds that text as OpenCL C, which is the kernels'
 * other language. So all of the host's side of CUDA runs with real numbers: contexts, memory and its addresses,
 * arguments of launches. What it cannot show is the device's own compiler and speed.
 *
 * It is strict where a driver would be: calls without a current context, addresses outside of what was allocated, and
 * launches larger than the device's limits fail. fake_cuda_fail(n) makes the n-th call from then on fail, and all
 * that follow, as a lost device does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/api.h"
#include "backend/opencl/api.h"

#define EXPORT __attribute__((visibility("default")))
enum {
    INVALID = 1,
    NOT_READY = 4,
    NO_CONTEXT = 201,
    NOT_FOUND = 500,
    LOST = 719,
    MAX_ALLOCATIONS = 4096,
    MAX_ARGUMENTS = 32
};

typedef struct allocation {
    uint64_t at, n_bytes; /* at 0: free */
    cl_mem memory;
} allocation;

/* Programs are kept, since building one takes long and tests load the same ones again and again. */
struct CUmod_st {
    CUmodule next;
    char *image;
    cl_program program;
    CUfunction functions;
};
struct CUfunc_st {
    CUfunction next;
    cl_kernel kernel;
    cl_uint n_arguments;
    size_t sizes[MAX_ARGUMENTS];
    bool buffers[MAX_ARGUMENTS];
};
struct _nvrtcProgram {
    char *text;
    size_t n;
};

/* The state of a driver is global by nature. */
static struct {
    opencl_api cl;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    cl_int (*GetKernelInfo)(cl_kernel, cl_uint, size_t, void *, size_t *);
    cl_int (*GetKernelArgInfo)(cl_kernel, cl_uint, cl_uint, size_t, void *, size_t *);
    allocation allocations[MAX_ALLOCATIONS];
    uint64_t next;
    CUmodule modules;
    int depth;          /* of the stack of contexts */
    long until_failure; /* -1: never */
    bool lost;
} fake = {.next = 0x700000000, .until_failure = -1};

EXPORT void fake_cuda_fail(long n);
void fake_cuda_fail(long n) {
    fake.until_failure = n;
    fake.lost = false;
}

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

static CUresult start(void) {
    cl_platform_id platform;
    cl_uint n;
    cl_int code;
    facet_error error;
    if (opencl_api_open(&fake.cl, &error) != FACET_OK) return 100;
    if (fake.cl.GetPlatformIDs(1, &platform, &n) ||
        fake.cl.GetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &fake.device, &n))
        return 100;
    fake.context = fake.cl.CreateContext(NULL, 1, &fake.device, NULL, NULL, &code);
    fake.queue = fake.cl.CreateCommandQueue(fake.context, fake.device, 0, &code);
    fake.GetKernelInfo =
        (cl_int(*)(cl_kernel, cl_uint, size_t, void *, size_t *))os_library_find(fake.cl.library, "clGetKernelInfo");
    fake.GetKernelArgInfo = (cl_int(*)(cl_kernel, cl_uint, cl_uint, size_t, void *, size_t *))os_library_find(
        fake.cl.library, "clGetKernelArgInfo");
    return code || !fake.GetKernelInfo || !fake.GetKernelArgInfo ? 100 : 0;
}

CU(cuInit, (unsigned flags)) { return flags ? INVALID : fails() ? LOST : fake.context ? 0 : start(); }
CU(cuDriverGetVersion, (int *version)) { return *version = 12040, 0; }
CU(cuDeviceGetCount, (int *n)) { return *n = 1, 0; }
CU(cuDeviceGet, (CUdevice * d, int i)) { return *d = i, i ? INVALID : 0; }
CU(cuDeviceGetName, (char *name, int n, CUdevice d)) { return snprintf(name, (size_t)n, "Fake %d", d), 0; }
CU(cuDeviceTotalMem_v2, (size_t * n, CUdevice d)) { return *n = (size_t)1 << 30, d ? INVALID : 0; }
CU(cuDeviceGetAttribute, (int *value, int what, CUdevice d)) {
    *value = what == CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK         ? 1024
             : what == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK ? 48 << 10
             : what == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR    ? 9
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
    *s = (CUstream)&fake.queue;
    return flags == CU_STREAM_NON_BLOCKING ? 0 : INVALID;
}
CU(cuStreamDestroy_v2, (CUstream s)) { return s == (CUstream)&fake.queue ? 0 : INVALID; }
CU(cuStreamSynchronize, (CUstream s)) {
    CHECK_CALL();
    return s == (CUstream)&fake.queue && !fake.cl.Finish(fake.queue) ? 0 : INVALID;
}

static allocation *find(CUdeviceptr at, size_t n) {
    for (size_t i = 0; i < MAX_ALLOCATIONS; i++) {
        allocation *a = &fake.allocations[i];
        if (a->at && at >= a->at && at - a->at <= a->n_bytes && n <= a->n_bytes - (at - a->at)) return a;
    }
    return NULL;
}

CU(cuMemAlloc_v2, (CUdeviceptr * out, size_t n)) {
    CHECK_CALL();
    cl_int code;
    for (size_t i = 0; i < MAX_ALLOCATIONS; i++) {
        allocation *a = &fake.allocations[i];
        if (a->at) continue;
        cl_mem memory = fake.cl.CreateBuffer(fake.context, CL_MEM_READ_WRITE, n, NULL, &code);
        if (code) return CUDA_ERROR_OUT_OF_MEMORY;
        *a = (allocation){.at = fake.next, .n_bytes = n, .memory = memory};
        fake.next += (n + 0xfff) & ~(size_t)0xfff;
        return *out = a->at, 0;
    }
    return CUDA_ERROR_OUT_OF_MEMORY;
}
CU(cuMemFree_v2, (CUdeviceptr at)) {
    allocation *a = find(at, 0);
    if (!a || a->at != at) return INVALID;
    fake.cl.ReleaseMemObject(a->memory);
    return *a = (allocation){0}, 0;
}
CU(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t n, CUstream s)) {
    CHECK_CALL();
    allocation *a = find(to, n);
    if (!a || !s) return INVALID;
    return fake.cl.EnqueueWriteBuffer(fake.queue, a->memory, CL_TRUE, to - a->at, n, from, 0, NULL, NULL) ? INVALID
                                                                                                          : 0;
}
CU(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t n, CUstream s)) {
    CHECK_CALL();
    allocation *a = find(from, n);
    if (!a || !s) return INVALID;
    return fake.cl.EnqueueReadBuffer(fake.queue, a->memory, CL_TRUE, from - a->at, n, to, 0, NULL, NULL) ? INVALID
                                                                                                         : 0;
}
CU(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s)) {
    CHECK_CALL();
    allocation *a = find(to, n), *b = find(from, n);
    if (!a || !b || !s) return INVALID;
    return fake.cl.EnqueueCopyBuffer(fake.queue, b->memory, a->memory, from - b->at, to - a->at, n, 0, NULL, NULL)
               ? INVALID
               : 0;
}

/* ---- modules: the definitions on a line, then the text */

static cl_program build(const char *image) {
    char options[1024];
    const char *text = strchr(image, '\n');
    cl_int code;
    if (!text || text - image > 800) return NULL;
    snprintf(options, sizeof options, "-cl-std=CL1.2 -cl-kernel-arg-info -cl-fp32-correctly-rounded-divide-sqrt %.*s",
             (int)(text - image), image);
    cl_program p = fake.cl.CreateProgramWithSource(fake.context, 1, &text, NULL, &code);
    return !code && !fake.cl.BuildProgram(p, 1, &fake.device, options, NULL, NULL) ? p : NULL;
}

CU(cuModuleLoadData, (CUmodule * out, const void *image)) {
    CHECK_CALL();
    for (CUmodule m = fake.modules; m; m = m->next) {
        if (strcmp(m->image, image) == 0) return *out = m, 0;
    }
    CUmodule m = calloc(1, sizeof *m);
    if (!m) return CUDA_ERROR_OUT_OF_MEMORY;
    *m = (struct CUmod_st){.next = fake.modules, .image = strdup(image), .program = build(image)};
    fake.modules = m;
    return *out = m, m->program ? 0 : INVALID;
}
CU(cuModuleUnload, (CUmodule m)) { return m->program ? 0 : INVALID; }

CU(cuModuleGetFunction, (CUfunction * out, CUmodule m, const char *name)) {
    CHECK_CALL();
    cl_int code;
    CUfunction f = calloc(1, sizeof *f);
    if (!f) return CUDA_ERROR_OUT_OF_MEMORY;
    f->next = m->functions;
    m->functions = f;
    f->kernel = fake.cl.CreateKernel(m->program, name, &code);
    if (code) return NOT_FOUND;
    fake.GetKernelInfo(f->kernel, 0x1191, sizeof f->n_arguments, &f->n_arguments, NULL);
    for (cl_uint i = 0; i < f->n_arguments && i < MAX_ARGUMENTS; i++) {
        cl_uint address = 0;
        char type[64] = "";
        fake.GetKernelArgInfo(f->kernel, i, 0x1196, sizeof address, &address, NULL);
        fake.GetKernelArgInfo(f->kernel, i, 0x1198, sizeof type, type, NULL);
        f->buffers[i] = address == 0x119B; /* global */
        f->sizes[i] = strstr(type, "long") || strstr(type, "wide") ? 8 : 4;
    }
    return *out = f, 0;
}

CU(cuLaunchKernel, (CUfunction f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                    unsigned shared, CUstream s, void **arguments, void **extra)) {
    CHECK_CALL();
    if (!x || !y || y > 65535 || z != 1 || bx > 1024 || by != 1 || bz != 1 || shared || !s || extra) return INVALID;
    for (cl_uint i = 0; i < f->n_arguments; i++) {
        if (f->buffers[i]) {
            CUdeviceptr at;
            memcpy(&at, arguments[i], sizeof at);
            allocation *a = at ? find(at, 1) : NULL;
            if ((at && !a) || (a && a->at != at)) return INVALID;
            cl_mem memory = a ? a->memory : NULL;
            if (fake.cl.SetKernelArg(f->kernel, i, sizeof memory, &memory)) return INVALID;
        } else if (fake.cl.SetKernelArg(f->kernel, i, f->sizes[i], arguments[i])) {
            return INVALID;
        }
    }
    size_t global[2] = {(size_t)x * bx, y}, local[2] = {bx, 1};
    return fake.cl.EnqueueNDRangeKernel(fake.queue, f->kernel, 2, NULL, global, local, 0, NULL, NULL) ? INVALID : 0;
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
    free(*p);
    return *p = NULL, 0;
}
CU(nvrtcCompileProgram, (nvrtcProgram p, int n, const char *const *options)) {
    char defines[800] = "";
    bool contracts = true;
    for (int i = 0; i < n; i++) {
        if (strcmp(options[i], "-fmad=false") == 0) contracts = false;
        if (strncmp(options[i], "-D", 2) != 0) continue;
        strcat(defines, options[i]);
        strcat(defines, " ");
    }
    size_t size = strlen(defines) + strlen(p->text) + 2;
    char *all = malloc(size);
    if (!all || contracts) return INVALID;
    snprintf(all, size, "%s\n%s", defines, p->text);
    free(p->text);
    p->text = all;
    p->n = size;
    return 0;
}
CU(nvrtcGetCUBINSize, (nvrtcProgram p, size_t *n)) { return *n = p->n, 0; }
CU(nvrtcGetCUBIN, (nvrtcProgram p, char *out)) { return memcpy(out, p->text, p->n), 0; }
CU(nvrtcGetProgramLogSize, (nvrtcProgram p, size_t *n)) { return *n = p ? 8 : 0, 0; }
CU(nvrtcGetProgramLog, (nvrtcProgram p, char *out)) { return memcpy(out, "no log\n", p ? 8 : 0), 0; }
