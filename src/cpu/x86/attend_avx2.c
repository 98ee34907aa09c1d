/* Attention for AVX2: tmpl/attend.h in two registers. */
#include "cpu/x86/lanes_avx2.h"

#include "cpu/tmpl/attend.h"
