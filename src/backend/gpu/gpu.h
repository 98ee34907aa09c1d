/* The forward pass on a device: the layers [first, end) of a model. Owns: the copies of their weights in the device's
 * memory, keys and values of their own, the buffers of a step, the kernels. Borrows: the device, the model, and which
 * page of the KV cache holds what. Knows nothing of the kind of device, of sessions and of text.
 *
 * What a step needs of the tokens themselves (embeddings, their slices of the per-layer table, angles) is computed by
 * the CPU, whose tables stay where they are; the rest happens here. Formulas: model/forward.c and its neighbours say
 * the same for the CPU. */
#ifndef FACET_BACKEND_GPU_GPU_H
#define FACET_BACKEND_GPU_GPU_H

#include "backend/gpu/device.h"
#include "kv/kv.h"
#include "model/pass.h"

typedef struct gpu gpu;

typedef struct gpu_options {
    uint32_t first, end; /* layers; the head goes with the last one */
    size_t ubatch, max_context;
    const char *cache; /* a directory for compiled programs, or NULL */
    facet_log_fn log;  /* what the self-test switched off; NULL: nobody is told */
    void *log_ctx;
    facet_progress_fn progress; /* of the upload, in KiB; NULL: none */
    void *progress_ctx;
} gpu_options;

/* Whether the device can hold those layers at all, and the bytes that it would take. Needs shapes and formats only,
 * takes nothing.
 */
facet_status gpu_plan(gpu_device *device, const hparams *h, const weights *w, const kv_cache *kv,
                      const gpu_options *options, uint64_t *bytes, facet_error *err);
/* Takes the device over, also on failure. Uploads the weights and checks every kernel against the CPU's numbers. */
facet_status gpu_new(gpu **out, gpu_device *device, const hparams *h, const weights *w, const cpu_table *cpu,
                     pool *threads, const kv_cache *kv, const gpu_options *options, facet_error *err);
void gpu_free(gpu *g);
uint64_t gpu_bytes(const gpu *g);
const gpu_limits *gpu_limits_of(const gpu *g);

/* Before each step, while the KV cache does not change: the rows that moved in it since the last step, in order, and
 * places for the pages of the step's sequences. */
void gpu_take_pages(gpu *g, const kv_copy *copies, size_t n_copies, const forward_segment *segments,
                    size_t n_segments);
/* The layers of one step. `f` has begun it (forward_begin) and computed the layers before `first`. Where `end` is the
 * last layer *hidden gets the final hidden states of the wanted rows; else f->x the residual stream of all rows. */
facet_status gpu_step(gpu *g, forward *f, const float **hidden, size_t *n_hidden, facet_error *err);
/* As forward_head and forward_recall. */
facet_status gpu_head(gpu *g, const float *hidden, size_t n_rows, float *logits, facet_error *err);
const float *gpu_recall(gpu *g, const float *hidden, size_t n_rows, const lora_set *adapters);

#endif
