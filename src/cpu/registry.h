/* The declarations of all kernels, from kernels.def. */
#ifndef FACET_CPU_REGISTRY_H
#define FACET_CPU_REGISTRY_H

#include "cpu/table.h"

#define KERNEL(isa, member, name) extern __typeof__(*((cpu_table *)0)->member) name;
#define GEMM(isa, member, name)   extern const cpu_gemm name;
#include "cpu/kernels.def"
#undef KERNEL
#undef GEMM

#endif
