/* Tests on the fake CUDA driver (fake_cuda/): the environment that ctest sets lets it be found before a real one. */
#ifndef FACET_TESTS_FAKE_CUDA_SUPPORT_H
#define FACET_TESTS_FAKE_CUDA_SUPPORT_H

#include <stdlib.h>
#include <string.h>

#include "fake_cuda/fake_cuda.h"
#include "os/library.h"
#include "support.h"

typedef void (*fake_cuda_fail_fn)(long n);
typedef void (*fake_cuda_set_fn)(unsigned value);
typedef void (*fake_cuda_refuse_fn)(bool graphs, bool pins);
typedef fake_cuda_counts (*fake_cuda_count_fn)(void);
typedef size_t (*fake_cuda_runs_fn)(const char *kernel);

/* One of the driver's own switches (fake_cuda/driver.c); NULL where it is not the fake one. It stays open, as a
 * driver does. */
static inline os_function fake_cuda_switch(const char *name) {
    static const char *const names[] = {"libcuda.so.1", NULL};
    os_library *library = os_library_open(names);
    os_function fn = library ? os_library_find(library, name) : NULL;
    if (!fn) print_message("the fake driver is not in LD_LIBRARY_PATH\n");
    return fn;
}

static inline bool fake_cuda_there(void) { return fake_cuda_switch("fake_cuda_fail") != NULL; }

/* The next call fails after n good ones, -1: never. */
static inline void fake_cuda_fail(long n) { ((fake_cuda_fail_fn)fake_cuda_switch("fake_cuda_fail"))(n); }
static inline void fake_cuda_set(const char *name, unsigned value) {
    ((fake_cuda_set_fn)fake_cuda_switch(name))(value);
}

static inline void fake_cuda_refuse(bool graphs, bool pins) {
    ((fake_cuda_refuse_fn)fake_cuda_switch("fake_cuda_refuse"))(graphs, pins);
}
/* Since the last call. */
static inline fake_cuda_counts fake_cuda_count(void) {
    return ((fake_cuda_count_fn)fake_cuda_switch("fake_cuda_count"))();
}
static inline size_t fake_cuda_runs(const char *kernel) {
    return ((fake_cuda_runs_fn)fake_cuda_switch("fake_cuda_runs"))(kernel);
}

/* Begins a test on a driver that is well. */
static inline void fake_cuda_or_skip(void) {
    if (!fake_cuda_there()) skip();
    fake_cuda_fail(-1);
}

#endif
