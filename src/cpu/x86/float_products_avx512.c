/* Products with float weights for AVX-512: tmpl/float_products.h in one register. */
#include "cpu/x86/lanes_avx512.h"

#include "cpu/tmpl/float_products.h"
