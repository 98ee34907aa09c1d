/* Many tokens times rows of 256 blocks, AVX-512 with VNNI. */
#include "cpu/x86/vnni_avx512.h"

#include "cpu/x86/gemm_256_vnni.h"
