/* Rows of 32 blocks times a few tokens, AVX2. */
#include "cpu/x86/few_dots_avx2.h"

#include "cpu/x86/few_32.h"
