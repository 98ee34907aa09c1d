/* A CUDA driver and its compiler for tests, over the emulator: libcuda.so.1 and libnvrtc.so.13 in one. So all of the
 * host's side of CUDA runs with real numbers, and so does the text of the kernels (emulator.h).
 *
 * It is strict where a driver would be: calls without a current context, addresses outside of what was allocated, and
 * launches larger than the device's limits fail. fake_cuda_fail(n) makes the n-th call from then on fail, and all
 * that follow, as a lost device does; fake_cuda_capability and fake_cuda_order choose the device and how it runs. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/api.h"
#include "emulator.h"
#include "fake_cuda.h"

#define EXPORT __attribute__((visibility("default")))
enum {
    INVALID = 1,
    NO_CONTEXT = 201,
    NOT_FOUND = 500,
    LOST = 719,
    MAX_ALLOCATIONS = 4096,
    MAX_ARGUMENTS = 64,
    MAX_SHARED = 48 << 10,
    PROCESSORS = 5,
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
    const size_t *sizes; /* of its arguments */
    char name[64];
    size_t n_runs;
};
struct CUevent_st {
    int recorded;
};
/* A node keeps its arguments, as a driver does. */
struct CUgraphNode_st {
    CUgraphNode next;
    CUDA_KERNEL_NODE_PARAMS launch;
    char values[MAX_ARGUMENTS][8];
};
/* Also an instance of one: its nodes are copies, in the same order. */
struct CUgraph_st {
    CUgraphNode first, *end;
};
struct CUgraphExec_st {
    struct CUgraph_st of;
    CUgraph graph;
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
    bool without_graphs, without_pins;
    fake_cuda_counts counts;
} fake = {.capability = 90, .until_failure = -1};

EXPORT void fake_cuda_fail(long n);
void fake_cuda_fail(long n) {
    for (size_t i = 0; fake.lost && i < MAX_ALLOCATIONS; i++) { /* a device that comes back has lost all memory */
        free(fake.allocations[i].at);
        fake.allocations[i] = (allocation){0};
    }
    if (fake.lost) fake.used = 0;
    fake.until_failure = n;
    fake.lost = false;
}
EXPORT void fake_cuda_capability(int capability);
void fake_cuda_capability(int capability) { fake.capability = capability; }
EXPORT void fake_cuda_refuse(bool graphs, bool pins);
void fake_cuda_refuse(bool graphs, bool pins) {
    fake.without_graphs = graphs;
    fake.without_pins = pins;
}
EXPORT size_t fake_cuda_runs(const char *name);
size_t fake_cuda_runs(const char *name) {
    size_t n = 0;
    for (CUfunction f = fake.functions; f; f = f->next) n += !name || strcmp(f->name, name) == 0 ? f->n_runs : 0;
    return n;
}
EXPORT fake_cuda_counts fake_cuda_count(void);
fake_cuda_counts fake_cuda_count(void) {
    fake_cuda_counts counts = fake.counts;
    fake.counts = (fake_cuda_counts){0};
    return counts;
}
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
             : what == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT        ? PROCESSORS
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

/* ---- the host's memory, events */

CU(cuMemHostAlloc, (void **out, size_t n, unsigned flags)) {
    CHECK_CALL();
    *out = fake.without_pins || flags ? NULL : malloc(n);
    return *out ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
}
CU(cuMemFreeHost, (void *memory)) { return free(memory), 0; }
CU(cuEventCreate, (CUevent * e, unsigned flags)) {
    CHECK_CALL();
    *e = calloc(1, sizeof **e);
    return flags == CU_EVENT_DISABLE_TIMING && *e ? 0 : INVALID;
}
CU(cuEventDestroy_v2, (CUevent e)) { return free(e), 0; }
CU(cuEventRecord, (CUevent e, CUstream s)) {
    CHECK_CALL();
    e->recorded = 1;
    return s ? 0 : INVALID;
}
CU(cuEventSynchronize, (CUevent e)) {
    CHECK_CALL();
    return e->recorded ? 0 : INVALID;
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
    *f = (struct CUfunc_st){.next = fake.functions,
                            .module = (emulated_module *)m,
                            .kernel = kernel,
                            .sizes = emulator_arguments((emulated_module *)m, name)};
    snprintf(f->name, sizeof f->name, "%s", name);
    fake.functions = f;
    return *out = f, 0;
}

static CUresult run(const CUDA_KERNEL_NODE_PARAMS *l) {
    if (!l->gridDimX || !l->gridDimY || !l->gridDimZ || l->gridDimY > 65535 || l->gridDimZ > 65535) return INVALID;
    if (l->sharedMemBytes > MAX_SHARED || l->extra) return INVALID;
    emulated_launch launch = {.module = l->func->module,
                              .kernel = l->func->kernel,
                              .grid = {l->gridDimX, l->gridDimY, l->gridDimZ},
                              .block = {l->blockDimX, l->blockDimY, l->blockDimZ},
                              .shared_bytes = l->sharedMemBytes,
                              .arguments = l->kernelParams};
    l->func->n_runs++;
    fake.problem = emulator_run(fake.emulator, &launch);
    if (fake.problem) fprintf(stderr, "fake CUDA: %s\n", fake.problem);
    if (fake.problem) fake.lost = true;
    return fake.problem ? LOST : 0;
}

CU(cuLaunchKernel, (CUfunction f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                    unsigned shared, CUstream s, void **arguments, void **extra)) {
    CHECK_CALL();
    fake.counts.launches++;
    CUDA_KERNEL_NODE_PARAMS l = {f, x, y, z, bx, by, bz, shared, arguments, extra, NULL, NULL};
    return s ? run(&l) : INVALID;
}
CU(cuLaunchKernelEx, (const CUlaunchConfig *c, CUfunction f, void **arguments, void **extra)) {
    CHECK_CALL();
    fake.counts.launches++;
    bool overlap = c->numAttrs == 1 && c->attrs->id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION &&
                   c->attrs->value.programmaticStreamSerializationAllowed == 1;
    if ((c->numAttrs && !overlap) || (overlap && fake.capability < 90) || !c->hStream) return INVALID;
    CUDA_KERNEL_NODE_PARAMS l = {
        f,         c->gridDimX, c->gridDimY, c->gridDimZ, c->blockDimX, c->blockDimY, c->blockDimZ, c->sharedMemBytes,
        arguments, extra,       NULL,        NULL};
    return run(&l);
}

/* ---- graphs: chains of launches */

static void set_node(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *launch) {
    node->launch = *launch;
    for (size_t i = 0; launch->func->sizes[i]; i++)
        memcpy(node->values[i], launch->kernelParams[i], launch->func->sizes[i]);
}

static CUresult run_node(CUgraphNode node) {
    void *arguments[MAX_ARGUMENTS];
    CUDA_KERNEL_NODE_PARAMS launch = node->launch;
    for (size_t i = 0; i < MAX_ARGUMENTS; i++) arguments[i] = node->values[i];
    launch.kernelParams = arguments;
    return run(&launch);
}

static void free_nodes(CUgraphNode node) {
    for (CUgraphNode next; node; node = next) {
        next = node->next;
        free(node);
    }
}

static CUgraphNode node_at(CUgraph of, CUgraph in, CUgraphNode wanted) {
    CUgraphNode copy = of->first;
    for (CUgraphNode n = in->first; n && copy; n = n->next, copy = copy->next) {
        if (n == wanted) return copy;
    }
    return NULL;
}

CU(cuGraphCreate, (CUgraph * out, unsigned flags)) {
    CHECK_CALL();
    if (flags || fake.without_graphs) return INVALID;
    CUgraph g = calloc(1, sizeof *g);
    if (!g) return CUDA_ERROR_OUT_OF_MEMORY;
    g->end = &g->first;
    return *out = g, 0;
}
CU(cuGraphDestroy, (CUgraph g)) {
    free_nodes(g->first);
    return free(g), 0;
}
CU(cuGraphAddNode_v2, (CUgraphNode * out, CUgraph g, const CUgraphNode *after, const CUgraphEdgeData *edges, size_t n,
                       CUgraphNodeParams *node)) {
    CHECK_CALL();
    if (node->type != CU_GRAPH_NODE_TYPE_KERNEL || n != (g->first != NULL) || (edges && fake.capability < 90))
        return INVALID;
    if (n && (*after)->next) return INVALID; /* a chain */
    if (edges && (edges->type != CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC ||
                  edges->from_port != CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC || edges->to_port))
        return INVALID;
    CUgraphNode made = calloc(1, sizeof *made);
    if (!made) return CUDA_ERROR_OUT_OF_MEMORY;
    set_node(made, &node->kernel);
    *g->end = made;
    g->end = &made->next;
    return *out = made, 0;
}
CU(cuGraphInstantiateWithFlags, (CUgraphExec * out, CUgraph g, unsigned long long flags)) {
    CHECK_CALL();
    CUgraphExec e = calloc(1, sizeof *e);
    if (!e || flags) return INVALID;
    e->graph = g;
    e->of.end = &e->of.first;
    for (CUgraphNode n = g->first; n; n = n->next) {
        CUgraphNode copy = malloc(sizeof *copy);
        if (!copy) return CUDA_ERROR_OUT_OF_MEMORY;
        *copy = *n;
        copy->next = NULL;
        *e->of.end = copy;
        e->of.end = &copy->next;
    }
    fake.counts.graphs++;
    return *out = e, 0;
}
CU(cuGraphExecDestroy, (CUgraphExec e)) {
    free_nodes(e->of.first);
    return free(e), 0;
}
CU(cuGraphExecKernelNodeSetParams_v2, (CUgraphExec e, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *launch)) {
    CHECK_CALL();
    CUgraphNode copy = node_at(&e->of, e->graph, node);
    if (!copy || copy->launch.func != launch->func) return INVALID;
    set_node(copy, launch);
    fake.counts.updates++;
    return 0;
}
CU(cuGraphLaunch, (CUgraphExec e, CUstream s)) {
    CHECK_CALL();
    CUresult code = s ? 0 : INVALID;
    for (CUgraphNode n = e->of.first; n && !code; n = n->next) code = run_node(n);
    fake.counts.graph_launches++;
    return code;
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
    static const char architecture[] = "--gpu-architecture=";
    char defines[800] = "";
    if (strstr(p->text, "break the compiler")) raise(SIGKILL);
    bool contracts = true;
    int capability = 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(options[i], "-fmad=false") == 0) contracts = false;
        if (strncmp(options[i], architecture, sizeof architecture - 1) == 0)
            capability = atoi(strchr(options[i], '_') + 1);
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
static const int architectures[] = {75, 80, 86, 89, 90};
CU(nvrtcGetNumSupportedArchs, (int *n)) { return *n = sizeof architectures / sizeof architectures[0], 0; }
CU(nvrtcGetSupportedArchs, (int *out)) { return memcpy(out, architectures, sizeof architectures), 0; }
CU(nvrtcGetPTXSize, (nvrtcProgram p, size_t *n)) { return nvrtcGetCUBINSize(p, n); }
CU(nvrtcGetPTX, (nvrtcProgram p, char *out)) { return nvrtcGetCUBIN(p, out); }
