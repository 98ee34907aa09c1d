/* Rows of 32 blocks times a few tokens, AVX-512 with VNNI. */
#include "cpu/x86/vnni_avx512.h"

#include "cpu/x86/few_dots_vnni.h"

#include "cpu/x86/few_32.h"
