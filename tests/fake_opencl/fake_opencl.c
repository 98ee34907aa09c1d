/* An OpenCL layer for tests: libOpenCL.so.1 by name, found through LD_LIBRARY_PATH, which hands every call on to the
 * real loader and changes what fake_opencl.h lets a test change. So all of facet's own OpenCL code runs against
 * devices that nobody has at hand. */
#include "fake_opencl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/opencl/api.h"

#define EXPORT __attribute__((visibility("default")))
enum { OUT_OF_RESOURCES = -5, NO_MEMORY = -4, MAX_BUFFERS = 4096 };

static fake_opencl_control fake_opencl = {.until_failure = -1};
EXPORT fake_opencl_control *fake_opencl_layer(void);
fake_opencl_control *fake_opencl_layer(void) { return &fake_opencl; }

/* A driver's state is global by nature. */
static struct {
    opencl_api cl;
    bool open;
    struct {
        cl_mem memory;
        uint64_t n_bytes;
    } buffers[MAX_BUFFERS];
} own;

static const opencl_api *real(void) {
    if (own.open) return &own.cl;
    static const char *const names[] = {REAL_OPENCL, NULL};
    own.cl.library = os_library_open(names);
    if (!own.cl.library) abort();
#define X(name, result, arguments) own.cl.name = (result(*) arguments)os_library_find(own.cl.library, "cl" #name);
    OPENCL_FUNCTIONS(X)
#undef X
    own.open = true;
    return &own.cl;
}

static bool fails(const char *function) {
    fake_opencl_control *c = &fake_opencl;
    if (c->lost) return true;
    if (c->until_failure < 0 || (c->failing && strcmp(c->failing, function) != 0)) return false;
    if (c->until_failure-- > 0) return false;
    c->lost = c->stays_lost;
    return true;
}

#define CL(name, result, parameters)                                                                                 \
    EXPORT result cl##name parameters;                                                                               \
    result cl##name parameters
/* A call that is handed on as it is. */
#define HAND_ON(name, parameters, values)                                                                            \
    CL(name, cl_int, parameters) { return fails(#name) ? OUT_OF_RESOURCES : real()->name values; }
#define RELEASE(name, type)                                                                                          \
    CL(Release##name, cl_int, (type object)) {                                                                       \
        fake_opencl.n_objects--;                                                                                     \
        return real()->Release##name(object);                                                                        \
    }
/* The object that a call made, unless the call fails. */
#define MADE(name, values)                                                                                           \
    if (fails(#name)) return *code = OUT_OF_RESOURCES, NULL;                                                         \
    return count(real()->name values)

static void *count(void *object) {
    if (object) fake_opencl.n_objects++;
    return object;
}

/* ---- what the device says of itself */

HAND_ON(GetPlatformIDs, (cl_uint n, cl_platform_id *out, cl_uint *n_out), (n, out, n_out))
HAND_ON(GetPlatformInfo, (cl_platform_id p, cl_uint what, size_t n, void *out, size_t *n_out),
        (p, what, n, out, n_out))
HAND_ON(GetDeviceIDs, (cl_platform_id p, cl_bitfield type, cl_uint n, cl_device_id *out, cl_uint *n_out),
        (p, type, n, out, n_out))

static cl_int say(const void *value, size_t n_value, size_t n, void *out, size_t *n_out) {
    if (out) memcpy(out, value, n < n_value ? n : n_value);
    if (n_out) *n_out = n_value;
    return CL_SUCCESS;
}

static cl_int say_extensions(cl_device_id id, size_t n, void *out, size_t *n_out) {
    char text[4096] = "";
    real()->GetDeviceInfo(id, CL_DEVICE_EXTENSIONS, sizeof text / 2, text, NULL);
    snprintf(text + strlen(text), sizeof text / 2, " %s", fake_opencl.extensions);
    return say(text, strlen(text) + 1, n, out, n_out);
}

CL(GetDeviceInfo, cl_int, (cl_device_id id, cl_uint what, size_t n, void *out, size_t *n_out)) {
    const fake_opencl_control *c = &fake_opencl;
    const char *text = what == CL_DEVICE_NAME ? c->name : what == CL_DEVICE_VENDOR ? c->vendor : NULL;
    bool memory = what == CL_DEVICE_GLOBAL_MEM_SIZE || what == CL_DEVICE_MAX_MEM_ALLOC_SIZE;
    size_t texels = (size_t)c->image_texels;
    if (fails("GetDeviceInfo")) return OUT_OF_RESOURCES;
    if (text) return say(text, strlen(text) + 1, n, out, n_out);
    if (memory && c->memory_bytes) return say(&c->memory_bytes, sizeof c->memory_bytes, n, out, n_out);
    if (what == CL_DEVICE_IMAGE_MAX_BUFFER_SIZE && texels) return say(&texels, sizeof texels, n, out, n_out);
    if (what == CL_DEVICE_EXTENSIONS && c->extensions) return say_extensions(id, n, out, n_out);
    return real()->GetDeviceInfo(id, what, n, out, n_out);
}

/* ---- context, queue, memory */

CL(CreateContext, cl_context,
   (const intptr_t *properties, cl_uint n, const cl_device_id *ids,
    void (*notify)(const char *, const void *, size_t, void *), void *ctx, cl_int *code)) {
    MADE(CreateContext, (properties, n, ids, notify, ctx, code));
}
CL(CreateCommandQueue, cl_command_queue,
   (cl_context context, cl_device_id id, cl_bitfield properties, cl_int *code)) {
    MADE(CreateCommandQueue, (context, id, properties, code));
}
RELEASE(Context, cl_context)
RELEASE(CommandQueue, cl_command_queue)

static void note_buffer(cl_mem memory, uint64_t n_bytes) {
    for (size_t i = 0; i < MAX_BUFFERS && memory; i++) {
        if (own.buffers[i].memory) continue;
        own.buffers[i].memory = memory;
        own.buffers[i].n_bytes = n_bytes;
        fake_opencl.n_bytes += n_bytes;
        return;
    }
}

CL(CreateBuffer, cl_mem, (cl_context context, cl_bitfield flags, size_t n, void *host, cl_int *code)) {
    uint64_t most = fake_opencl.memory_bytes;
    if (fails("CreateBuffer") || (most && fake_opencl.n_bytes + n > most)) return *code = NO_MEMORY, NULL;
    cl_mem memory = count(real()->CreateBuffer(context, flags, n, host, code));
    note_buffer(memory, n);
    return memory;
}

CL(CreateImage, cl_mem,
   (cl_context context, cl_bitfield flags, const cl_image_format *format, const cl_image_desc *desc, void *host,
    cl_int *code)) {
    fake_opencl.n_images++;
    MADE(CreateImage, (context, flags, format, desc, host, code));
}

CL(ReleaseMemObject, cl_int, (cl_mem memory)) {
    fake_opencl.n_objects--;
    for (size_t i = 0; i < MAX_BUFFERS; i++) {
        if (own.buffers[i].memory != memory) continue;
        own.buffers[i].memory = NULL;
        fake_opencl.n_bytes -= own.buffers[i].n_bytes;
        break;
    }
    return real()->ReleaseMemObject(memory);
}

/* ---- programs */

typedef struct growing {
    char *text;
    size_t n;
} growing;

static void append(growing *g, const char *text, size_t n) {
    g->text = realloc(g->text, g->n + n + 1);
    if (!g->text) abort();
    memcpy(g->text + g->n, text, n);
    g->n += n;
    g->text[g->n] = '\0';
}

static growing replace(const growing *in, const char *from, const char *to) {
    growing out = {0};
    const char *at = in->text, *found;
    while ((found = strstr(at, from)) != NULL) {
        append(&out, at, (size_t)(found - at));
        append(&out, to, strlen(to));
        at = found + strlen(from);
        fake_opencl.n_replaced++;
    }
    append(&out, at, strlen(at));
    return out;
}

CL(CreateProgramWithSource, cl_program,
   (cl_context context, cl_uint n, const char **pieces, const size_t *sizes, cl_int *code)) {
    const fake_opencl_control *c = &fake_opencl;
    if (fails("CreateProgramWithSource")) return *code = OUT_OF_RESOURCES, NULL;
    growing all = {0};
    if (c->prefix) append(&all, c->prefix, strlen(c->prefix));
    for (cl_uint i = 0; i < n; i++) append(&all, pieces[i], sizes[i]);
    growing changed = replace(&all, c->from ? c->from : "\f", c->from ? c->to : "");
    const char *text = changed.text;
    cl_program p = count(real()->CreateProgramWithSource(context, 1, &text, &changed.n, code));
    free(all.text);
    free(changed.text);
    return p;
}
CL(CreateProgramWithBinary, cl_program,
   (cl_context context, cl_uint n, const cl_device_id *ids, const size_t *sizes, const unsigned char **binaries,
    cl_int *status, cl_int *code)) {
    MADE(CreateProgramWithBinary, (context, n, ids, sizes, binaries, status, code));
}
HAND_ON(BuildProgram,
        (cl_program p, cl_uint n, const cl_device_id *ids, const char *options, void (*notify)(cl_program, void *),
         void *ctx),
        (p, n, ids, options, notify, ctx))
HAND_ON(GetProgramInfo, (cl_program p, cl_uint what, size_t n, void *out, size_t *n_out), (p, what, n, out, n_out))
HAND_ON(GetProgramBuildInfo, (cl_program p, cl_device_id id, cl_uint what, size_t n, void *out, size_t *n_out),
        (p, id, what, n, out, n_out))
RELEASE(Program, cl_program)
CL(CreateKernel, cl_kernel, (cl_program p, const char *name, cl_int *code)) { MADE(CreateKernel, (p, name, code)); }
HAND_ON(GetKernelWorkGroupInfo, (cl_kernel k, cl_device_id id, cl_uint what, size_t n, void *out, size_t *n_out),
        (k, id, what, n, out, n_out))
RELEASE(Kernel, cl_kernel)

/* ---- the queue */

HAND_ON(SetKernelArg, (cl_kernel k, cl_uint i, size_t n, const void *value), (k, i, n, value))
HAND_ON(EnqueueNDRangeKernel,
        (cl_command_queue q, cl_kernel k, cl_uint n, const size_t *offset, const size_t *global, const size_t *local,
         cl_uint n_events, const cl_event *events, cl_event *event),
        (q, k, n, offset, global, local, n_events, events, event))
HAND_ON(EnqueueReadBuffer,
        (cl_command_queue q, cl_mem m, cl_bool wait, size_t at, size_t n, void *out, cl_uint n_events,
         const cl_event *events, cl_event *event),
        (q, m, wait, at, n, out, n_events, events, event))
HAND_ON(EnqueueWriteBuffer,
        (cl_command_queue q, cl_mem m, cl_bool wait, size_t at, size_t n, const void *in, cl_uint n_events,
         const cl_event *events, cl_event *event),
        (q, m, wait, at, n, in, n_events, events, event))
HAND_ON(EnqueueCopyBuffer,
        (cl_command_queue q, cl_mem from, cl_mem to, size_t from_at, size_t to_at, size_t n, cl_uint n_events,
         const cl_event *events, cl_event *event),
        (q, from, to, from_at, to_at, n, n_events, events, event))
HAND_ON(Finish, (cl_command_queue q), (q))
