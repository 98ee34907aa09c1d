/* What the tests through the OpenCL layer share. */
#ifndef FACET_TESTS_OPENCL_LAYER_H
#define FACET_TESTS_OPENCL_LAYER_H

#include "device_support.h"
#include "fake_opencl/fake_opencl.h"
#include "os/library.h"

static fake_opencl_control *find_layer(void) {
    static const char *const names[] = {"libOpenCL.so.1", NULL};
    os_library *library = os_library_open(names);
    fake_opencl_fn fn = library ? (fake_opencl_fn)os_library_find(library, "fake_opencl_layer") : NULL;
    if (!fn) print_message("the layer is not in LD_LIBRARY_PATH\n");
    return fn ? fn() : NULL; /* the library stays open, as the loader does */
}

static void look(void *ctx, const facet_device *d) {
    bool *usable = ctx;
    if (strcmp(d->kind, "opencl") == 0 && d->index == 0) *usable = !d->problem;
}

static void ask(void) {
    bool usable;
    facet_device_list(look, &usable);
}

/* The layer as it is at first. Asks once, in another process first. */
static fake_opencl_control *layer_or_skip(void) {
    static bool asked, usable;
    fake_opencl_control *layer = find_layer();
    if (layer && !asked && test_survives(ask)) facet_device_list(look, &usable);
    asked = true;
    if (!usable) skip();
    assert_int_equal(layer->n_objects, 0); /* whatever became of the engine before, the driver has all back */
    *layer = (fake_opencl_control){.until_failure = -1};
    return layer;
}

/* A kernel that the self-test finds wrong, and that has no other way: the CPU computes. */
static void assert_given_up(fake_opencl_control *layer, const char *model, const char *from, const char *to,
                            const char *what) {
    device_run run = {.model = model, .device = "opencl", .n_layers = -1, .n = 3};
    layer->from = from;
    layer->to = to;
    layer->n_replaced = 0;
    device_result r = device_logits(&run);
    if (r.n_device_layers || !strstr(r.log, what)) print_message("%s: %s\n", what, r.log);
    assert_true(layer->n_replaced > 0);
    assert_int_equal(r.n_device_layers, 0);
    assert_non_null(strstr(r.log, "the CPU computes"));
    assert_non_null(strstr(r.log, what));
    free(r.logits);
}

#endif
