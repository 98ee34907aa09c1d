/* Comparing one kernel with the reference on fixed inputs, so that a kernel that is wrong on this machine is not used
 * on it. A few microseconds each; tests/quick_cpu.c is the thorough comparison. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "cpu/registry.h"

enum { COLS_256 = 512, COLS_32 = 704, MAX_COLS = COLS_32, N_ROWS = 9, N_TOKENS = 5, N_STEP = 83 };

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}
static float next_float(uint32_t *state) { return (float)(int32_t)(next_random(state) - (1u << 23)) * 0x1p-21f; }

static void fill_floats(float *x, size_t n, uint32_t seed) {
    for (size_t i = 0; i < n; i++) x[i] = next_float(&seed);
}

bool cpu_same_floats(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (bits_of_float(a[i]) != bits_of_float(b[i]) && !(isnan(a[i]) && isnan(b[i]))) return false;
    }
    return true;
}

/* Random bytes whose weights are finite and not huge. */
static void fill_block(const quant_format *f, uint8_t *block, uint32_t *state) {
    float w[256];
    for (bool good = false; !good;) {
        for (size_t i = 0; i < f->block_bytes; i++) block[i] = (uint8_t)next_random(state);
        f->dequantise(block, w, 1);
        good = true;
        for (size_t i = 0; i < f->block; i++) good = good && fabsf(w[i]) < 1e6f;
    }
}

typedef struct product {
    uint8_t weights[N_ROWS * MAX_COLS * 4];
    float x[N_TOKENS * MAX_COLS];
    _Alignas(64) uint8_t input[N_TOKENS * MAX_COLS * sizeof(float)]; /* the largest layout */
    _Alignas(64) uint8_t panel[2 * 3 * 8192];
    float want[N_TOKENS * N_ROWS], got[N_TOKENS * N_ROWS];
} product;

static void reference_product(const cpu_table *cpu, const matrix *w, product *p) {
    cpu_input kind = cpu_input_for(cpu, w->format->type);
    size_t stride = cpu_row_stride(kind, w->n_cols);
    cpu_input_prepare(cpu, kind, p->x, MAX_COLS, NULL, w->n_cols, N_TOKENS, 0, N_TOKENS, p->input);
    for (size_t t = 0; t < N_TOKENS; t++)
        cpu->gemv[w->format->type](w, 0, N_ROWS, p->input + t * stride, p->want + t * N_ROWS);
}

static matrix random_matrix(quant_type type, product *p) {
    const quant_format *f = quant_format_of(type);
    matrix w = {.data = p->weights, .format = f, .n_rows = N_ROWS, .n_cols = f->block == 256 ? COLS_256 : COLS_32};
    uint32_t state = 1 + (uint32_t)type;
    w.row_bytes = (size_t)quant_row_bytes(f, w.n_cols);
    for (size_t i = 0; i < w.row_bytes * N_ROWS; i += f->block_bytes) fill_block(f, p->weights + i, &state);
    fill_floats(p->x, N_TOKENS * MAX_COLS, state);
    return w;
}

static bool check_gemv(const cpu_table *reference, const cpu_table *candidate, quant_type type) {
    product p;
    matrix w = random_matrix(type, &p);
    reference_product(reference, &w, &p);
    size_t stride = cpu_row_stride(cpu_input_for(reference, type), w.n_cols);
    for (size_t t = 0; t < N_TOKENS; t++)
        candidate->gemv[type](&w, 0, N_ROWS, p.input + t * stride, p.got + t * N_ROWS);
    return cpu_same_floats(p.want, p.got, N_TOKENS * N_ROWS);
}

/* The result of the reference, and then the tokens packed as its input. */
static matrix packed_product(const cpu_table *reference, quant_type type, product *p) {
    matrix w = random_matrix(type, p);
    reference_product(reference, &w, p);
    cpu_table packing = *reference;
    cpu_input kind = cpu_input_for(reference, type);
    packing.packed_min[kind] = 1;
    cpu_input_prepare(&packing, kind, p->x, MAX_COLS, NULL, w.n_cols, N_TOKENS, 0, N_TOKENS, p->input);
    return w;
}

static bool check_gemm(const cpu_table *reference, const cpu_table *candidate, quant_type type) {
    product p;
    matrix w = packed_product(reference, type, &p);
    const cpu_gemm *gemm = candidate->gemm[type];
    if (cpu_n_groups(w.n_cols) * gemm->group_bytes > sizeof p.panel) return false;
    bool same = true;
    for (size_t r = 0; r < N_ROWS; r += gemm->n_rows) {
        float tile[CPU_TILE * CPU_PANEL_MAX];
        size_t n = N_ROWS - r < gemm->n_rows ? N_ROWS - r : gemm->n_rows;
        gemm->unpack(&w, r, n, p.panel);
        gemm->tile(p.panel, p.input, w.n_cols, cpu_tile_width(N_TOKENS), tile);
        for (size_t t = 0; t < N_TOKENS; t++)
            same = same && cpu_same_floats(p.want + t * N_ROWS + r, tile + t * gemm->n_rows, n);
    }
    return same;
}

static bool check_few(const cpu_table *reference, const cpu_table *candidate, quant_type type) {
    product p;
    matrix w = packed_product(reference, type, &p);
    candidate->few[type](&w, 0, N_ROWS, p.input, N_TOKENS, p.got, N_ROWS);
    return cpu_same_floats(p.want, p.got, N_TOKENS * N_ROWS);
}

static bool check_rows(const cpu_table *reference, const cpu_table *candidate, quant_type type) {
    product p;
    matrix w = random_matrix(type, &p);
    reference_product(reference, &w, &p);
    size_t stride = cpu_row_stride(cpu_input_for(reference, type), w.n_cols);
    for (size_t n = 2; n <= CPU_ROWS_TOKENS && n <= N_TOKENS; n++) {
        candidate->rows[type](&w, 0, N_ROWS, p.input, stride, n, p.got, N_ROWS);
        if (!cpu_same_floats(p.want, p.got, n * N_ROWS)) return false;
    }
    return true;
}

static bool check_gemm_float(const cpu_table *reference, const cpu_table *candidate) {
    static const quant_type types[] = {QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_IQ3_S};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        product p;
        matrix w = random_matrix(types[i], &p);
        float x[N_TOKENS * MAX_COLS];
        reference_product(reference, &w, &p);
        memcpy(x, p.input, N_TOKENS * cpu_row_stride(CPU_INPUT_F32, w.n_cols));
        candidate->gemm_float(&w, 0, N_ROWS, x, cpu_row_stride(CPU_INPUT_F32, w.n_cols) / sizeof(float), N_TOKENS,
                              p.got, N_ROWS, p.panel);
        if (!cpu_same_floats(p.want, p.got, N_TOKENS * N_ROWS)) return false;
    }
    return true;
}

static bool check_quantise(const cpu_table *reference, const cpu_table *candidate, cpu_input kind) {
    float x[CPU_GROUP];
    cpu_group want, got;
    memset(&want, 0, sizeof want);
    memset(&got, 0, sizeof got);
    fill_floats(x, CPU_GROUP, 77);
    memset(x + 64, 0, 32 * sizeof *x);
    reference->quantise[kind](x, &want);
    candidate->quantise[kind](x, &got);
    return memcmp(&want, &got, sizeof want) == 0;
}

/* Runs the float steps of a table over the same numbers; which of them matters is the caller's affair. */
typedef struct step_results {
    float x[10][2 * N_STEP];
} step_results;

static void run_steps(const cpu_table *cpu, step_results *r) {
    for (int i = 0; i < 10; i++) fill_floats(r->x[i], 2 * N_STEP, 5 + (uint32_t)i);
    const float *y = r->x[9];
    cpu->rms_norm(y, y + 1, 1e-6f, N_STEP, r->x[0]);
    cpu->rms_norm_add(y, NULL, 1e-6f, N_STEP, r->x[0] + N_STEP);
    cpu->scale(r->x[1], 0.3f, N_STEP);
    cpu->add(r->x[1] + N_STEP, y, N_STEP);
    cpu->add_scaled(r->x[2], y, 0.7f, N_STEP);
    cpu->gelu_mul(y, y + 7, N_STEP, r->x[3]);
    cpu->soft_cap(r->x[4], 30.0f, N_STEP);
    cpu->softmax(r->x[5], N_STEP);
    cpu->rope_angles(131071, y, N_STEP, r->x[6], r->x[6] + N_STEP);
    cpu->rope(r->x[7], y, y + N_STEP, N_STEP);
    float max = 1.5f, sum = 3.0f;
    cpu->attend_merge(&max, &sum, r->x[8], 1.25f, 2.0f, y, N_STEP);
    cpu->attend_finish(sum, r->x[8], N_STEP);
}

static bool check_steps(const cpu_table *reference, const cpu_table *candidate) {
    step_results want, got;
    run_steps(reference, &want);
    run_steps(candidate, &got);
    return cpu_same_floats(want.x[0], got.x[0], sizeof want / sizeof(float));
}

static bool check_lora_add(const cpu_table *reference, const cpu_table *candidate) {
    static const quant_type types[] = {QUANT_F32, QUANT_F16, QUANT_BF16};
    enum { RANK = 21, N_OUT = 37 };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        uint8_t data[RANK * N_OUT * 4];
        uint32_t state = 9 + (uint32_t)i;
        const quant_format *f = quant_format_of(types[i]);
        matrix b = {.data = data, .format = f, .n_rows = N_OUT, .n_cols = RANK, .row_bytes = RANK * f->block_bytes};
        float t[2 * RANK], want[2 * N_OUT], got[2 * N_OUT];
        for (size_t k = 0; k < RANK * N_OUT; k++) fill_block(f, data + k * f->block_bytes, &state);
        fill_floats(t, 2 * RANK, state);
        fill_floats(want, 2 * N_OUT, state + 1);
        memcpy(got, want, sizeof got);
        reference->lora_add(&b, 1, N_OUT - 1, t, 2, 0.3f, want, N_OUT);
        candidate->lora_add(&b, 1, N_OUT - 1, t, 2, 0.3f, got, N_OUT);
        if (!cpu_same_floats(want, got, 2 * N_OUT)) return false;
    }
    return true;
}

enum { CHECK_DIM = 64, CHECK_QUERIES = 7 };

static void run_attend(const cpu_table *cpu, facet_kv_type type, float *results) {
    uint8_t keys[CPU_PAGE * CHECK_DIM * 4], values[sizeof keys];
    float x[CPU_PAGE * CHECK_DIM], queries[CHECK_QUERIES][CHECK_DIM];
    const float *query[CHECK_QUERIES];
    cpu_range ranges[CHECK_QUERIES];
    size_t row = cpu_kv_row_bytes(type, CHECK_DIM);
    fill_floats(x, CPU_PAGE * CHECK_DIM, 3);
    for (size_t i = 0; i < CPU_PAGE; i++) {
        cpu->kv_store(type, x + i * CHECK_DIM, CHECK_DIM, keys + i * row);
        cpu->kv_store(type, x + (CPU_PAGE - 1 - i) * CHECK_DIM, CHECK_DIM, values + i * row);
    }
    fill_floats(queries[0], CHECK_QUERIES * CHECK_DIM, 4);
    for (size_t q = 0; q < CHECK_QUERIES; q++) {
        query[q] = queries[q];
        ranges[q] = (cpu_range){(uint16_t)(q == 2), (uint16_t)(q == 3 ? 0 : 37 + q)};
    }
    cpu_span span = {.type = type,
                     .head_dim = CHECK_DIM,
                     .keys = {keys},
                     .values = {values},
                     .n_queries = CHECK_QUERIES,
                     .queries = query,
                     .ranges = ranges,
                     .max = results,
                     .sum = results + CHECK_QUERIES,
                     .out = results + 2 * CHECK_QUERIES};
    cpu->attend(&span);
}

static bool check_attend(const cpu_table *reference, const cpu_table *candidate) {
    for (int type = FACET_KV_F16; type <= FACET_KV_F32; type++) {
        float want[CHECK_QUERIES * (CHECK_DIM + 2)], got[CHECK_QUERIES * (CHECK_DIM + 2)];
        run_attend(reference, (facet_kv_type)type, want);
        run_attend(candidate, (facet_kv_type)type, got);
        if (!cpu_same_floats(want, got, sizeof want / sizeof *want)) return false;
    }
    return true;
}

/* The index of a place in an array of the table, or `n` */
static size_t index_in(size_t member, size_t array, size_t n) {
    return member < array || member >= array + n * sizeof(void *) ? n : (member - array) / sizeof(void *);
}

bool cpu_check(const cpu_table *reference, const cpu_table *candidate, size_t member) {
    size_t type = index_in(member, offsetof(cpu_table, gemv), QUANT_N_TYPES);
    if (type < QUANT_N_TYPES) return check_gemv(reference, candidate, (quant_type)type);
    type = index_in(member, offsetof(cpu_table, gemm), QUANT_N_TYPES);
    if (type < QUANT_N_TYPES) return check_gemm(reference, candidate, (quant_type)type);
    type = index_in(member, offsetof(cpu_table, rows), QUANT_N_TYPES);
    if (type < QUANT_N_TYPES) return check_rows(reference, candidate, (quant_type)type);
    type = index_in(member, offsetof(cpu_table, few), QUANT_N_TYPES);
    if (type < QUANT_N_TYPES) return check_few(reference, candidate, (quant_type)type);
    size_t kind = index_in(member, offsetof(cpu_table, quantise), CPU_N_INPUTS);
    if (kind < CPU_N_INPUTS) return check_quantise(reference, candidate, (cpu_input)kind);
    if (member == offsetof(cpu_table, gemm_float)) return check_gemm_float(reference, candidate);
    if (member == offsetof(cpu_table, lora_add)) return check_lora_add(reference, candidate);
    if (member == offsetof(cpu_table, attend) || member == offsetof(cpu_table, kv_store))
        return check_attend(reference, candidate);
    return check_steps(reference, candidate);
}
