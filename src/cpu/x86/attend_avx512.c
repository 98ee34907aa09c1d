/* Attention for AVX-512: tmpl/attend.h in one register. */
#include "cpu/x86/lanes_avx512.h"

#include "cpu/tmpl/attend.h"
