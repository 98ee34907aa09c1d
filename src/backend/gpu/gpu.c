/* The life of a pass on a device. See gpu.h. */
#include "backend/gpu/gpu.h"

#include <stdlib.h>

#include "backend/gpu/parts.h"

static void close_gpu(gpu *g) {
    gpu_adapters_close(g);
    gpu_memory_close(g);
    gpu_weights_close(g);
    gpu_programs_close(g);
}

static void describe(gpu *g, gpu_device *device, const hparams *h, const weights *w, const kv_cache *kv,
                     const gpu_options *options) {
    *g = (gpu){.device = device,
               .h = h,
               .w = w,
               .options = *options,
               .ubatch = options->ubatch,
               .kv_type = kv_cache_type(kv)};
}

facet_status gpu_plan(gpu_device *device, const hparams *h, const weights *w, const kv_cache *kv,
                      const gpu_options *options, uint64_t *bytes, facet_error *err) {
    gpu g;
    describe(&g, device, h, w, kv, options);
    facet_status status = gpu_weights_open(&g, true, err);
    if (status == FACET_OK) status = gpu_memory_open(&g, kv, true, err);
    *bytes = g.bytes;
    gpu_weights_close(&g);
    return status;
}

static facet_status open_gpu(gpu *g, const kv_cache *kv, facet_error *err) {
    FACET_TRY(gpu_programs_open(g, err));
    FACET_TRY(gpu_weights_open(g, false, err));
    FACET_TRY(gpu_memory_open(g, kv, false, err));
    gpu_ways_open(g);
    FACET_TRY(gpu_products_open(g, err));
    FACET_TRY(gpu_weights_upload(g, err));
    return gpu_check(g, err);
}

facet_status gpu_new(gpu **out, gpu_device *device, const hparams *h, const weights *w, const cpu_table *cpu,
                     pool *threads, const kv_cache *kv, const gpu_options *options, facet_error *err) {
    *out = NULL;
    gpu *g = calloc(1, sizeof *g);
    if (!g) {
        device->driver->close(device);
        return error_memory(err, sizeof *g);
    }
    describe(g, device, h, w, kv, options);
    g->cpu = cpu;
    g->threads = threads;
    facet_status status = open_gpu(g, kv, err);
    if (status != FACET_OK)
        gpu_free(g);
    else
        *out = g;
    return status;
}

void gpu_free(gpu *g) {
    if (!g) return;
    close_gpu(g);
    g->device->driver->close(g->device);
    free(g);
}

uint64_t gpu_bytes(const gpu *g) { return g->bytes; }
const gpu_limits *gpu_limits_of(const gpu *g) { return &g->device->limits; }
