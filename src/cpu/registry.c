/* The list of all kernels, from kernels.def, and putting one into a table. */
#include "cpu/registry.h"

#include <string.h>

#define KERNEL(set, place, kernel)                                                                                   \
    {.name = #kernel, .isa = FACET_CPU_##set, .member = offsetof(cpu_table, place), .value.fn = (cpu_any_fn *)kernel},
#define GEMM(set, place, kernel)                                                                                     \
    {.name = #kernel, .isa = FACET_CPU_##set, .member = offsetof(cpu_table, place), .value.data = &kernel},
static const cpu_kernel kernels[] = {
#include "cpu/kernels.def"
};

const cpu_kernel *cpu_kernels(size_t *n) {
    *n = sizeof kernels / sizeof kernels[0];
    return kernels;
}

void cpu_table_put(cpu_table *cpu, const cpu_kernel *kernel) {
    memcpy((char *)cpu + kernel->member, &kernel->value, sizeof(cpu_any_fn *));
}

void cpu_table_reference(cpu_table *cpu) {
    *cpu = (cpu_table){0};
    for (int kind = 0; kind < CPU_N_INPUTS; kind++) cpu->packed_min[kind] = SIZE_MAX;
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        if (kernels[i].isa == FACET_CPU_REFERENCE) cpu_table_put(cpu, kernels + i);
    }
}
