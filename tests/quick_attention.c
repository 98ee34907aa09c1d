/* Attention over spans: the reference against double precision, the other kernels against the reference bit for bit,
 * what a query must not see, and the merging of spans. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "cpu/table.h"
#include "support.h"

enum { MAX_DIM = 576, N_POSITIONS = 3 * CPU_SPAN, MAX_QUERIES = CPU_SPAN_QUERIES };

static uint64_t random_state = 9;
static uint32_t next_random(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}
static float next_float(void) { return (float)((int32_t)next_random() - (1 << 30)) * 0x1p-30f; }

/* Three spans of keys and values of one head. */
typedef struct cache {
    facet_kv_type type;
    size_t dim, row_bytes;
    uint8_t *keys, *values;
    float *queries; /* [MAX_QUERIES][dim] */
} cache;

static cache cache_new(const cpu_table *cpu, facet_kv_type type, size_t dim) {
    cache c = {.type = type, .dim = dim, .row_bytes = cpu_kv_row_bytes(type, dim)};
    float x[MAX_DIM];
    c.keys = malloc(N_POSITIONS * c.row_bytes);
    c.values = malloc(N_POSITIONS * c.row_bytes);
    c.queries = malloc(MAX_QUERIES * dim * sizeof(float));
    for (size_t i = 0; i < N_POSITIONS; i++) {
        for (size_t k = 0; k < dim; k++) x[k] = next_float();
        cpu_kv_store(cpu, type, x, dim, c.keys + i * c.row_bytes);
        for (size_t k = 0; k < dim; k++) x[k] = next_float();
        cpu_kv_store(cpu, type, x, dim, c.values + i * c.row_bytes);
    }
    for (size_t i = 0; i < MAX_QUERIES * dim; i++) c.queries[i] = next_float();
    return c;
}
static void cache_free(cache *c) {
    free(c->keys);
    free(c->values);
    free(c->queries);
}

/* What a call returns, with room for all. */
typedef struct result {
    float max[MAX_QUERIES], sum[MAX_QUERIES], out[MAX_QUERIES * MAX_DIM];
} result;

static void attend(const cpu_table *cpu, const cache *c, size_t span_index, size_t n, const cpu_range *ranges,
                   result *r) {
    const float *queries[MAX_QUERIES];
    cpu_span span = {.type = c->type,
                     .head_dim = c->dim,
                     .n_queries = n,
                     .queries = queries,
                     .ranges = ranges,
                     .max = r->max,
                     .sum = r->sum,
                     .out = r->out};
    for (size_t q = 0; q < n; q++) {
        queries[q] = c->queries + q * c->dim;
        for (size_t at = ranges[q].first; at < ranges[q].last; at++) { /* untouched pages stay NULL */
            size_t page = at / CPU_PAGE, row = span_index * CPU_SPAN + page * CPU_PAGE;
            span.keys[page] = c->keys + row * c->row_bytes;
            span.values[page] = c->values + row * c->row_bytes;
        }
    }
    cpu_attend(cpu, &span);
}

/* Softmax attention of one query over positions [first, last) of the whole cache, in double. */
static void truth(const cache *c, const float *query, size_t first, size_t last, double *out) {
    float row[MAX_DIM];
    double *p = malloc((last - first) * sizeof *p), max = -INFINITY, sum = 0;
    for (size_t at = first; at < last; at++) {
        cpu_kv_load(c->type, c->keys + at * c->row_bytes, c->dim, row);
        double s = 0;
        for (size_t k = 0; k < c->dim; k++) s += (double)query[k] * (double)row[k];
        p[at - first] = s;
        max = fmax(max, s);
    }
    for (size_t k = 0; k < c->dim; k++) out[k] = 0;
    for (size_t at = first; at < last; at++) {
        double e = exp(p[at - first] - max);
        sum += e;
        cpu_kv_load(c->type, c->values + at * c->row_bytes, c->dim, row);
        for (size_t k = 0; k < c->dim; k++) out[k] += e * (double)row[k];
    }
    for (size_t k = 0; k < c->dim; k++) out[k] /= sum;
    free(p);
}

/* [first, last) of the cache through all its spans. */
static void attend_all(const cpu_table *cpu, const cache *c, size_t first, size_t last, float *out) {
    static result r;
    float max = -INFINITY, sum = 0;
    memset(out, 0, c->dim * sizeof *out);
    for (size_t s = 0; s < N_POSITIONS / CPU_SPAN; s++) {
        size_t begin = s * CPU_SPAN, a = first > begin ? first - begin : 0, b = last > begin ? last - begin : 0;
        if (a > CPU_SPAN) a = CPU_SPAN;
        if (b > CPU_SPAN) b = CPU_SPAN;
        cpu_range range = {(uint16_t)a, (uint16_t)b};
        attend(cpu, c, s, 1, &range, &r);
        cpu_attend_merge(cpu, &max, &sum, out, r.max[0], r.sum[0], r.out, c->dim);
    }
    cpu_attend_finish(cpu, sum, out, c->dim);
}

static cpu_table *table(uint32_t allowed) {
    cpu_table *cpu;
    assert_int_equal(cpu_table_new(&cpu, allowed, NULL, NULL), FACET_OK);
    return cpu;
}

static void test_truth(void **state) {
    (void)state;
    cpu_table *cpu = table(FACET_CPU_REFERENCE);
    static const size_t ends[][2] = {{0, 1}, {0, 64}, {0, 700}, {37, 1111}, {511, 513}, {513, 1536}};
    for (int type = FACET_KV_F16; type <= FACET_KV_F32; type++) {
        cache c = cache_new(cpu, (facet_kv_type)type, type == FACET_KV_F16 ? 40 : 64);
        for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
            float got[MAX_DIM];
            double want[MAX_DIM];
            attend_all(cpu, &c, ends[i][0], ends[i][1], got);
            truth(&c, c.queries, ends[i][0], ends[i][1], want);
            for (size_t k = 0; k < c.dim; k++) assert_true(fabs((double)got[k] - want[k]) < 2e-6);
        }
        cache_free(&c);
    }
    cpu_table_free(cpu);
}

/* Ranges as they occur: the causal edge, windows, one query, none; and arbitrary ones. */
static void fill_ranges(cpu_range *r, size_t n, int turn) {
    for (size_t q = 0; q < n; q++) {
        size_t last = 300 + q / 4, first = turn == 1 ? last - 200 : 0;
        if (turn == 2) last = CPU_SPAN;
        if (turn == 3) first = 2 * q, last = 2 * q + 1;
        if (turn == 4) first = last = q;
        if (turn >= 5) {
            first = next_random() % CPU_SPAN;
            last = first + next_random() % (CPU_SPAN + 1 - first);
        }
        r[q] = (cpu_range){(uint16_t)first, (uint16_t)last};
    }
}

static void compare(const cpu_table *reference, const cpu_table *cpu, const cache *c, size_t n, int turn) {
    static result want, got;
    cpu_range ranges[MAX_QUERIES];
    fill_ranges(ranges, n, turn);
    attend(reference, c, 0, n, ranges, &want);
    attend(cpu, c, 0, n, ranges, &got);
    assert_true(cpu_same_floats(want.max, got.max, n));
    assert_true(cpu_same_floats(want.sum, got.sum, n));
    assert_true(cpu_same_floats(want.out, got.out, n * c->dim));
    for (size_t q = 0; q < n; q++) {
        if (ranges[q].first < ranges[q].last) continue;
        assert_true(got.max[q] == -INFINITY && got.sum[q] == 0);
        for (size_t k = 0; k < c->dim; k++) assert_true(got.out[q * c->dim + k] == 0);
    }
}

static void test_kernels_agree(void **state) {
    (void)state;
    static const uint32_t sets[] = {FACET_CPU_AVX2, FACET_CPU_NEON, FACET_CPU_ALL};
    static const size_t dims[] = {32, 64, 96, 256, 512, 576}, counts[] = {1, 2, 3, 5, 7, 8, 16, 33};
    cpu_table *reference = table(FACET_CPU_REFERENCE);
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        cpu_table *cpu = table(sets[s]);
        if (cpu->attend == reference->attend) {
            cpu_table_free(cpu);
            continue;
        }
        for (int type = FACET_KV_F16; type <= FACET_KV_F32; type++) {
            for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
                cache c = cache_new(reference, (facet_kv_type)type, dims[d]);
                for (int turn = 0; turn < 7; turn++) {
                    if (dims[d] >= 256 && turn % 3 != (int)d % 3) continue;
                    compare(reference, cpu, &c, counts[(d + (size_t)turn * 3) % 8], turn);
                }
                cache_free(&c);
            }
        }
        cpu_table_free(cpu);
    }
    cpu_table_free(reference);
}

/* What lies outside of a range may be anything: it is not seen. One query's result does not depend on the others. */
static void test_unseen(void **state) {
    (void)state;
    static result alone, together;
    for (int i = 0; i < 2; i++) {
        cpu_table *cpu = table(i ? FACET_CPU_ALL : FACET_CPU_REFERENCE);
        cache c = cache_new(cpu, FACET_KV_F16, 64);
        cpu_range ranges[9];
        for (size_t q = 0; q < 9; q++) ranges[q] = (cpu_range){(uint16_t)(70 + q), (uint16_t)(300 + 3 * q)};
        attend(cpu, &c, 0, 9, ranges, &together);
        memset(c.keys, 0xff, 70 * c.row_bytes);
        memset(c.values, 0xff, 70 * c.row_bytes);
        memset(c.keys + 324 * c.row_bytes, 0xff, 100 * c.row_bytes);
        memset(c.values + 324 * c.row_bytes, 0xff, 100 * c.row_bytes);
        for (size_t q = 0; q < 9; q++) {
            cache shifted = c;
            shifted.queries = c.queries + q * c.dim;
            attend(cpu, &shifted, 0, 1, ranges + q, &alone);
            assert_true(alone.max[0] == together.max[q] && alone.sum[0] == together.sum[q]);
            assert_memory_equal(alone.out, together.out + q * c.dim, c.dim * sizeof(float));
        }
        cache_free(&c);
        cpu_table_free(cpu);
    }
}

/* Spans of which a query sees nothing change nothing. */
static void test_merge_empty(void **state) {
    (void)state;
    cpu_table *cpu = table(FACET_CPU_ALL);
    float max = -INFINITY, sum = 0, out[20] = {0}, other[20], old[20];
    for (int i = 0; i < 20; i++) other[i] = next_float();
    cpu_attend_merge(cpu, &max, &sum, out, -INFINITY, 0, out, 20);
    assert_true(max == -INFINITY && sum == 0 && out[3] == 0);
    cpu_attend_merge(cpu, &max, &sum, out, 2.5f, 3.0f, other, 20);
    assert_true(max == 2.5f && sum == 3.0f);
    assert_memory_equal(out, other, sizeof out);
    memcpy(old, out, sizeof out);
    cpu_attend_merge(cpu, &max, &sum, out, -INFINITY, 0, other, 20);
    assert_true(max == 2.5f && sum == 3.0f);
    assert_memory_equal(out, old, sizeof out);
    cpu_table_free(cpu);
}

static void test_row_bytes(void **state) {
    (void)state;
    assert_int_equal(cpu_kv_row_bytes(FACET_KV_F16, 256), 512);
    assert_int_equal(cpu_kv_row_bytes(FACET_KV_F32, 40), 160);
    assert_int_equal(cpu_kv_row_bytes(FACET_KV_Q8_0, 512), 544);
    assert_int_equal(cpu_kv_row_bytes(FACET_KV_Q8_0, 40), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truth),       cmocka_unit_test(test_kernels_agree), cmocka_unit_test(test_unseen),
        cmocka_unit_test(test_merge_empty), cmocka_unit_test(test_row_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
