/* A device that computes: buffers in its memory, programs from source, launches. Owns: what all kinds of devices have
 * in common. opencl/ and cuda/ are the kinds; neither they nor this know anything of models.
 *
 * A device has one user at a time. Launches, copies and writes are carried out in the order in which they were asked
 * for; `write` has taken its bytes when it returns, `read` returns once everything before it is done. Every function
 * that fails leaves the device as it was, as far as the driver allows; nothing ever ends the process. */
#ifndef FACET_BACKEND_GPU_DEVICE_H
#define FACET_BACKEND_GPU_DEVICE_H

#include "base/error.h"

typedef struct gpu_device gpu_device;
typedef struct gpu_program gpu_program;
typedef struct gpu_kernel gpu_kernel;

/* Memory of a device. All zeros: none. */
typedef struct gpu_buffer {
    void *handle;
    void *image; /* the same memory, read in another way; NULL: there is none */
    uint64_t n_bytes;
} gpu_buffer;

typedef struct gpu_limits {
    const char *kind;  /* "opencl", "cuda" */
    char name[128];    /* of the device */
    char version[192]; /* of the driver and what it is made of: part of what programs are cached by */
    uint64_t memory_bytes;
    uint64_t buffer_bytes; /* the largest buffer */
    size_t group;          /* work items of a group at most */
    size_t local_bytes;    /* memory of a group */
    bool processor;        /* the device is the host's processor */
    bool dot;              /* it says that it has inner products of packed bytes */
    uint64_t image_texels; /* of an image over a buffer at most; 0: there are none, or they are no faster */
    bool warps;            /* runs CUDA C: threads of a group exchange values in 32s */
    size_t processors;     /* what runs groups side by side, where it is known */
} gpu_limits;

typedef enum gpu_argument_type { GPU_BUFFER, GPU_IMAGE, GPU_INT, GPU_FLOAT, GPU_WIDE } gpu_argument_type;
typedef struct gpu_argument {
    gpu_argument_type type;
    union {
        const gpu_buffer *buffer;
        int32_t i;
        float f;
        uint64_t wide;
    };
} gpu_argument;

static inline gpu_argument gpu_arg_buffer(const gpu_buffer *b) { return (gpu_argument){GPU_BUFFER, {.buffer = b}}; }
static inline gpu_argument gpu_arg_image(const gpu_buffer *b) { return (gpu_argument){GPU_IMAGE, {.buffer = b}}; }
static inline gpu_argument gpu_arg_int(int64_t i) { return (gpu_argument){GPU_INT, {.i = (int32_t)i}}; }
static inline gpu_argument gpu_arg_float(float f) { return (gpu_argument){GPU_FLOAT, {.f = f}}; }
static inline gpu_argument gpu_arg_wide(uint64_t wide) { return (gpu_argument){GPU_WIDE, {.wide = wide}}; }

/* The text of a program: pieces one behind the other, after `defines` ("-DNAME=VALUE ..."). */
typedef struct gpu_source {
    const char *name; /* for messages */
    const char *defines;
    const char *const *pieces;
    const size_t *piece_bytes;
    size_t n_pieces;
} gpu_source;

/* What a kind of device implements. */
typedef struct gpu_driver {
    void (*close)(gpu_device *d);
    facet_status (*buffer_new)(gpu_device *d, gpu_buffer *out, uint64_t n_bytes, facet_error *err);
    void (*buffer_free)(gpu_device *d, gpu_buffer *b);
    /* b->image: its bytes in texels of `texel_words` words, 1 or 4. No copy. Where image_texels is 0: NULL. */
    facet_status (*image_new)(gpu_device *d, gpu_buffer *b, size_t texel_words, facet_error *err);
    void (*image_free)(gpu_device *d, gpu_buffer *b);
    facet_status (*write)(gpu_device *d, const gpu_buffer *to, uint64_t at, const void *data, size_t n_bytes,
                          facet_error *err);
    /* Writing without a copy: `stage` gives room of at least n_bytes, `send` writes what was put there, before the
     * next `stage`. The device copies one room while the next is filled. NULL, both: `write` does as well. */
    facet_status (*stage)(gpu_device *d, size_t n_bytes, void **out, facet_error *err);
    facet_status (*send)(gpu_device *d, const gpu_buffer *to, uint64_t at, facet_error *err);
    facet_status (*read)(gpu_device *d, const gpu_buffer *from, uint64_t at, void *data, size_t n_bytes,
                         facet_error *err);
    facet_status (*copy)(gpu_device *d, const gpu_buffer *to, uint64_t to_at, const gpu_buffer *from,
                         uint64_t from_at, uint64_t n_bytes, facet_error *err);
    /* cache: a directory for compiled programs, or NULL. */
    facet_status (*program_new)(gpu_device *d, gpu_program **out, const gpu_source *source, const char *cache,
                                facet_error *err);
    void (*program_free)(gpu_device *d, gpu_program *p);
    facet_status (*kernel_new)(gpu_device *d, gpu_kernel **out, gpu_program *p, const char *name, facet_error *err);
    void (*kernel_free)(gpu_device *d, gpu_kernel *k);
    /* groups_x times groups_y groups of `group` work items. */
    facet_status (*launch)(gpu_device *d, gpu_kernel *k, size_t groups_x, size_t groups_y, size_t group,
                           const gpu_argument *arguments, size_t n_arguments, facet_error *err);
    /* The launches between these two are a step: most likely the same come again. They may all be carried out at the
     * end; nothing but launches and programs is asked for in between. NULL, both: the kind makes nothing of it. */
    void (*begin)(gpu_device *d);
    facet_status (*end)(gpu_device *d, facet_error *err);
} gpu_driver;

/* The beginning of every kind's own struct. */
struct gpu_device {
    const gpu_driver *driver;
    gpu_limits limits;
};

/* The kinds. `index` counts the devices of a kind; FACET_ERROR_UNSUPPORTED: there is none, and why. */
facet_status opencl_device_open(gpu_device **out, size_t index, facet_error *err);
facet_status cuda_device_open(gpu_device **out, size_t index, facet_error *err);

#endif
