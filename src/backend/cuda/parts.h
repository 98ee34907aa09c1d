/* The insides of a CUDA device, shared by its files. Private to backend/cuda. */
#ifndef FACET_BACKEND_CUDA_PARTS_H
#define FACET_BACKEND_CUDA_PARTS_H

#include "backend/cuda/api.h"
#include "backend/gpu/device.h"

enum {
    CUDA_ARGUMENTS = 32,  /* of a launch at most */
    CUDA_LAUNCHES = 2048, /* that are recorded at most, with their arguments' words */
    CUDA_WORDS = 24 * CUDA_LAUNCHES,
    CUDA_OLDEST_CAPABILITY = 75,
    CUDA_OVERLAP_CAPABILITY = 90, /* has programmatic dependent launch */
};

/* ---- launches */

typedef struct cuda_launch {
    CUfunction function;
    uint32_t groups_x, groups_y, group;
    uint32_t first, n; /* its arguments in `words` */
} cuda_launch;

/* Launches one behind the other, with the arguments of all of them, a word each. */
typedef struct cuda_launches {
    cuda_launch *launches;
    uint64_t *words;
    size_t n, n_words;
} cuda_launches;

/* ---- graphs */

enum { CUDA_GRAPHS = 8, CUDA_SEEN = 16 };

typedef struct cuda_graph {
    CUgraph graph;
    CUgraphExec exec;      /* NULL: this place is free */
    CUgraphNode *nodes;    /* a launch each */
    cuda_launches content; /* as the graph has them at present */
    uint64_t last_use;
} cuda_graph;

typedef struct cuda_graphs {
    bool off; /* the driver has none, or failed with one */
    cuda_graph kept[CUDA_GRAPHS];
    uint64_t uses;
    uint64_t seen[CUDA_SEEN]; /* digests of sequences that were launched one by one */
    size_t n_seen;
} cuda_graphs;

/* ---- the host's memory for transfers */

typedef struct cuda_piece {
    char *data;
    size_t n_bytes;
    bool pinned;    /* the driver's own; else of malloc */
    bool in_flight; /* a copy may be going on until `done` */
    CUevent done;
} cuda_piece;

/* Two pieces that take turns: one is filled or emptied while the other is copied. */
typedef struct cuda_stage {
    cuda_piece pieces[2];
    int now;
    size_t used;           /* of the present piece */
    size_t at, last_bytes; /* what was handed out last */
} cuda_stage;

typedef struct cuda_device {
    gpu_device base;
    cuda_api cu;
    CUdevice id;
    int capability;
    CUcontext context; /* the device's primary one */
    CUstream stream;
    bool overlaps; /* a launch's groups may begin before the launch in front of it has ended: kernels wait themselves
                    */
    cuda_stage up, down;
    bool recording;
    bool overflowed; /* what is recorded is not the whole step */
    cuda_launches recorded;
    cuda_graphs graphs;
} cuda_device;

struct gpu_program {
    CUmodule module;
};
struct gpu_kernel {
    CUfunction function;
};

static inline cuda_device *cuda_own(gpu_device *d) { return (cuda_device *)d; }
static inline CUdeviceptr cuda_address(const gpu_buffer *b, uint64_t at) {
    return (CUdeviceptr)(uintptr_t)b->handle + at;
}

/* ---- cuda.c */
/* The context is the calling thread's for the time of one call only: threads change, and have contexts of their own.
 */
CUresult cuda_enter(cuda_device *c);
void cuda_leave(cuda_device *c);
facet_status cuda_failed(const cuda_device *c, CUresult code, const char *what, facet_error *err);

/* ---- transfer.c */
void cuda_stages_close(cuda_device *c);
facet_status cuda_stage_take(gpu_device *d, size_t n_bytes, void **out, facet_error *err);
facet_status cuda_stage_send(gpu_device *d, const gpu_buffer *to, uint64_t at, facet_error *err);
facet_status cuda_write(gpu_device *d, const gpu_buffer *to, uint64_t at, const void *data, size_t n_bytes,
                        facet_error *err);
facet_status cuda_read(gpu_device *d, const gpu_buffer *from, uint64_t at, void *data, size_t n_bytes,
                       facet_error *err);
facet_status cuda_copy(gpu_device *d, const gpu_buffer *to, uint64_t to_at, const gpu_buffer *from, uint64_t from_at,
                       uint64_t n_bytes, facet_error *err);

/* ---- program.c */
facet_status cuda_program_new(gpu_device *d, gpu_program **out, const gpu_source *source, const char *cache,
                              facet_error *err);
void cuda_program_free(gpu_device *d, gpu_program *p);
facet_status cuda_kernel_new(gpu_device *d, gpu_kernel **out, gpu_program *p, const char *name, facet_error *err);
void cuda_kernel_free(gpu_device *d, gpu_kernel *k);

/* ---- launch.c */
facet_status cuda_launches_open(cuda_device *c, facet_error *err);
void cuda_launches_close(cuda_device *c);
/* Pointers to the arguments of a launch, as the driver wants them. */
void cuda_launch_arguments(const cuda_launches *of, const cuda_launch *l, void *pointers[CUDA_ARGUMENTS]);
facet_status cuda_launch_one(gpu_device *d, gpu_kernel *k, size_t groups_x, size_t groups_y, size_t group,
                             const gpu_argument *arguments, size_t n_arguments, facet_error *err);
void cuda_begin(gpu_device *d);
facet_status cuda_end(gpu_device *d, facet_error *err);

/* ---- graph.c; the context is entered */
/* Launches the whole sequence as a graph; false: nothing was launched. */
bool cuda_graphs_launch(cuda_device *c, const cuda_launches *sequence);
void cuda_graphs_close(cuda_device *c);

#endif
