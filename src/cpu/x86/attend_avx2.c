/* Attention for AVX2: tmpl/attend.h in two registers. */
#include "cpu/x86/lanes_avx2.h"

enum { TILE_QUERIES = 2, TILE_KEYS = 3, VALUES = 4, VALUE_LANES = 1 };
#include "cpu/tmpl/attend.h"
