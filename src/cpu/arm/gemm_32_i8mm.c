/* Many tokens times rows of 32 blocks for NEON with products of 8-bit matrices. */
#include "cpu/arm/panels_i8mm.h"

#include "cpu/arm/gemm_32.h"
