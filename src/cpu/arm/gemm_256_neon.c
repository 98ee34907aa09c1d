/* Many tokens times rows of 256 blocks for NEON with dot product. */
#include "cpu/arm/panels_neon.h"

#include "cpu/arm/gemm_256.h"
