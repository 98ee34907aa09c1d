/* How fast each kernel is: products with one token in GB/s of weights, products with many tokens in GMAC/s, attention
 * in GMAC/s, the steps in nanoseconds per number.
 *
 * usage: bench_kernels [--threads N] [--mb N] [--tokens N] [--cols N] [--cpu MASK] [--cputime 1] [NAME...]
 *        --cputime 1 counts the threads' own time: for a machine that others use too
 * The weights rotate through --mb megabytes (600), which should be more than the last cache. Without names all
 * formats and steps are measured; the best of several rounds counts. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>

#include "cpu/table.h"

typedef struct settings {
    int n_threads;
    clockid_t clock;
    size_t mb, n_tokens, n_cols;
    uint32_t allowed;
    char **names;
    int n_names;
} settings;

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *need(void *p) {
    if (p) return p;
    fprintf(stderr, "bench_kernels: out of memory\n");
    exit(1);
}
static void *block_of(size_t n) { return need(aligned_alloc(64, (n + 63) / 64 * 64)); }

static bool wanted(const settings *s, const char *name) {
    for (int i = 0; i < s->n_names; i++) {
        if (strcasecmp(s->names[i], name) == 0) return true;
    }
    return s->n_names == 0;
}

/* ---- running a function on n threads at once */

typedef void work_fn(void *ctx, int thread, int n_threads);
typedef struct worker {
    work_fn *fn;
    void *ctx;
    int thread, n_threads;
    clockid_t clock;
    pthread_barrier_t *barrier;
    double seconds;
} worker;

static void *run_worker(void *arg) {
    worker *w = arg;
    w->seconds = 1e30;
    for (int round = 0; round < 4; round++) {
        pthread_barrier_wait(w->barrier);
        double t = now(w->clock);
        w->fn(w->ctx, w->thread, w->n_threads);
        if (w->clock == CLOCK_MONOTONIC) pthread_barrier_wait(w->barrier);
        t = now(w->clock) - t;
        if (round > 0 && t < w->seconds) w->seconds = t;
    }
    return NULL;
}

static double best_seconds(work_fn *fn, void *ctx, const settings *s) {
    int n_threads = s->n_threads;
    pthread_t threads[64];
    worker workers[64];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)n_threads);
    for (int i = 0; i < n_threads; i++) {
        workers[i] = (worker){fn, ctx, i, n_threads, s->clock, &barrier, 0};
        if (i && pthread_create(threads + i, NULL, run_worker, workers + i)) need(NULL);
    }
    run_worker(workers);
    for (int i = 1; i < n_threads; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    return workers[0].seconds;
}

/* ---- products */

typedef struct product {
    const cpu_table *cpu;
    matrix w;
    size_t n_tokens;
    void *input, *scratch[64];
    float *out;
    size_t ldo;
} product;

static void run_product(void *ctx, int thread, int n_threads) {
    product *p = ctx;
    size_t grain = cpu_matmul_grain(p->cpu, p->w.format->type, p->n_tokens), n = p->w.n_rows / grain;
    size_t r0 = n * (size_t)thread / (size_t)n_threads * grain,
           r1 = n * (size_t)(thread + 1) / (size_t)n_threads * grain;
    cpu_matmul(p->cpu, &p->w, r0, r1, p->input, p->n_tokens, p->out, p->ldo, p->scratch[thread]);
}

/* Random blocks, or ordinary numbers in the float formats (tiny ones would be slow); one megabyte is made and
 * repeated. */
static void fill_weights(uint8_t *data, size_t n, const quant_format *f) {
    size_t pattern = ((size_t)1 << 20) / f->block_bytes * f->block_bytes;
    float w[256];
    uint32_t seed = 1;
    if (pattern > n) pattern = n / f->block_bytes * f->block_bytes;
    for (size_t i = 0; i < pattern; i += f->block_bytes) {
        for (bool good = false; !good;) {
            for (size_t k = 0; k < f->block_bytes; k++)
                data[i + k] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
            w[0] = (float)(int32_t)seed * 0x1p-31f;
            if (f->block == 1) f->quantise(w, data + i, 1);
            f->dequantise(data + i, w, 1);
            good = true;
            for (size_t k = 0; k < f->block; k++) good = good && w[k] > -1e4f && w[k] < 1e4f;
        }
    }
    for (size_t i = pattern; i < n; i++) data[i] = data[i - pattern];
}

static void bench_product(const settings *s, const cpu_table *cpu, quant_type type, uint8_t *weights, size_t n_tokens,
                          size_t bytes) {
    const quant_format *f = quant_format_of(type);
    product p = {.cpu = cpu, .n_tokens = n_tokens};
    p.w = (matrix){
        .data = weights, .format = f, .n_cols = s->n_cols, .row_bytes = (size_t)quant_row_bytes(f, s->n_cols)};
    p.w.n_rows = bytes / p.w.row_bytes / 64 * 64;
    p.ldo = p.w.n_rows;
    cpu_input kind = cpu_input_for(cpu, type);
    float *x = block_of(n_tokens * s->n_cols * sizeof *x);
    for (size_t i = 0; i < n_tokens * s->n_cols; i++) x[i] = (float)(i * 2654435761u % 2001) * 0.001f - 1.0f;
    p.input = block_of(cpu_input_bytes(cpu, kind, s->n_cols, n_tokens));
    cpu_input_prepare(cpu, kind, x, s->n_cols, NULL, s->n_cols, n_tokens, 0, n_tokens, p.input);
    for (int i = 0; i < s->n_threads; i++) p.scratch[i] = block_of(cpu_scratch_bytes(cpu, s->n_cols));
    p.out = block_of(n_tokens * p.ldo * sizeof(float));
    double t = best_seconds(run_product, &p, s);
    double macs = (double)p.w.n_rows * (double)s->n_cols * (double)n_tokens;
    printf("%-8s %4zu tokens  %8.2f GB/s  %8.2f GMAC/s\n", f->name, n_tokens,
           (double)p.w.n_rows * (double)p.w.row_bytes / t * 1e-9, macs / t * 1e-9);
    fflush(stdout);
    for (int i = 0; i < s->n_threads; i++) free(p.scratch[i]);
    free(x);
    free(p.input);
    free(p.out);
}

static void bench_products(const settings *s, const cpu_table *cpu) {
    size_t big_page = (size_t)2 << 20;
    uint8_t *weights = need(aligned_alloc(big_page, (s->mb << 20) + big_page - (s->mb << 20) % big_page));
    madvise(weights, s->mb << 20, MADV_HUGEPAGE); /* as a model's file is mapped where the system can */
    for (int type = 0; type < QUANT_N_TYPES; type++) {
        const quant_format *f = quant_format_of((quant_type)type);
        if (!wanted(s, f->name) || s->n_cols % f->block) continue;
        fill_weights(weights, s->mb << 20, f);
        bench_product(s, cpu, (quant_type)type, weights, 1, s->mb << 20);
        bench_product(s, cpu, (quant_type)type, weights, 4, s->mb << 18);
        size_t rows = 1024, bytes = rows * (size_t)quant_row_bytes(f, s->n_cols);
        bench_product(s, cpu, (quant_type)type, weights, s->n_tokens, bytes < s->mb << 20 ? bytes : s->mb << 20);
    }
    free(weights);
}

/* ---- attention: full spans one after another, as a long context has them, with 8 query heads of one token; and one
 * span with those of 8 tokens, as in prompts */

typedef struct attention {
    const cpu_table *cpu;
    cpu_span span;
    const uint8_t *kv; /* [n_spans][keys, values] */
    size_t n_spans, span_bytes;
    int n_rounds;
} attention;

static void take_span(const attention *a, size_t index, cpu_span *span) {
    const uint8_t *at = a->kv + index * a->span_bytes;
    size_t page = a->span_bytes / (2 * CPU_SPAN_PAGES);
    for (size_t i = 0; i < CPU_SPAN_PAGES; i++) {
        span->keys[i] = at + i * page;
        span->values[i] = at + a->span_bytes / 2 + i * page;
    }
}

static void run_attention(void *ctx, int thread, int n_threads) {
    attention *a = ctx;
    float max[64], sum[64];
    cpu_span span = a->span;
    span.max = max;
    span.sum = sum;
    span.out = a->span.out + (size_t)thread * 64 * 512;
    for (int i = 0; i < a->n_rounds; i++) {
        take_span(a, (size_t)(i * n_threads + thread) % a->n_spans, &span);
        cpu_attend(a->cpu, &span);
    }
}

static void bench_attention(const settings *s, const cpu_table *cpu, facet_kv_type type, size_t dim,
                            size_t n_queries) {
    static const char *const names[] = {"f16", "q8_0", "f32"};
    size_t row = cpu_kv_row_bytes(type, dim), span_bytes = 2 * CPU_SPAN * row;
    size_t n_spans = n_queries > 8 ? 1 : (s->mb << 18) / span_bytes + 1;
    uint8_t *kv = block_of(n_spans * span_bytes);
    float *x = block_of(512 * 64 * sizeof *x), *out = block_of(64 * 64 * 512 * sizeof *out);
    for (size_t i = 0; i < 512 * 64; i++) x[i] = (float)(i * 2654435761u % 2001) * 0.001f - 1.0f;
    for (size_t i = 0; i < n_spans * 2 * CPU_SPAN; i++) cpu_kv_store(cpu, type, x + i * 7 % 1000, dim, kv + i * row);
    float *small = block_of(512 * 64 * sizeof *x); /* scores of ordinary size */
    for (size_t i = 0; i < 512 * 64; i++) small[i] = x[i] * 0.1f;
    const float *queries[64];
    cpu_range ranges[64];
    attention a = {
        .cpu = cpu,
        .span =
            {.type = type, .head_dim = dim, .n_queries = n_queries, .queries = queries, .ranges = ranges, .out = out},
        .kv = kv,
        .n_spans = n_spans,
        .span_bytes = span_bytes,
        .n_rounds = n_queries > 8 ? 20 : (int)n_spans};
    for (size_t q = 0; q < n_queries; q++) {
        queries[q] = small + q * dim;
        ranges[q] = (cpu_range){0, CPU_SPAN};
    }
    double t = best_seconds(run_attention, &a, s) / a.n_rounds;
    printf("attend %-5s dim %3zu, %2zu queries  %8.2f GMAC/s  %8.2f us a span  %8.2f GB/s\n", names[type], dim,
           n_queries, 2.0 * CPU_SPAN * (double)(dim * n_queries) * s->n_threads / t * 1e-9, t * 1e6,
           (double)span_bytes * s->n_threads / t * 1e-9);
    free(kv);
    free(small);
    free(x);
    free(out);
}

/* ---- steps, on one thread in the cache */

enum { STEP_N = 6144 };
typedef struct step_data {
    const cpu_table *cpu;
    float *x, *y, *out;
    void *input;
} step_data;
static void run_rms_norm(step_data *d) { cpu_rms_norm(d->cpu, d->x, d->y, 1e-6f, STEP_N, d->out); }
static void run_add(step_data *d) { cpu_add(d->cpu, d->out, d->x, STEP_N); }
static void run_gelu_mul(step_data *d) { cpu_gelu_mul(d->cpu, d->x, d->y, STEP_N, d->out); }
static void run_soft_cap(step_data *d) { cpu_soft_cap(d->cpu, d->out, 30.0f, STEP_N); }
static void run_softmax(step_data *d) { cpu_softmax(d->cpu, d->out, STEP_N); }
static void run_angles(step_data *d) {
    cpu_rope_angles(d->cpu, 131071, d->x, STEP_N / 2, d->out, d->out + STEP_N / 2);
}
static void run_rope(step_data *d) { cpu_rope(d->cpu, d->out, d->x, d->y, STEP_N / 2); }
static void run_store(step_data *d) { cpu_kv_store(d->cpu, FACET_KV_F16, d->x, STEP_N, (uint8_t *)d->out); }
static void run_store_q8(step_data *d) { cpu_kv_store(d->cpu, FACET_KV_Q8_0, d->x, STEP_N, (uint8_t *)d->out); }
static void run_prepare_256(step_data *d) {
    cpu_input_prepare(d->cpu, CPU_INPUT_Q8_256, d->x, STEP_N, NULL, STEP_N, 1, 0, 1, d->input);
}
static void run_prepare_32(step_data *d) {
    cpu_input_prepare(d->cpu, CPU_INPUT_Q8_32, d->x, STEP_N, NULL, STEP_N, 1, 0, 1, d->input);
}
static void run_prepare_tile(step_data *d) {
    cpu_input_prepare(d->cpu, CPU_INPUT_Q8_256, d->x, 0, NULL, STEP_N / 12, CPU_TILE, 0, CPU_TILE, d->input);
}

static void bench_steps(const settings *s, const cpu_table *cpu) {
    static const struct {
        const char *name;
        void (*run)(step_data *);
    } steps[] = {{"rms_norm", run_rms_norm},
                 {"add", run_add},
                 {"gelu_mul", run_gelu_mul},
                 {"soft_cap", run_soft_cap},
                 {"softmax", run_softmax},
                 {"rope_angles", run_angles},
                 {"rope", run_rope},
                 {"store_f16", run_store},
                 {"store_q8_0", run_store_q8},
                 {"prepare_256", run_prepare_256},
                 {"prepare_32", run_prepare_32},
                 {"prepare_tile", run_prepare_tile}};
    step_data d = {cpu, block_of(STEP_N * 4), block_of(STEP_N * 4), block_of(STEP_N * 4), block_of(STEP_N * 64)};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (!wanted(s, steps[i].name)) continue;
        for (size_t k = 0; k < STEP_N; k++)
            d.x[k] = d.y[k] = d.out[k] = (float)(k * 2654435761u % 2001) * 0.001f - 1.0f;
        double best = 1e30;
        for (int round = 0; round < 20; round++) {
            double t = now(s->clock);
            for (int k = 0; k < 20; k++) steps[i].run(&d);
            t = (now(s->clock) - t) / 20;
            if (t < best) best = t;
        }
        printf("%-12s %8.3f ns a number\n", steps[i].name, best / STEP_N * 1e9);
    }
    free(d.x);
    free(d.y);
    free(d.out);
    free(d.input);
}

/* ---- */

static void usage(void) {
    fprintf(
        stderr,
        "usage: bench_kernels [--threads N] [--mb N] [--tokens N] [--cols N] [--cpu MASK] [--cputime 1] [NAME...]\n");
    exit(2);
}

static settings read_arguments(int argc, char **argv) {
    settings s = {.n_threads = 1,
                  .clock = CLOCK_MONOTONIC,
                  .mb = 600,
                  .n_tokens = 480,
                  .n_cols = 1536,
                  .allowed = FACET_CPU_ALL};
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        unsigned long v = strtoul(argv[i + 1], NULL, 0);
        if (strcmp(argv[i], "--threads") == 0)
            s.n_threads = (int)v;
        else if (strcmp(argv[i], "--mb") == 0)
            s.mb = v;
        else if (strcmp(argv[i], "--tokens") == 0)
            s.n_tokens = v;
        else if (strcmp(argv[i], "--cols") == 0)
            s.n_cols = v;
        else if (strcmp(argv[i], "--cpu") == 0)
            s.allowed = (uint32_t)v;
        else if (strcmp(argv[i], "--cputime") == 0)
            s.clock = v ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
        else
            usage();
    }
    if (s.n_threads < 1 || s.n_threads > 64 || !s.mb || !s.n_tokens || !s.n_cols) usage();
    s.names = argv + i;
    s.n_names = argc - i;
    return s;
}

int main(int argc, char **argv) {
    settings s = read_arguments(argc, argv);
    cpu_table *cpu;
    uint32_t used;
    double t = now(s.clock);
    if (cpu_table_new(&cpu, s.allowed, &used, NULL)) return 1;
    printf("instruction sets %#x of %#x, chosen in %.2f ms; %d threads\n", used, cpu_detect(),
           (now(s.clock) - t) * 1e3, s.n_threads);
    bench_products(&s, cpu);
    static const facet_kv_type types[] = {FACET_KV_F16, FACET_KV_Q8_0, FACET_KV_F32};
    for (size_t i = 0; i < 3 && wanted(&s, "attend"); i++) {
        bench_attention(&s, cpu, types[i], 256, 8);
        bench_attention(&s, cpu, types[i], 512, 8);
        bench_attention(&s, cpu, types[i], 256, 64);
    }
    bench_steps(&s, cpu);
    cpu_table_free(cpu);
    return 0;
}
