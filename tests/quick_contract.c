/* The numeric contract's rules 1 and 2 against bits made by an independent program: every product of the golden file,
 * through the whole of cpu.h, for the reference and for every set of kernels that this machine has; alone and as one
 * of many tokens, for any split of the rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/table.h"
#include "support.h"

enum { N_COLS = 2304, N_ROWS = 8, MAX_TOKENS = 33, LDX = N_COLS + 5, LDO = N_ROWS + 3 };

static const uint32_t isa_sets[] = {
    FACET_CPU_REFERENCE,
    FACET_CPU_AVX2,
    FACET_CPU_AVX2 | FACET_CPU_AVXVNNI,
    FACET_CPU_AVX2 | FACET_CPU_AVX512,
    FACET_CPU_NEON,
    FACET_CPU_NEON | FACET_CPU_I8MM,
    FACET_CPU_ALL,
};

static golden g;
static int open_golden(void **state) {
    (void)state;
    g = golden_open("golden/contract.golden.gguf");
    return 0;
}
static int close_golden(void **state) {
    (void)state;
    golden_close(&g);
    return 0;
}

typedef struct run {
    const cpu_table *cpu;
    matrix w;
    const float *want[2]; /* for x and x2 */
    float *x;             /* [3][LDX]: x, x2, and numbers that no token has */
    void *input, *scratch;
    float out[MAX_TOKENS * LDO];
} run;

/* Token t is x or x2. */
static int which(size_t t, size_t n) { return (int)((t * 7 + n) % 3 == 0); }

static void check_result(const run *r, size_t n, const char *what) {
    for (size_t t = 0; t < n; t++) {
        const float *want = r->want[which(t, n)], *got = r->out + t * LDO;
        if (memcmp(want, got, N_ROWS * sizeof *got) != 0)
            fail_msg("%s: %s, token %zu of %zu: %a not %a", r->w.format->name, what, t, n, (double)got[0],
                     (double)want[0]);
    }
}

static void check_batch(run *r, size_t n) {
    cpu_input kind = cpu_input_for(r->cpu, r->w.format->type);
    uint32_t index[MAX_TOKENS];
    for (size_t t = 0; t < n; t++) index[t] = (uint32_t)which(t, n);
    size_t grain = cpu_input_grain(r->cpu, kind, n);
    assert_int_equal(cpu_input_bytes(r->cpu, kind, N_COLS, n) % 64, 0);
    for (size_t t = (n - 1) / grain * grain + grain; t > 0; t -= grain) /* groups in any order */
        cpu_input_prepare(r->cpu, kind, r->x, LDX, index, N_COLS, n, t - grain, t < n ? t : n, r->input);

    memset(r->out, 0, sizeof r->out);
    cpu_matmul(r->cpu, &r->w, 0, N_ROWS, r->input, n, r->out, LDO, r->scratch);
    check_result(r, n, "whole");
    for (size_t split = 1; split < N_ROWS; split += 2) {
        memset(r->out, 0, sizeof r->out);
        cpu_matmul(r->cpu, &r->w, split, N_ROWS, r->input, n, r->out, LDO, r->scratch);
        for (size_t t = 0; t < n; t++) /* rows that were not asked for are not written */
            for (size_t i = 0; i < LDO; i++) assert_true((i >= split && i < N_ROWS) || r->out[t * LDO + i] == 0);
        cpu_matmul(r->cpu, &r->w, 0, split, r->input, n, r->out, LDO, r->scratch);
        check_result(r, n, "split");
    }
}

static void check_format(run *r, const char *name) {
    static const size_t sizes[] = {1, 2, 3, 5, 8, 17, 33};
    char y[40], y2[40];
    snprintf(y, sizeof y, "%s.y", name);
    snprintf(y2, sizeof y2, "%s.y2", name);
    const gguf_tensor *t = golden_tensor(&g, name);
    r->w = (matrix){.data = t->data,
                    .format = t->format,
                    .n_rows = N_ROWS,
                    .n_cols = N_COLS,
                    .row_bytes = (size_t)quant_row_bytes(t->format, N_COLS)};
    r->want[0] = golden_data(&g, y, NULL);
    r->want[1] = golden_data(&g, y2, NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) check_batch(r, sizes[i]);
}

static size_t largest_input(const cpu_table *cpu) {
    size_t bytes = 0;
    for (int kind = 0; kind < CPU_N_INPUTS; kind++) {
        for (size_t n = 1; n <= MAX_TOKENS; n++) {
            size_t b = cpu_input_bytes(cpu, (cpu_input)kind, N_COLS, n);
            if (b > bytes) bytes = b;
        }
    }
    return bytes;
}

static void check_set(uint32_t allowed) {
    facet_error error = {0};
    cpu_table *cpu;
    uint32_t used;
    assert_ok(cpu_table_new(&cpu, allowed, &used, &error), &error);
    assert_int_equal(used & ~(allowed & cpu_detect()), 0);
    run r = {.cpu = cpu};
    r.x = malloc(3 * LDX * sizeof(float));
    r.input = aligned_alloc(64, largest_input(cpu));
    r.scratch = aligned_alloc(64, cpu_scratch_bytes(cpu, N_COLS));
    for (size_t i = 0; i < 3 * LDX; i++) r.x[i] = 1e30f;
    memcpy(r.x, golden_data(&g, "x", NULL), N_COLS * sizeof(float));
    memcpy(r.x + LDX, golden_data(&g, "x2", NULL), N_COLS * sizeof(float));

    size_t n_formats = 0;
    for (size_t i = 0; i < gguf_n_tensors(g.file); i++) {
        const gguf_tensor *t = gguf_tensor_at(g.file, i);
        if (t->n_dims < 2) continue;
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.data);
        check_format(&r, name);
        n_formats++;
    }
    assert_int_equal(n_formats, 21);
    free(r.x);
    free(r.input);
    free(r.scratch);
    cpu_table_free(cpu);
}

static void test_products(void **state) {
    (void)state;
    uint32_t here = cpu_detect();
    for (size_t i = 0; i < sizeof isa_sets / sizeof isa_sets[0]; i++) {
        if (isa_sets[i] == FACET_CPU_ALL || (isa_sets[i] & ~here) == 0) check_set(isa_sets[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_products, open_golden, close_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
