/* What tests ask of the fake CUDA driver, found by name in the library: how it fails, what it was asked for. */
#ifndef FACET_TESTS_FAKE_CUDA_H
#define FACET_TESTS_FAKE_CUDA_H

#include <stddef.h>

/* Since the last time they were asked for. */
typedef struct fake_cuda_counts {
    size_t launches;       /* one by one */
    size_t graphs;         /* that were made */
    size_t updates;        /* of launches in graphs */
    size_t graph_launches; /* of whole graphs */
} fake_cuda_counts;

/* fake_cuda_count; fake_cuda_runs: how often kernels of a name (NULL: all) ran so far, in graphs or not. */

#endif
