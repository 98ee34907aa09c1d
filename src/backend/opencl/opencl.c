/* OpenCL 1.2 devices. Owns: the context, the queue, how failures of the driver become a status. Knows nothing of what
 * is computed. Works with any number of platforms; devices are counted over all of them, GPUs and accelerators before
 * processors (PoCL), so that device 0 is the likeliest choice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/cache.h"
#include "backend/opencl/api.h"

enum { MAX_PLATFORMS = 16, MAX_DEVICES = 64 };
enum { CL_DEVICE_TYPE = 0x1000, DEVICE_TYPE_CPU = 2 };

typedef struct opencl_device {
    gpu_device base;
    opencl_api cl;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    bool divide; /* divisions and square roots rounded as IEEE has it, when asked for */
} opencl_device;

struct gpu_program {
    cl_program cl;
};
struct gpu_kernel {
    cl_kernel cl;
};

static opencl_device *own(gpu_device *d) { return (opencl_device *)d; }

static facet_status failed(const opencl_device *o, cl_int code, const char *what, facet_error *err) {
    char text[32];
    return error_set(err, FACET_ERROR_STATE, "%s: %s gave %s", o->base.limits.name, what,
                     opencl_error_name(code, text));
}

/* ---- finding a device */

typedef struct found_device {
    cl_platform_id platform;
    cl_device_id id;
    bool processor;
} found_device;

static void device_info(const opencl_api *cl, cl_device_id id, cl_uint what, void *out, size_t n) {
    memset(out, 0, n);
    cl->GetDeviceInfo(id, what, n, out, NULL);
}

/* A text of any length, cut to n - 1 bytes. */
static void device_text(const opencl_api *cl, cl_device_id id, cl_uint what, char *out, size_t n) {
    char text[1024];
    device_info(cl, id, what, text, sizeof text);
    text[sizeof text - 1] = '\0';
    size_t length = strlen(text) < n ? strlen(text) : n - 1;
    memcpy(out, text, length);
    out[length] = '\0';
}

static size_t collect_devices(const opencl_api *cl, bool processors, found_device *out, size_t n) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint n_platforms = 0;
    if (cl->GetPlatformIDs(MAX_PLATFORMS, platforms, &n_platforms) != CL_SUCCESS) return n;
    if (n_platforms > MAX_PLATFORMS) n_platforms = MAX_PLATFORMS;
    for (cl_uint p = 0; p < n_platforms; p++) {
        cl_device_id ids[MAX_DEVICES];
        cl_uint n_ids = 0;
        if (cl->GetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &n_ids) != CL_SUCCESS) continue;
        if (n_ids > MAX_DEVICES) n_ids = MAX_DEVICES;
        for (cl_uint i = 0; i < n_ids && n < MAX_DEVICES; i++) {
            cl_bitfield type;
            device_info(cl, ids[i], CL_DEVICE_TYPE, &type, sizeof type);
            bool processor = type & DEVICE_TYPE_CPU;
            if (processor == processors) out[n++] = (found_device){platforms[p], ids[i], processor};
        }
    }
    return n;
}

static facet_status find_device(opencl_device *o, size_t index, facet_error *err) {
    found_device found[MAX_DEVICES];
    size_t n = collect_devices(&o->cl, false, found, 0);
    n = collect_devices(&o->cl, true, found, n);
    if (n == 0) return error_set(err, FACET_ERROR_UNSUPPORTED, "OpenCL has a loader here, but no device");
    if (index >= n) return error_set(err, FACET_ERROR_UNSUPPORTED, "there are %zu OpenCL devices, from 0 on", n);
    o->id = found[index].id;
    return FACET_OK;
}

/* ---- what it can do */

static bool at_least_1_2(const char *version) { /* "OpenCL 1.2 ..." */
    int major = 0, minor = 0;
    return sscanf(version, "OpenCL %d.%d", &major, &minor) == 2 && (major > 1 || minor >= 2);
}

static void probe_extensions(opencl_device *o) {
    size_t n = 0;
    if (o->cl.GetDeviceInfo(o->id, CL_DEVICE_EXTENSIONS, 0, NULL, &n) != CL_SUCCESS || n == 0) return;
    char *text = calloc(1, n + 1);
    if (!text) return;
    o->cl.GetDeviceInfo(o->id, CL_DEVICE_EXTENSIONS, n, text, NULL);
    o->base.limits.dot = strstr(text, "cl_khr_integer_dot_product") != NULL;
    free(text);
}

/* CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT */
static void probe_division(opencl_device *o) {
    cl_bitfield config;
    device_info(&o->cl, o->id, CL_DEVICE_SINGLE_FP_CONFIG, &config, sizeof config);
    o->divide = config >> 7 & 1;
}

/* Adreno is said to cache images better than buffers; nothing is known of others. */
static void probe_images(opencl_device *o) {
    char vendor[128];
    cl_bool images;
    size_t texels;
    device_text(&o->cl, o->id, CL_DEVICE_VENDOR, vendor, sizeof vendor);
    device_info(&o->cl, o->id, CL_DEVICE_IMAGE_SUPPORT, &images, sizeof images);
    device_info(&o->cl, o->id, CL_DEVICE_IMAGE_MAX_BUFFER_SIZE, &texels, sizeof texels);
    bool adreno = strstr(vendor, "QUALCOMM") || strstr(vendor, "Qualcomm") || strstr(o->base.limits.name, "Adreno");
    o->base.limits.image_texels = adreno && images ? texels : 0;
}

static facet_status probe(opencl_device *o, facet_error *err) {
    gpu_limits *l = &o->base.limits;
    char version[96], driver[64];
    cl_bool little, compiler;
    cl_bitfield type;
    cl_ulong local;
    *l = (gpu_limits){.kind = "opencl"};
    device_text(&o->cl, o->id, CL_DEVICE_NAME, l->name, sizeof l->name);
    device_text(&o->cl, o->id, CL_DEVICE_VERSION, version, sizeof version);
    device_text(&o->cl, o->id, CL_DRIVER_VERSION, driver, sizeof driver);
    device_info(&o->cl, o->id, CL_DEVICE_GLOBAL_MEM_SIZE, &l->memory_bytes, sizeof l->memory_bytes);
    device_info(&o->cl, o->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, &l->buffer_bytes, sizeof l->buffer_bytes);
    device_info(&o->cl, o->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, &l->group, sizeof l->group);
    device_info(&o->cl, o->id, CL_DEVICE_LOCAL_MEM_SIZE, &local, sizeof local);
    device_info(&o->cl, o->id, CL_DEVICE_ENDIAN_LITTLE, &little, sizeof little);
    device_info(&o->cl, o->id, CL_DEVICE_COMPILER_AVAILABLE, &compiler, sizeof compiler);
    device_info(&o->cl, o->id, CL_DEVICE_TYPE, &type, sizeof type);
    l->local_bytes = (size_t)local;
    l->processor = type & DEVICE_TYPE_CPU;
    snprintf(l->version, sizeof l->version, "%s, driver %s", version, driver);
    probe_extensions(o);
    probe_division(o);
    probe_images(o);
    if (!at_least_1_2(version)) {
        return error_set(err, FACET_ERROR_UNSUPPORTED, "%s speaks %s, 1.2 is needed", l->name, version);
    }
    if (!little || !compiler) {
        return error_set(err, FACET_ERROR_UNSUPPORTED, "%s is big-endian or has no compiler", l->name);
    }
    return FACET_OK;
}

static facet_status open_queue(opencl_device *o, facet_error *err) {
    cl_int code;
    o->context = o->cl.CreateContext(NULL, 1, &o->id, NULL, NULL, &code);
    if (code != CL_SUCCESS) return failed(o, code, "clCreateContext", err);
    o->queue = o->cl.CreateCommandQueue(o->context, o->id, 0, &code);
    return code == CL_SUCCESS ? FACET_OK : failed(o, code, "clCreateCommandQueue", err);
}

static void device_close(gpu_device *d) {
    opencl_device *o = own(d);
    if (o->queue) o->cl.ReleaseCommandQueue(o->queue);
    if (o->context) o->cl.ReleaseContext(o->context);
    /* The loader stays: drivers leave threads behind that would run on in code which is no longer there. */
    free(o);
}

/* ---- memory */

static facet_status buffer_new(gpu_device *d, gpu_buffer *out, uint64_t n_bytes, facet_error *err) {
    opencl_device *o = own(d);
    *out = (gpu_buffer){0};
    if (n_bytes > d->limits.buffer_bytes) {
        return error_set(err, FACET_ERROR_BUDGET, "%s: a buffer of %llu bytes is too large, at most %llu",
                         d->limits.name, (unsigned long long)n_bytes, (unsigned long long)d->limits.buffer_bytes);
    }
    cl_int code;
    cl_mem memory = o->cl.CreateBuffer(o->context, CL_MEM_READ_WRITE, (size_t)n_bytes, NULL, &code);
    if (code != CL_SUCCESS) {
        char text[32];
        return error_set(err, FACET_ERROR_MEMORY, "%s: no memory for a buffer of %llu bytes (%s)", d->limits.name,
                         (unsigned long long)n_bytes, opencl_error_name(code, text));
    }
    *out = (gpu_buffer){.handle = memory, .n_bytes = n_bytes};
    return FACET_OK;
}

static void image_free(gpu_device *d, gpu_buffer *b) {
    if (b->image) own(d)->cl.ReleaseMemObject(b->image);
    b->image = NULL;
}

static void buffer_release(gpu_device *d, gpu_buffer *b) {
    image_free(d, b);
    if (b->handle) own(d)->cl.ReleaseMemObject(b->handle);
    *b = (gpu_buffer){0};
}

static facet_status image_new(gpu_device *d, gpu_buffer *b, size_t texel_words, facet_error *err) {
    opencl_device *o = own(d);
    const cl_image_format format = {texel_words == 4 ? CL_RGBA : CL_R, CL_UNSIGNED_INT32};
    const cl_image_desc desc = {
        .type = CL_MEM_OBJECT_IMAGE1D_BUFFER, .width = (size_t)(b->n_bytes / 4 / texel_words), .buffer = b->handle};
    if (desc.width > d->limits.image_texels || desc.width > INT32_MAX) {
        return error_set(err, FACET_ERROR_BUDGET, "%s: an image of %zu texels is too large", d->limits.name,
                         desc.width);
    }
    cl_int code;
    cl_mem image = o->cl.CreateImage(o->context, CL_MEM_READ_ONLY, &format, &desc, NULL, &code);
    if (code != CL_SUCCESS) return failed(o, code, "clCreateImage", err);
    b->image = image;
    return FACET_OK;
}

static facet_status buffer_write(gpu_device *d, const gpu_buffer *to, uint64_t at, const void *data, size_t n_bytes,
                                 facet_error *err) {
    opencl_device *o = own(d);
    cl_int code = o->cl.EnqueueWriteBuffer(o->queue, to->handle, CL_TRUE, (size_t)at, n_bytes, data, 0, NULL, NULL);
    return code == CL_SUCCESS ? FACET_OK : failed(o, code, "clEnqueueWriteBuffer", err);
}

static facet_status buffer_read(gpu_device *d, const gpu_buffer *from, uint64_t at, void *data, size_t n_bytes,
                                facet_error *err) {
    opencl_device *o = own(d);
    cl_int code = o->cl.EnqueueReadBuffer(o->queue, from->handle, CL_TRUE, (size_t)at, n_bytes, data, 0, NULL, NULL);
    return code == CL_SUCCESS ? FACET_OK : failed(o, code, "clEnqueueReadBuffer", err);
}

static facet_status copy(gpu_device *d, const gpu_buffer *to, uint64_t to_at, const gpu_buffer *from,
                         uint64_t from_at, uint64_t n_bytes, facet_error *err) {
    opencl_device *o = own(d);
    cl_int code = o->cl.EnqueueCopyBuffer(o->queue, from->handle, to->handle, (size_t)from_at, (size_t)to_at,
                                          (size_t)n_bytes, 0, NULL, NULL);
    return code == CL_SUCCESS ? FACET_OK : failed(o, code, "clEnqueueCopyBuffer", err);
}

/* ---- programs */

/* The first line of the compiler's log. */
static facet_status build_failed(const opencl_device *o, cl_program p, const char *name, cl_int code,
                                 facet_error *err) {
    char log[4096] = "", text[32];
    o->cl.GetProgramBuildInfo(p, o->id, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
    char *error = strstr(log, "error");
    char *line = error ? error : log;
    line[strcspn(line, "\n")] = '\0';
    return error_set(err, FACET_ERROR_STATE, "%s: cannot compile %s (%s): %s", o->base.limits.name, name,
                     opencl_error_name(code, text), line);
}

static cl_program from_cache(const opencl_device *o, const char *directory, const gpu_cache_key *key,
                             const char *options) {
    buffer binary;
    if (!gpu_cache_read(directory, key, &binary)) return NULL;
    const unsigned char *bytes = (const unsigned char *)binary.data;
    cl_int code, status = CL_SUCCESS;
    cl_program p = o->cl.CreateProgramWithBinary(o->context, 1, &o->id, &binary.n, &bytes, &status, &code);
    if (code == CL_SUCCESS && (status != CL_SUCCESS || o->cl.BuildProgram(p, 1, &o->id, options, NULL, NULL))) {
        o->cl.ReleaseProgram(p);
        code = status ? status : -1;
    }
    buffer_free(&binary);
    return code == CL_SUCCESS ? p : NULL;
}

static void to_cache(const opencl_device *o, cl_program p, const char *directory, const gpu_cache_key *key) {
    size_t n = 0;
    if (!directory || o->cl.GetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL) != CL_SUCCESS || n == 0) {
        return;
    }
    unsigned char *bytes = malloc(n);
    if (bytes && o->cl.GetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof bytes, &bytes, NULL) == CL_SUCCESS) {
        gpu_cache_write(directory, key, bytes, n);
    }
    free(bytes);
}

static facet_status compile(const opencl_device *o, const gpu_source *s, const char *options, cl_program *out,
                            facet_error *err) {
    cl_int code;
    const char **pieces = malloc(s->n_pieces * sizeof *pieces);
    if (!pieces) return error_memory(err, s->n_pieces * sizeof *pieces);
    for (size_t i = 0; i < s->n_pieces; i++) pieces[i] = s->pieces[i];
    cl_program p = o->cl.CreateProgramWithSource(o->context, (cl_uint)s->n_pieces, pieces, s->piece_bytes, &code);
    free(pieces);
    if (code != CL_SUCCESS) return failed(o, code, "clCreateProgramWithSource", err);
    code = o->cl.BuildProgram(p, 1, &o->id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        facet_status status = build_failed(o, p, s->name, code, err);
        o->cl.ReleaseProgram(p);
        return status;
    }
    *out = p;
    return FACET_OK;
}

static facet_status program_new(gpu_device *d, gpu_program **out, const gpu_source *source, const char *cache,
                                facet_error *err) {
    opencl_device *o = own(d);
    char options[1024];
    int n = snprintf(options, sizeof options, "-cl-std=CL1.2 %s%s", source->defines,
                     o->divide ? " -cl-fp32-correctly-rounded-divide-sqrt" : "");
    *out = NULL;
    if (n < 0 || (size_t)n >= sizeof options) return error_set(err, FACET_ERROR_INTERNAL, "too many definitions");
    gpu_program *p = calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p);
    if (d->limits.processor) cache = NULL; /* PoCL has a cache of its own, and its binaries are made for any group */
    gpu_cache_key key = gpu_cache_key_of(&d->limits, source, options);
    p->cl = from_cache(o, cache, &key, options);
    facet_status status = FACET_OK;
    if (!p->cl) {
        status = compile(o, source, options, &p->cl, err);
        if (status == FACET_OK) to_cache(o, p->cl, cache, &key);
    }
    if (status != FACET_OK)
        free(p);
    else
        *out = p;
    return status;
}

static void program_free(gpu_device *d, gpu_program *p) {
    if (!p) return;
    own(d)->cl.ReleaseProgram(p->cl);
    free(p);
}

static facet_status kernel_new(gpu_device *d, gpu_kernel **out, gpu_program *p, const char *name, facet_error *err) {
    opencl_device *o = own(d);
    *out = NULL;
    gpu_kernel *k = calloc(1, sizeof *k);
    if (!k) return error_memory(err, sizeof *k);
    cl_int code;
    k->cl = o->cl.CreateKernel(p->cl, name, &code);
    if (code != CL_SUCCESS) {
        free(k);
        return failed(o, code, name, err);
    }
    *out = k;
    return FACET_OK;
}

static void kernel_free(gpu_device *d, gpu_kernel *k) {
    if (!k) return;
    own(d)->cl.ReleaseKernel(k->cl);
    free(k);
}

static cl_int set_argument(const opencl_device *o, cl_kernel k, cl_uint i, const gpu_argument *a) {
    switch (a->type) {
    case GPU_BUFFER:
    case GPU_IMAGE: {
        cl_mem memory = a->type == GPU_IMAGE ? a->buffer->image : a->buffer->handle;
        return o->cl.SetKernelArg(k, i, sizeof memory, &memory);
    }
    case GPU_INT: return o->cl.SetKernelArg(k, i, sizeof a->i, &a->i);
    case GPU_FLOAT: return o->cl.SetKernelArg(k, i, sizeof a->f, &a->f);
    case GPU_WIDE: break;
    }
    return o->cl.SetKernelArg(k, i, sizeof a->wide, &a->wide);
}

static facet_status launch(gpu_device *d, gpu_kernel *k, size_t groups_x, size_t groups_y, size_t group,
                           const gpu_argument *arguments, size_t n_arguments, facet_error *err) {
    opencl_device *o = own(d);
    for (size_t i = 0; i < n_arguments; i++) {
        cl_int code = set_argument(o, k->cl, (cl_uint)i, &arguments[i]);
        if (code != CL_SUCCESS) return failed(o, code, "clSetKernelArg", err);
    }
    size_t global[2] = {groups_x * group, groups_y}, local[2] = {group, 1};
    cl_int code = o->cl.EnqueueNDRangeKernel(o->queue, k->cl, 2, NULL, global, local, 0, NULL, NULL);
    return code == CL_SUCCESS ? FACET_OK : failed(o, code, "clEnqueueNDRangeKernel", err);
}

static const gpu_driver driver = {
    .close = device_close,
    .buffer_new = buffer_new,
    .buffer_free = buffer_release,
    .image_new = image_new,
    .image_free = image_free,
    .write = buffer_write,
    .read = buffer_read,
    .copy = copy,
    .program_new = program_new,
    .program_free = program_free,
    .kernel_new = kernel_new,
    .kernel_free = kernel_free,
    .launch = launch,
};

facet_status opencl_device_open(gpu_device **out, size_t index, facet_error *err) {
    *out = NULL;
    opencl_device *o = calloc(1, sizeof *o);
    if (!o) return error_memory(err, sizeof *o);
    o->base.driver = &driver;
    facet_status status = opencl_api_open(&o->cl, err);
    if (status == FACET_OK) status = find_device(o, index, err);
    if (status == FACET_OK) status = probe(o, err);
    if (status == FACET_OK) status = open_queue(o, err);
    if (status != FACET_OK)
        device_close(&o->base);
    else
        *out = &o->base;
    return status;
}
