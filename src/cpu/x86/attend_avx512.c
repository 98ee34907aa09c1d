/* Attention for AVX-512: tmpl/attend.h in one register. */
#include "cpu/x86/lanes_avx512.h"

enum { TILE_QUERIES = 8, TILE_KEYS = 3, VALUES = 8, VALUE_LANES = 2 };
#include "cpu/tmpl/attend.h"
