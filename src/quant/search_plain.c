/* The searches' loops for any machine, and the choice among the builds of them. See search.h. */
#include "quant/search.h"

#define SEARCH_WIDTH 4
#define SEARCH_TABLE search_kernels_plain
#include "quant/tmpl/search_loops.h"

const search_kernels *search_choose(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni"))
        return &search_kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &search_kernels_avx2;
#endif
    return &search_kernels_plain;
}
