/* Attention for NEON: tmpl/attend.h in four registers. */
#include "cpu/arm/lanes_neon.h"

#include "cpu/tmpl/attend.h"
