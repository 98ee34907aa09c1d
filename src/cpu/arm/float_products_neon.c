/* Products with float weights for NEON: tmpl/float_products.h in four registers. */
#include "cpu/arm/lanes_neon.h"

#include "cpu/tmpl/float_products.h"
