/* Launches on a CUDA device: one by one, or recorded first, so that a whole step becomes one graph. See parts.h. */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/parts.h"

facet_status cuda_launches_open(cuda_device *c, facet_error *err) {
    cuda_launches *r = &c->recorded;
    r->launches = calloc(CUDA_LAUNCHES, sizeof *r->launches);
    r->words = calloc(CUDA_WORDS, sizeof *r->words);
    return r->launches && r->words ? FACET_OK : error_memory(err, CUDA_WORDS * sizeof *r->words);
}

void cuda_launches_close(cuda_device *c) {
    free(c->recorded.launches);
    free(c->recorded.words);
    c->recorded = (cuda_launches){0};
}

void cuda_launch_arguments(const cuda_launches *of, const cuda_launch *l, void *pointers[CUDA_ARGUMENTS]) {
    for (uint32_t i = 0; i < l->n; i++) pointers[i] = &of->words[l->first + i];
}

/* ---- to the driver */

static CUresult send_overlapping(cuda_device *c, const cuda_launch *l, void **arguments) {
    CUlaunchAttribute overlap = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                 .value.programmaticStreamSerializationAllowed = 1};
    CUlaunchConfig config = {.gridDimX = l->groups_x,
                             .gridDimY = l->groups_y,
                             .gridDimZ = 1,
                             .blockDimX = l->group,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .hStream = c->stream,
                             .attrs = &overlap,
                             .numAttrs = 1};
    return c->cu.LaunchKernelEx(&config, l->function, arguments, NULL);
}

static CUresult send(cuda_device *c, const cuda_launch *l) {
    void *arguments[CUDA_ARGUMENTS];
    cuda_launch_arguments(&c->recorded, l, arguments);
    if (c->overlaps) return send_overlapping(c, l, arguments);
    return c->cu.LaunchKernel(l->function, l->groups_x, l->groups_y, 1, l->group, 1, 1, 0, c->stream, arguments,
                              NULL);
}

static CUresult send_all(cuda_device *c) {
    CUresult code = CUDA_SUCCESS;
    for (size_t i = 0; i < c->recorded.n && code == CUDA_SUCCESS; i++) code = send(c, &c->recorded.launches[i]);
    return code;
}

/* Hands over what is recorded, as a graph where that is possible. */
static facet_status hand_over(cuda_device *c, bool whole, facet_error *err) {
    CUresult code = cuda_enter(c);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuCtxPushCurrent", err);
    if (!whole || !cuda_graphs_launch(c, &c->recorded)) code = send_all(c);
    cuda_leave(c);
    c->recorded.n = c->recorded.n_words = 0;
    return code == CUDA_SUCCESS ? FACET_OK : cuda_failed(c, code, "cuLaunchKernel", err);
}

/* ---- recording */

static uint64_t word_of(const gpu_argument *a) {
    uint64_t word = 0;
    switch (a->type) {
    case GPU_IMAGE: /* there are none, see image_texels */
    case GPU_BUFFER: return cuda_address(a->buffer, 0);
    case GPU_INT: memcpy(&word, &a->i, sizeof a->i); break;
    case GPU_FLOAT: memcpy(&word, &a->f, sizeof a->f); break;
    case GPU_WIDE: return a->wide;
    }
    return word;
}

static void record(cuda_launches *r, const cuda_launch *launch, const gpu_argument *arguments) {
    cuda_launch *l = &r->launches[r->n++];
    *l = *launch;
    l->first = (uint32_t)r->n_words;
    for (uint32_t i = 0; i < l->n; i++) r->words[r->n_words++] = word_of(&arguments[i]);
}

static bool is_full(const cuda_launches *r, size_t n_arguments) {
    return r->n == CUDA_LAUNCHES || r->n_words + n_arguments > CUDA_WORDS;
}

facet_status cuda_launch_one(gpu_device *d, gpu_kernel *k, size_t groups_x, size_t groups_y, size_t group,
                             const gpu_argument *arguments, size_t n_arguments, facet_error *err) {
    cuda_device *c = cuda_own(d);
    if (n_arguments > CUDA_ARGUMENTS || groups_x > INT32_MAX || groups_y > UINT16_MAX) {
        return error_set(err, FACET_ERROR_INTERNAL, "a launch of %zu x %zu groups with %zu arguments is too large",
                         groups_x, groups_y, n_arguments);
    }
    if (is_full(&c->recorded, n_arguments)) {
        c->overflowed = true;
        FACET_TRY(hand_over(c, false, err));
    }
    cuda_launch launch = {.function = k->function,
                          .groups_x = (uint32_t)groups_x,
                          .groups_y = (uint32_t)groups_y,
                          .group = (uint32_t)group,
                          .n = (uint32_t)n_arguments};
    record(&c->recorded, &launch, arguments);
    return c->recording ? FACET_OK : hand_over(c, false, err);
}

void cuda_begin(gpu_device *d) {
    cuda_device *c = cuda_own(d);
    c->recording = true;
    c->overflowed = false;
    c->recorded.n = c->recorded.n_words = 0;
}

facet_status cuda_end(gpu_device *d, facet_error *err) {
    cuda_device *c = cuda_own(d);
    c->recording = false;
    return c->recorded.n ? hand_over(c, !c->overflowed, err) : FACET_OK;
}
