/* What a test can do to the OpenCL layer between facet and a real loader: let a device say that it is another one,
 * hold less memory, miscompile, or fail. */
#ifndef FACET_TESTS_FAKE_OPENCL_H
#define FACET_TESTS_FAKE_OPENCL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct fake_opencl_control {
    const char *name, *vendor; /* of the device; NULL: its own */
    const char *extensions;    /* beside its own */
    uint64_t memory_bytes;     /* 0: its own; also what buffers may take together */
    uint64_t image_texels;     /* 0: its own */
    const char *prefix;        /* text in front of every program */
    const char *from, *to;     /* replaced in the text of every program */
    const char *failing;       /* the function that fails, NULL: any */
    long until_failure;        /* its calls that still work; -1: it never fails */
    bool stays_lost;           /* all calls fail from then on, as those of a lost device do */
    bool lost;
    /* what the layer saw */
    long n_objects; /* made and not released */
    long n_images;  /* made so far */
    long n_replaced;
    uint64_t n_bytes; /* of buffers at present */
} fake_opencl_control;

/* Found in the library by its name. */
typedef fake_opencl_control *(*fake_opencl_fn)(void);

#endif
