/* Many tokens times rows of 32 blocks for NEON with dot product. */
#include "cpu/arm/panels_neon.h"

#include "cpu/arm/gemm_32.h"
