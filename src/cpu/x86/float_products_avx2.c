/* Products with float weights for AVX2: tmpl/float_products.h in two registers. */
#include "cpu/x86/lanes_avx2.h"

#include "cpu/tmpl/float_products.h"
