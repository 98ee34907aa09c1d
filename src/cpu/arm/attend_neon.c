/* Attention for NEON: tmpl/attend.h in four registers. */
#include "cpu/arm/lanes_neon.h"

enum { TILE_QUERIES = 2, TILE_KEYS = 3, VALUES = 4, VALUE_LANES = 1 };
#include "cpu/tmpl/attend.h"
