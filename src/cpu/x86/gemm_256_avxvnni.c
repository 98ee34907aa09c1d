/* Many tokens times rows of 256 blocks, AVX-VNNI. */
#include "cpu/x86/vnni_avxvnni.h"

#include "cpu/x86/gemm_256_vnni.h"
