/* The choice between the CPU and devices, and the steps that both share. See backend.h. */
#include "backend/backend.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/gpu.h"

enum { MAX_DEVICES = 64 };

struct backend {
    forward *cpu;
    const hparams *h;
    gpu *gpu;            /* NULL: the CPU does everything */
    uint32_t first, end; /* the device's layers */
    facet_log_fn log;
    void *log_ctx;
    /* What is told to threads that take no part in steps: of these nothing else may be touched. */
    atomic_bool on_device;
    _Atomic uint64_t device_bytes;
    char name[256]; /* of the device; never changes, callers may keep it */
};

/* ---- devices by name */

typedef struct device_kind {
    const char *name;
    facet_status (*open)(gpu_device **out, size_t index, facet_error *err);
} device_kind;
static const device_kind kinds[] = {{"cuda", cuda_device_open}, {"opencl", opencl_device_open}};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* "opencl", "opencl:1" */
static const device_kind *find_kind(const char *device, size_t *index) {
    for (size_t i = 0; i < N_KINDS; i++) {
        size_t n = strlen(kinds[i].name);
        if (strncmp(device, kinds[i].name, n) != 0) continue;
        *index = 0;
        if (device[n] == '\0') return &kinds[i];
        if (device[n] != ':' || device[n + 1] < '0' || device[n + 1] > '9') return NULL;
        char *end;
        *index = (size_t)strtoul(device + n + 1, &end, 10);
        return *end == '\0' && *index < MAX_DEVICES ? &kinds[i] : NULL;
    }
    return NULL;
}

static bool is_cpu(const char *device) { return !device || strcmp(device, "cpu") == 0; }

bool backend_knows(const char *device) {
    size_t index;
    return is_cpu(device) || strcmp(device, "auto") == 0 || find_kind(device, &index) != NULL;
}

/* The first device of its own memory; processors that OpenCL offers would only do the CPU's work. */
static facet_status open_any(gpu_device **out, facet_error *err) {
    for (size_t i = 0; i < N_KINDS; i++) {
        if (kinds[i].open(out, 0, err) != FACET_OK) continue;
        if (!(*out)->limits.processor) return FACET_OK;
        (*out)->driver->close(*out);
    }
    *out = NULL;
    return error_set(err, FACET_ERROR_UNSUPPORTED, "there is no device beside the processor");
}

static facet_status open_device(gpu_device **out, const char *device, facet_error *err) {
    size_t index;
    if (strcmp(device, "auto") == 0) return open_any(out, err);
    const device_kind *kind = find_kind(device, &index);
    if (kind) return kind->open(out, index, err);
    *out = NULL;
    return error_set(err, FACET_ERROR_ARGUMENT, "there is no device '%.40s'", device);
}

void backend_list(facet_device_fn fn, void *ctx) {
    for (size_t i = 0; i < N_KINDS; i++) {
        facet_status status = FACET_OK;
        for (size_t index = 0; index < MAX_DEVICES && status == FACET_OK; index++) {
            gpu_device *d;
            facet_error why = {0};
            facet_device out = {.kind = kinds[i].name, .index = (int32_t)index};
            status = kinds[i].open(&d, index, &why);
            if (status == FACET_OK) {
                out.name = d->limits.name;
                out.version = d->limits.version;
                out.memory_bytes = d->limits.memory_bytes;
                out.processor = d->limits.processor;
            } else if (index > 0) {
                break; /* the end of the list */
            }
            out.problem = status == FACET_OK ? NULL : why.message;
            fn(ctx, &out);
            if (status == FACET_OK) d->driver->close(d);
        }
    }
}

/* ---- which layers */

/* The last owning layer of each kind, whose keys and values others read: a cut may only be before all of these,
 * unless nothing is shared. */
static uint32_t last_cut(const hparams *h) {
    uint32_t cut = h->n_layer;
    for (uint32_t i = h->n_own; i < h->n_layer; i++) {
        if (h->layers[i].kv_layer < cut) cut = h->layers[i].kv_layer;
    }
    return cut;
}

/* The last n layers with the head, where those that share keys and values stay with their owners; else the first. */
static void choose_layers(const hparams *h, int32_t n_layers, uint32_t *first, uint32_t *end) {
    uint32_t n = n_layers < 0 || (uint32_t)n_layers > h->n_layer ? h->n_layer : (uint32_t)n_layers;
    uint32_t cut = last_cut(h);
    if (h->n_layer - n <= cut) {
        *first = h->n_layer - n;
        *end = h->n_layer;
    } else {
        *first = 0;
        *end = n < cut ? n : cut;
    }
}

/* ---- life */

static void tell(const backend *b, const char *format, const char *what) {
    char line[400];
    if (!b->log) return;
    snprintf(line, sizeof line, format, what);
    b->log(b->log_ctx, line);
}

static void tell_state(backend *b) {
    atomic_store(&b->device_bytes, b->gpu ? gpu_bytes(b->gpu) : 0);
    atomic_store(&b->on_device, b->gpu != NULL);
}

/* How many layers the device has memory for, of fewer than n; 0: none. */
static uint32_t count_fitting(const backend *b, gpu_device *device, const weights *w, const kv_cache *kv,
                              gpu_options options, uint32_t n) {
    uint64_t bytes;
    while (--n > 0) {
        choose_layers(b->h, (int32_t)n, &options.first, &options.end);
        if (options.end - options.first != n) continue;
        if (gpu_plan(device, b->h, w, kv, &options, &bytes, NULL) == FACET_OK && bytes <= device->limits.memory_bytes)
            return n;
    }
    return 0;
}

/* Before anything is taken: what is too much, and what would not be. */
static facet_status check_memory(const backend *b, gpu_device *device, const weights *w, const kv_cache *kv,
                                 const gpu_options *options, facet_error *err) {
    const gpu_limits *l = &device->limits;
    uint64_t bytes;
    facet_error why;
    char hint[64] = "";
    facet_status status = gpu_plan(device, b->h, w, kv, options, &bytes, &why);
    if (status == FACET_OK && bytes > l->memory_bytes) {
        status = error_set(&why, FACET_ERROR_BUDGET, "%s has %llu MiB of memory, %llu MiB are needed", l->name,
                           (unsigned long long)(l->memory_bytes >> 20), (unsigned long long)(bytes >> 20));
    }
    if (status == FACET_OK) return status;
    uint32_t n = options->end - options->first;
    n = status == FACET_ERROR_BUDGET ? count_fitting(b, device, w, kv, *options, n) : 0;
    if (n) snprintf(hint, sizeof hint, "; there is room for %u layers", n);
    return error_set(err, status, "%s%s", why.message, hint);
}

static facet_status use_device(backend *b, const weights *w, const cpu_table *cpu, pool *threads, kv_cache *kv,
                               const backend_options *o, facet_error *err) {
    gpu_device *device;
    FACET_TRY(open_device(&device, o->device, err));
    choose_layers(b->h, o->n_layers, &b->first, &b->end);
    if (b->first == b->end) {
        device->driver->close(device);
        return error_set(err, FACET_ERROR_UNSUPPORTED, "%d layers leave none for the device", (int)o->n_layers);
    }
    gpu_options options = {.first = b->first,
                           .end = b->end,
                           .ubatch = o->ubatch,
                           .max_context = o->max_context,
                           .cache = o->cache,
                           .log = o->log,
                           .log_ctx = o->log_ctx,
                           .progress = o->progress,
                           .progress_ctx = o->progress_ctx};
    facet_status status = check_memory(b, device, w, kv, &options, err);
    if (status != FACET_OK) {
        device->driver->close(device);
        return status;
    }
    FACET_TRY(gpu_new(&b->gpu, device, b->h, w, cpu, threads, kv, &options, err));
    snprintf(b->name, sizeof b->name, "%s (%s), %u of %u layers", gpu_limits_of(b->gpu)->name,
             gpu_limits_of(b->gpu)->kind, b->end - b->first, b->h->n_layer);
    return FACET_OK;
}

facet_status backend_open(backend **out, forward *cpu_pass, const hparams *h, const weights *w, const cpu_table *cpu,
                          pool *threads, kv_cache *kv, const backend_options *options, facet_error *err) {
    *out = NULL;
    backend *b = calloc(1, sizeof *b);
    if (!b) return error_memory(err, sizeof *b);
    *b = (backend){.cpu = cpu_pass, .h = h, .log = options->log, .log_ctx = options->log_ctx};
    facet_error why;
    facet_status status = is_cpu(options->device) ? FACET_OK : use_device(b, w, cpu, threads, kv, options, &why);
    if (status == FACET_ERROR_CANCELLED) {
        backend_free(b);
        return error_set(err, status, "%s", why.message);
    }
    if (status != FACET_OK) tell(b, "the CPU computes: %s", why.message);
    if (b->gpu) kv_cache_watch_copies(kv);
    tell_state(b);
    *out = b;
    return FACET_OK;
}

void backend_free(backend *b) {
    if (!b) return;
    gpu_free(b->gpu);
    free(b);
}

void backend_give_up(backend *b, const facet_error *why) {
    if (!b->gpu) return;
    gpu_free(b->gpu);
    b->gpu = NULL;
    tell_state(b);
    tell(b, "the CPU takes over: %s", why->message);
}

const char *backend_name(const backend *b) { return atomic_load(&b->on_device) ? b->name : "the CPU"; }
uint32_t backend_device_layers(const backend *b) { return atomic_load(&b->on_device) ? b->end - b->first : 0; }
uint64_t backend_device_bytes(const backend *b) { return atomic_load(&b->device_bytes); }

/* ---- steps */

static bool has_head(const backend *b) { return b->gpu && b->end == b->h->n_layer; }

void backend_take_pages(backend *b, const kv_copy *copies, size_t n_copies, const forward_segment *segments,
                        size_t n_segments) {
    if (b->gpu) gpu_take_pages(b->gpu, copies, n_copies, segments, n_segments);
}

facet_status backend_step(backend *b, const forward_segment *segments, size_t n_segments, const float **hidden,
                          size_t *n_hidden, facet_error *err) {
    if (!b->gpu) {
        forward_step(b->cpu, segments, n_segments, hidden, n_hidden);
        return FACET_OK;
    }
    forward_begin(b->cpu, segments, n_segments);
    if (b->first) forward_layers(b->cpu, 0, b->first);
    FACET_TRY(gpu_step(b->gpu, b->cpu, hidden, n_hidden, err));
    tell_state(b); /* adapters may have come */
    if (has_head(b)) return FACET_OK;
    forward_layers(b->cpu, b->end, b->h->n_layer);
    forward_results(b->cpu, hidden, n_hidden);
    return FACET_OK;
}

facet_status backend_head(backend *b, const float *hidden, size_t n_rows, float *logits, facet_error *err) {
    if (has_head(b)) return gpu_head(b->gpu, hidden, n_rows, logits, err);
    forward_head(b->cpu, hidden, n_rows, logits);
    return FACET_OK;
}

const float *backend_recall(backend *b, const float *hidden, size_t n_rows, const lora_set *adapters) {
    return has_head(b) ? gpu_recall(b->gpu, hidden, n_rows, adapters)
                       : forward_recall(b->cpu, hidden, n_rows, adapters);
}
