/* Every kernel of every instruction set that this machine has equals the reference bit for bit: on random and extreme
 * numbers, any length, any alignment, and without touching a byte beyond a row's end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "cpu/table.h"
#include "support.h"

static uint64_t random_state;
static uint32_t next_random(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}
static float next_float(void) { return (float)((int32_t)next_random() - (1 << 30)) * 0x1p-28f; }

/* ---- tables to compare: the reference, and one for each kernel, alone in the reference */

static cpu_table reference;
static uint32_t here;

typedef void kernel_fn(const cpu_table *candidate, const cpu_kernel *kernel);

static void each_kernel(size_t member, size_t n_places, kernel_fn *fn) {
    size_t n;
    const cpu_kernel *kernels = cpu_kernels(&n);
    for (size_t i = 0; i < n; i++) {
        if (kernels[i].isa == FACET_CPU_REFERENCE || (kernels[i].isa & here) == 0) continue;
        if (kernels[i].member < member || kernels[i].member >= member + n_places * sizeof(void *)) continue;
        cpu_table candidate = reference;
        cpu_table_put(&candidate, kernels + i);
        random_state = i;
        fn(&candidate, kernels + i);
    }
}

/* A block of memory that ends at a page that cannot be touched. */
typedef struct guarded {
    uint8_t *map, *end;
    size_t n_bytes;
} guarded;
static guarded guarded_new(size_t n_bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (n_bytes + page - 1) / page * page + page;
    uint8_t *map = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + n - page, page, PROT_NONE), 0);
    return (guarded){map, map + n - page, n};
}
static void guarded_free(guarded *g) { munmap(g->map, g->n_bytes); }

/* ---- products */

enum { MAX_COLS = 2560, MAX_ROWS = 19, MAX_TOKENS = 29 };
typedef enum content { RANDOM, LOWEST, HIGHEST, N_CONTENTS } content;

typedef struct product {
    guarded weights;
    matrix w;
    float *x;
    void *input, *scratch;
    float *want, *got;
} product;

static product product_new(const cpu_table *cpu, quant_type type) {
    cpu_input kind = cpu_input_for(cpu, type);
    size_t bytes = cpu_input_bytes(cpu, kind, MAX_COLS, MAX_TOKENS),
           other = cpu_row_stride(kind, MAX_COLS) * MAX_TOKENS;
    product p = {.weights = guarded_new(MAX_ROWS * MAX_COLS * 4)};
    p.x = malloc(MAX_TOKENS * MAX_COLS * sizeof *p.x);
    p.input = aligned_alloc(64, (bytes > other ? bytes : other) / 64 * 64 + 64);
    p.scratch = aligned_alloc(64, cpu_scratch_bytes(cpu, MAX_COLS));
    p.want = malloc(MAX_TOKENS * MAX_ROWS * sizeof *p.want);
    p.got = malloc(MAX_TOKENS * MAX_ROWS * sizeof *p.got);
    return p;
}
static void product_free(product *p) {
    guarded_free(&p->weights);
    free(p->x);
    free(p->input);
    free(p->scratch);
    free(p->want);
    free(p->got);
}

static bool finite_block(const quant_format *f, const uint8_t *block) {
    float w[256];
    f->dequantise(block, w, 1);
    for (size_t i = 0; i < f->block; i++) {
        if (!(fabsf(w[i]) < 1e6f)) return false;
    }
    return true;
}

/* The last row ends where the page that cannot be touched begins. */
static void fill_weights(product *p, quant_type type, size_t n_rows, size_t n_cols, content filling) {
    const quant_format *f = quant_format_of(type);
    size_t row_bytes = (size_t)quant_row_bytes(f, n_cols), n = n_rows * row_bytes;
    uint8_t *data = p->weights.end - n;
    p->w = (matrix){.data = data, .format = f, .n_rows = n_rows, .n_cols = n_cols, .row_bytes = row_bytes};
    for (size_t i = 0; i < n; i += f->block_bytes) {
        do {
            for (size_t k = 0; k < f->block_bytes; k++) data[i + k] = (uint8_t)next_random();
        } while (!finite_block(f, data + i));
        if (filling == RANDOM) continue;
        /* extreme codes and scales, byte by byte as far as the weights stay numbers */
        for (size_t k = 0; k < f->block_bytes; k++) {
            uint8_t old = data[i + k];
            data[i + k] = filling == LOWEST ? (type == QUANT_Q8_0 || type == QUANT_Q6_K ? 0x80 : 0) : 0xff;
            if (!finite_block(f, data + i)) data[i + k] = old;
        }
    }
}

/* Activations: random, with large and small ones, zero blocks, and blocks all of the largest code. */
static void fill_inputs(product *p, size_t n_cols, size_t n_tokens) {
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < n_cols; i++) {
            float v = next_float();
            if (t % 4 == 1) v = v * v * v * v;
            if (t % 4 == 2) v = t % 8 == 2 ? 3.0f : -3.0f;
            if (t % 4 == 3) v = i / 32 % 3 ? 0.0f : v * 1e-20f;
            p->x[t * MAX_COLS + i] = v;
        }
    }
}

static void prepare(const cpu_table *cpu, product *p, size_t n_tokens) {
    cpu_input kind = cpu_input_for(cpu, p->w.format->type);
    cpu_input_prepare(cpu, kind, p->x, MAX_COLS, NULL, p->w.n_cols, n_tokens, 0, n_tokens, p->input);
}

static void reference_product(product *p, size_t n_tokens) {
    quant_type type = p->w.format->type;
    size_t stride = cpu_row_stride(cpu_input_for(&reference, type), p->w.n_cols);
    prepare(&reference, p, n_tokens);
    for (size_t t = 0; t < n_tokens; t++)
        reference.gemv[type](&p->w, 0, p->w.n_rows, (uint8_t *)p->input + t * stride, p->want + t * p->w.n_rows);
}

static void compare_product(const cpu_table *cpu, const char *name, product *p, size_t n_tokens, content filling) {
    size_t n_rows = p->w.n_rows, n = n_tokens * n_rows;
    reference_product(p, n_tokens);
    prepare(cpu, p, n_tokens);
    memset(p->got, 0, n * sizeof *p->got);
    cpu_matmul(cpu, &p->w, 0, n_rows, p->input, n_tokens, p->got, n_rows, p->scratch);
    if (!cpu_same_floats(p->want, p->got, n))
        fail_msg("%s %s: %zu columns, %zu tokens, content %d", name, p->w.format->name, p->w.n_cols, n_tokens,
                 (int)filling);
}

static void check_products(const cpu_table *cpu, const char *name, quant_type type) {
    static const size_t cols_256[] = {256, 512, 1536, 2560, 0}, cols_32[] = {32, 64, 96, 224, 256, 288, 704, 2560, 0},
                        cols_64[] = {64, 192, 256, 320, 704, 0}, cols_1[] = {1, 15, 16, 17, 31, 256, 263, 2560, 0};
    static const size_t tokens[] = {1, 2, 4, 5, 8, 12, 29};
    const size_t *cols = quant_format_of(type)->block == 256  ? cols_256
                         : quant_format_of(type)->block == 64 ? cols_64
                         : quant_format_of(type)->block == 32 ? cols_32
                                                              : cols_1;
    product p = product_new(cpu, type);
    for (size_t turn = 0; *cols; cols++) {
        for (int c = RANDOM; c < N_CONTENTS; c++, turn++) {
            size_t n_tokens = tokens[turn % 7], n_rows = 1 + turn * 5 % MAX_ROWS;
            fill_weights(&p, type, n_rows, *cols, (content)c);
            fill_inputs(&p, *cols, n_tokens);
            compare_product(cpu, name, &p, n_tokens, (content)c);
        }
    }
    product_free(&p);
}

static void check_gemv(const cpu_table *candidate, const cpu_kernel *kernel) {
    size_t type = (kernel->member - offsetof(cpu_table, gemv)) / sizeof(void *);
    check_products(candidate, kernel->name, (quant_type)type);
}
static void check_gemm(const cpu_table *candidate, const cpu_kernel *kernel) {
    size_t type = (kernel->member - offsetof(cpu_table, gemm)) / sizeof(void *);
    cpu_table packed = *candidate;
    packed.packed_min[cpu_input_for(candidate, (quant_type)type)] = 1;
    check_products(&packed, kernel->name, (quant_type)type);
}
static void check_few(const cpu_table *candidate, const cpu_kernel *kernel) {
    size_t type = (kernel->member - offsetof(cpu_table, few)) / sizeof(void *);
    cpu_table packed = *candidate;
    packed.packed_min[cpu_input_for(candidate, (quant_type)type)] = 1;
    check_products(&packed, kernel->name, (quant_type)type);
}
static void check_rows(const cpu_table *candidate, const cpu_kernel *kernel) {
    size_t type = (kernel->member - offsetof(cpu_table, rows)) / sizeof(void *);
    check_products(candidate, kernel->name, (quant_type)type);
}
static void check_gemm_float(const cpu_table *candidate, const cpu_kernel *kernel) {
    for (int type = 0; type < QUANT_N_TYPES; type++) {
        if (cpu_input_for(candidate, (quant_type)type) == CPU_INPUT_F32)
            check_products(candidate, kernel->name, (quant_type)type);
    }
}

static void test_products(void **state) {
    (void)state;
    each_kernel(offsetof(cpu_table, gemv), QUANT_N_TYPES, check_gemv);
    each_kernel(offsetof(cpu_table, gemm), QUANT_N_TYPES, check_gemm);
    each_kernel(offsetof(cpu_table, rows), QUANT_N_TYPES, check_rows);
    each_kernel(offsetof(cpu_table, few), QUANT_N_TYPES, check_few);
    each_kernel(offsetof(cpu_table, gemm_float), 1, check_gemm_float);
}

/* Whole tables, and the reference with packed inputs: every format, whatever mixture of kernels it meets. */
static void test_tables(void **state) {
    (void)state;
    static const uint32_t sets[] = {FACET_CPU_AVX2, FACET_CPU_AVX2 | FACET_CPU_AVXVNNI, FACET_CPU_ALL};
    cpu_table packed = reference;
    for (int kind = 0; kind < CPU_N_INPUTS; kind++) packed.packed_min[kind] = kind == CPU_INPUT_F32 ? SIZE_MAX : 1;
    for (int type = 0; type < QUANT_N_TYPES; type++) check_products(&packed, "reference, packed", (quant_type)type);
    cpu_table last = reference;
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        cpu_table *cpu;
        assert_int_equal(cpu_table_new(&cpu, sets[i], NULL, NULL), FACET_OK);
        bool seen = memcmp(cpu, &last, sizeof last) == 0; /* the same choice as before */
        for (int type = 0; !seen && type < QUANT_N_TYPES; type++) check_products(cpu, "table", (quant_type)type);
        last = *cpu;
        cpu_table_free(cpu);
    }
}

/* ---- quantising activations */

static void check_quantise(const cpu_table *candidate, const cpu_kernel *kernel) {
    size_t kind = (kernel->member - offsetof(cpu_table, quantise)) / sizeof(void *);
    static const float special[] = {INFINITY, -INFINITY, NAN, 0x1p-149f, 127 * 0x1p-126f, 3.4e38f, 0x1.fcp-120f};
    float x[CPU_GROUP + 1];
    for (int turn = 0; turn < 3000; turn++) {
        float *at = x + turn % 2, power = ldexpf(1.0f, turn % 250 - 140);
        for (int i = 0; i < CPU_GROUP; i++)
            at[i] = turn % 5 ? next_float() * power : (float)(i % 33 - 16) * power / 2;
        if (turn % 5 == 0) at[0] = 127 * power; /* now the others lie halfway between two codes */
        if (turn % 7 == 0) at[next_random() % CPU_GROUP] = special[next_random() % 7];
        if (turn % 11 == 0) memset(at + 32, 0, 64 * sizeof *at);
        cpu_group want, got;
        memset(&want, 0, sizeof want);
        memset(&got, 0, sizeof got);
        reference.quantise[kind](at, &want);
        candidate->quantise[kind](at, &got);
        assert_true(cpu_same_floats(want.d, got.d, 8));
        memset(want.d, 0, sizeof want.d);
        memset(got.d, 0, sizeof got.d);
        if (memcmp(&want, &got, sizeof want) != 0) fail_msg("%s, turn %d", kernel->name, turn);
    }
}

static void test_quantise(void **state) {
    (void)state;
    each_kernel(offsetof(cpu_table, quantise), CPU_N_INPUTS, check_quantise);
}

/* A NaN or an infinity among the activations is not lost on the way through a product. */
static void test_bad_activations(void **state) {
    (void)state;
    static const quant_type types[] = {QUANT_Q4_K, QUANT_Q8_0, QUANT_F16};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 9; i++) {
        product p = product_new(&reference, types[i / 3]);
        fill_weights(&p, types[i / 3], 3, 512, RANDOM);
        fill_inputs(&p, 512, 1);
        p.x[300] = bad[i % 3];
        reference_product(&p, 1);
        for (int r = 0; r < 3; r++) assert_false(isfinite(p.want[r]));
        product_free(&p);
    }
}

/* ---- float steps: one function that runs a step of a table over buffers */

enum { MAX_N = 1100 };
typedef struct buffers {
    float x[MAX_N], y[MAX_N], z[2 * MAX_N], out[2 * MAX_N];
} buffers;
typedef void step_fn(const cpu_table *cpu, buffers *b, size_t n);

static void run_rms_norm(const cpu_table *cpu, buffers *b, size_t n) {
    cpu_rms_norm(cpu, b->x + 1, b->y + 2, 1e-6f, n, b->out + 1);
    cpu_rms_norm(cpu, b->x + 1, NULL, 1e-6f, n, b->x + 1);
}
static void run_rms_norm_add(const cpu_table *cpu, buffers *b, size_t n) {
    cpu_rms_norm_add(cpu, b->x, b->y + 1, 1e-6f, n, b->out + 1);
    cpu_rms_norm_add(cpu, b->x, NULL, 1e-6f, n, b->out + 1);
}
static void run_simple(const cpu_table *cpu, buffers *b, size_t n) {
    cpu_scale(cpu, b->x + 1, 1.7f, n);
    cpu_add(cpu, b->x + 1, b->y, n);
    cpu_add_scaled(cpu, b->x + 1, b->y + 3, -0.37f, n);
}
static void run_gelu_mul(const cpu_table *cpu, buffers *b, size_t n) {
    cpu_gelu_mul(cpu, b->x + 1, b->y, n, b->out + 3);
    cpu_gelu_mul(cpu, b->x, b->y, n, b->x);
}
static void run_soft_cap(const cpu_table *cpu, buffers *b, size_t n) { cpu_soft_cap(cpu, b->x + 1, 30.0f, n); }
static void run_softmax(const cpu_table *cpu, buffers *b, size_t n) { cpu_softmax(cpu, b->x + 1, n); }
static void run_rope(const cpu_table *cpu, buffers *b, size_t n) {
    cpu_rope_angles(cpu, 131071 + (int32_t)n, b->y, n, b->z, b->z + MAX_N);
    cpu_rope(cpu, b->out + 1, b->z, b->z + MAX_N, n);
}
static void run_merge(const cpu_table *cpu, buffers *b, size_t n) {
    float max = b->x[0], sum = b->x[1];
    cpu_attend_merge(cpu, &max, &sum, b->out + 1, b->x[2], b->x[3], b->y, n);
    cpu_attend_finish(cpu, sum, b->out + 1, n);
    b->z[0] = max, b->z[1] = sum;
}
static void run_kv_store(const cpu_table *cpu, buffers *b, size_t n) {
    cpu_kv_store(cpu, FACET_KV_F16, b->x + 1, n, (uint8_t *)b->z + 1);
    cpu_kv_store(cpu, FACET_KV_F32, b->x + 1, n, (uint8_t *)b->out + 2);
    cpu_kv_store(cpu, FACET_KV_Q8_0, b->x + 1, n / 32 * 32, (uint8_t *)b->z + 4 * MAX_N + 1);
}

/* Numbers of ordinary size; from turn 2 on also some of every size, and special ones. */
static void fill_buffers(buffers *b, int turn) {
    static const float special[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 0x1p-149f, 3.4e38f, -88.0f, 0.6f, 9.0f};
    float *all = b->x;
    for (size_t i = 0; i < sizeof *b / sizeof(float); i++) {
        all[i] = next_float() * (turn % 2 ? 1.0f : 8.0f);
        if (turn < 2) continue;
        if (next_random() % 16 == 0) all[i] = float_of_bits(next_random() << 1);
        if (turn >= 4 && next_random() % 64 == 0) all[i] = special[next_random() % 10];
    }
}

/* The stored bytes of a NaN are a NaN's, whichever. */
static void same_buffers(const buffers *want, const buffers *got, const char *what, size_t n) {
    const float *a = (const float *)(const void *)want, *b = (const float *)(const void *)got;
    for (size_t i = 0; i < sizeof *want / sizeof(float); i++) {
        if (cpu_same_floats(a + i, b + i, 1)) continue;
        fail_msg("step %s, n %zu: element %zu is %a, not %a", what, n, i, (double)b[i], (double)a[i]);
    }
}

static void check_step(const cpu_table *cpu, const char *what, step_fn *run, int n_turns) {
    static buffers want, got;
    static const size_t sizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 64, 100, 256, 705, 1024};
    for (int turn = 0; turn < n_turns; turn++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            fill_buffers(&want, turn);
            got = want;
            run(&reference, &want, sizes[i]);
            run(cpu, &got, sizes[i]);
            same_buffers(&want, &got, what, sizes[i]);
        }
    }
}

static void test_steps(void **state) {
    (void)state;
    static const struct {
        const char *name;
        step_fn *run;
        int n_turns; /* 4: without infinities and NaNs, whose stored bytes may differ */
    } steps[] = {
        {"rms_norm", run_rms_norm, 6}, {"rms_norm_add", run_rms_norm_add, 6},
        {"simple", run_simple, 6},     {"gelu_mul", run_gelu_mul, 6},
        {"soft_cap", run_soft_cap, 6}, {"softmax", run_softmax, 6},
        {"rope", run_rope, 4},         {"merge", run_merge, 6},
        {"kv_store", run_kv_store, 2},
    };
    static const uint32_t sets[] = {FACET_CPU_AVX2, FACET_CPU_NEON, FACET_CPU_ALL};
    for (size_t s = 0; s < 3; s++) {
        cpu_table *cpu;
        assert_int_equal(cpu_table_new(&cpu, sets[s], NULL, NULL), FACET_OK);
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
            check_step(cpu, steps[i].name, steps[i].run, steps[i].n_turns);
        cpu_table_free(cpu);
    }
}

/* Numbers halfway between two codes of a stored block go away from zero. */
static void check_halves(const cpu_table *candidate, const cpu_kernel *kernel) {
    float x[64];
    uint8_t want[68], got[68];
    for (int i = 0; i < 64; i++) x[i] = i % 32 ? (float)(i - 32) + 0.5f : 127.0f;
    reference.kv_store(FACET_KV_Q8_0, x, 64, want);
    candidate->kv_store(FACET_KV_Q8_0, x, 64, got);
    assert_int_equal((int8_t)want[34 + 2 + 2], 3);
    if (memcmp(want, got, sizeof want) != 0) fail_msg("%s", kernel->name);
}
static void test_stored_halves(void **state) {
    (void)state;
    each_kernel(offsetof(cpu_table, kv_store), 1, check_halves);
}

/* ---- the table */

/* No kernel is dropped on the machine that runs this test, and one that is wrong is. */
static void wrong_add(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += y[i] * 1.0000001f;
}
static void test_selection(void **state) {
    (void)state;
    size_t n;
    const cpu_kernel *kernels = cpu_kernels(&n);
    for (size_t i = 0; i < n; i++) {
        if (kernels[i].isa == FACET_CPU_REFERENCE || !(kernels[i].isa & here)) continue;
        cpu_table candidate = reference;
        cpu_table_put(&candidate, kernels + i);
        if (!cpu_check(&reference, &candidate, kernels[i].member)) fail_msg("%s is dropped", kernels[i].name);
    }
    cpu_table wrong = reference;
    wrong.add = wrong_add;
    assert_false(cpu_check(&reference, &wrong, offsetof(cpu_table, add)));
    wrong.gemv[QUANT_Q4_K] = reference.gemv[QUANT_Q5_K];
    assert_false(cpu_check(&reference, &wrong, offsetof(cpu_table, gemv[QUANT_Q4_K])));

    cpu_table *cpu;
    uint32_t used = 99;
    assert_int_equal(cpu_table_new(&cpu, FACET_CPU_REFERENCE, &used, NULL), FACET_OK);
    assert_int_equal(used, 0);
    assert_memory_equal(cpu, &reference, sizeof reference);
    cpu_table_free(cpu);
}

/* Every place of the table is filled by the reference. */
static void test_reference_complete(void **state) {
    (void)state;
    for (int type = 0; type < QUANT_N_TYPES; type++) assert_non_null(reference.gemv[type]);
    assert_non_null(reference.quantise[CPU_INPUT_Q8_256]);
    assert_non_null(reference.quantise[CPU_INPUT_Q8_32]);
    for (size_t at = offsetof(cpu_table, rms_norm); at < sizeof reference; at += sizeof(void *)) {
        void *place;
        memcpy(&place, (const char *)&reference + at, sizeof place);
        assert_non_null(place);
    }
}

static int set_up(void **state) {
    (void)state;
    cpu_table_reference(&reference);
    here = cpu_detect();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_complete),
        cmocka_unit_test(test_selection),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_stored_halves),
        cmocka_unit_test(test_quantise),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_bad_activations),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
