/* Making a table: the reference everywhere, then what the machine has and the caller allows, each kernel only after
 * it gave the reference's bits on fixed inputs. */
#include <stdlib.h>

#include "cpu/registry.h"

/* Quantised inputs are packed from this many tokens on, where there is a kernel for packed inputs: sooner when every
 * format of the kind has one for few tokens; later when every one of these has one for some tokens as they lie. */
enum { PACKED_MIN = 6, PACKED_MIN_FEW = 2, PACKED_MIN_ROWS = CPU_ROWS_TOKENS + 1 };

static size_t packed_min(const cpu_table *cpu, cpu_input kind) {
    bool any = false, all_few = true, all_rows = true;
    for (int type = 0; type < QUANT_N_TYPES; type++) {
        if (cpu_input_for(cpu, (quant_type)type) != kind) continue;
        any |= cpu->gemm[type] || cpu->few[type];
        all_few &= cpu->few[type] != NULL;
        all_rows &= cpu->rows[type] != NULL;
    }
    if (!any) return cpu->packed_min[kind];
    return !all_few ? PACKED_MIN : all_rows ? PACKED_MIN_ROWS : PACKED_MIN_FEW;
}

static void choose_layouts(cpu_table *cpu) {
    cpu->packed_min[CPU_INPUT_Q8_256] = packed_min(cpu, CPU_INPUT_Q8_256);
    cpu->packed_min[CPU_INPUT_Q8_32] = packed_min(cpu, CPU_INPUT_Q8_32);
}

facet_status cpu_table_new(cpu_table **out, uint32_t allowed, uint32_t *used, facet_error *err) {
    *out = NULL;
    cpu_table *cpu = malloc(sizeof *cpu);
    if (!cpu) return error_memory(err, sizeof *cpu);
    cpu_table reference;
    cpu_table_reference(&reference);
    *cpu = reference;
    uint32_t sets = allowed & cpu_detect();
    size_t n;
    const cpu_kernel *kernels = cpu_kernels(&n);
    for (size_t i = 0; i < n; i++) {
        if (!(kernels[i].isa & sets)) continue;
        cpu_table candidate = *cpu;
        cpu_table_put(&candidate, kernels + i);
        if (!cpu_check(&reference, &candidate, kernels[i].member)) continue;
        *cpu = candidate;
        cpu->used |= kernels[i].isa;
    }
    choose_layouts(cpu);
    if (used) *used = cpu->used;
    *out = cpu;
    return FACET_OK;
}

void cpu_table_free(cpu_table *cpu) { free(cpu); }
