/* The searches' loops with vectors of 8 floats. See search.h. */
#define SEARCH_WIDTH 8
#define SEARCH_TABLE search_kernels_avx2
#include "quant/tmpl/search_loops.h"
