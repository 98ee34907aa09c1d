/* The searches' loops with vectors of 16 floats. See search.h. */
#define SEARCH_WIDTH 16
#define SEARCH_TABLE search_kernels_avx512
#include "quant/tmpl/search_loops.h"
