/* Many tokens times rows of 32 blocks, AVX-VNNI. */
#include "cpu/x86/vnni_avxvnni.h"

#include "cpu/x86/gemm_32_vnni.h"
