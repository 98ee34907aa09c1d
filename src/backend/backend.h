/* Where the forward pass runs: on the CPU, or with some or all of its layers on a device. Owns: the choice, and the
 * device's part. Borrows: the CPU's forward pass, which is always there: it computes what the device does not, and
 * all of it once the device fails. The engine knows this interface alone. */
#ifndef FACET_BACKEND_BACKEND_H
#define FACET_BACKEND_BACKEND_H

#include "kv/kv.h"
#include "model/forward.h"

typedef struct backend backend;

typedef struct backend_options {
    const char *device; /* NULL or "cpu"; "auto", "cuda", "opencl", "cuda:1", ... */
    int32_t n_layers;   /* on the device at most; -1: all */
    size_t ubatch, max_context;
    const char *cache; /* a directory for compiled kernels, or NULL */
    facet_log_fn log;  /* what became of the device; NULL: nobody is told */
    void *log_ctx;
    facet_progress_fn progress; /* of the upload, in KiB; NULL: none */
    void *progress_ctx;
} backend_options;

/* Whether `device` means anything. */
bool backend_knows(const char *device);
/* A device that is not there or cannot hold the layers is no failure: the log says why, the CPU computes. */
facet_status backend_open(backend **out, forward *cpu_pass, const hparams *h, const weights *w, const cpu_table *cpu,
                          pool *threads, kv_cache *kv, const backend_options *options, facet_error *err);
void backend_free(backend *b);

/* What computes: "the CPU", or the device with its layers. Lives as long as the back end. These three may be asked by
 * any thread at any time, also while a step goes on or the device is given up. */
const char *backend_name(const backend *b);
uint32_t backend_device_layers(const backend *b);
uint64_t backend_device_bytes(const backend *b);

/* Before each step, while the KV cache does not change: the rows that were copied in it since the last step, and the
 * sequences of the step. A failure shows in the step. */
void backend_take_pages(backend *b, const kv_copy *copies, size_t n_copies, const forward_segment *segments,
                        size_t n_segments);
/* As forward_step, forward_head and forward_recall. A failure means that the device is lost, with the keys and values
 * of all sequences: the caller forgets these (kv_cache_forget) and calls backend_give_up, and may then ask again. */
facet_status backend_step(backend *b, const forward_segment *segments, size_t n_segments, const float **hidden,
                          size_t *n_hidden, facet_error *err);
facet_status backend_head(backend *b, const float *hidden, size_t n_rows, float *logits, facet_error *err);
const float *backend_recall(backend *b, const float *hidden, size_t n_rows, const lora_set *adapters);
/* The device is not used any more. */
void backend_give_up(backend *b, const facet_error *why);

/* A description of every device that there might be, also of those that cannot be used. */
void backend_list(facet_device_fn fn, void *ctx);

#endif
