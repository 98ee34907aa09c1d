/* How fast each kernel of this machine is, alone: see facet_tools.h. Knows the kernels' table, and nothing of models.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/error.h"
#include "cpu/peak.h"
#include "cpu/table.h"
#include "facet_tools.h"

enum { MOST_THREADS = 64, BIG_PAGE = 2 << 20 };

typedef struct bench {
    const facet_kernel_bench_options *o;
    const cpu_table *cpu;
    clockid_t clock;
    facet_kernel_speed_fn fn;
    void *ctx;
    size_t n_told;
    bool failed; /* memory ran out */
} bench;

static void tell(bench *b, const facet_kernel_speed *speed) {
    if (b->failed) return;
    b->n_told++;
    b->fn(b->ctx, speed);
}

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *block_of(bench *b, size_t n, size_t alignment) {
    void *p = aligned_alloc(alignment, (n + alignment - 1) / alignment * alignment);
    if (!p) b->failed = true;
    return p;
}

static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++) {
        char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a, y = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;
        if (x != y) return false;
    }
    return *a == *b;
}

static bool wanted(const bench *b, const char *name) {
    for (size_t i = 0; i < b->o->n_names; i++) {
        if (same_name(b->o->names[i], name)) return true;
    }
    return b->o->n_names == 0;
}

/* ---- running a function on n threads at once */

typedef void work_fn(void *ctx, int thread, int n_threads);
typedef struct worker {
    work_fn *fn;
    void *ctx;
    int thread, n_threads;
    clockid_t clock;
    pthread_barrier_t *barrier;
    pthread_mutex_t *gate; /* of `go`: whether all threads are there */
    const bool *go;
    double seconds;
} worker;

static void *run_worker(void *arg) {
    worker *w = arg;
    pthread_mutex_lock(w->gate);
    bool go = *w->go;
    pthread_mutex_unlock(w->gate);
    if (!go) return NULL;
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

/* The best of some rounds. All threads run, or none: those that started wait at a gate of their own. */
static double best_seconds(bench *b, work_fn *fn, void *ctx) {
    int n = b->o->threads, started = 1;
    pthread_t threads[MOST_THREADS];
    worker workers[MOST_THREADS];
    pthread_barrier_t barrier;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    bool go = false;
    pthread_barrier_init(&barrier, NULL, (unsigned)n);
    pthread_mutex_lock(&gate);
    for (; started < n; started++) {
        workers[started] = (worker){fn, ctx, started, n, b->clock, &barrier, &gate, &go, 0};
        if (pthread_create(threads + started, NULL, run_worker, workers + started)) break;
    }
    go = started == n;
    pthread_mutex_unlock(&gate);
    workers[0] = (worker){fn, ctx, 0, n, b->clock, &barrier, &gate, &go, 1e30};
    run_worker(workers);
    for (int i = 1; i < started; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    if (!go) b->failed = true;
    return workers[0].seconds;
}

/* ---- products */

typedef struct product {
    const cpu_table *cpu;
    matrix w;
    size_t n_tokens;
    void *input, *scratch[MOST_THREADS];
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

static void run_and_tell(bench *b, product *p, const char *name) {
    double t = best_seconds(b, run_product, p);
    double n = (double)p->w.n_rows;
    facet_kernel_speed speed = {.name = name,
                                .n_tokens = p->n_tokens,
                                .bytes_per_second = p->n_tokens > CPU_FEW ? 0 : n * (double)p->w.row_bytes / t,
                                .macs_per_second = n * (double)p->w.n_cols * (double)p->n_tokens / t};
    tell(b, &speed);
}

static void bench_product(bench *b, quant_type type, uint8_t *weights, size_t n_tokens, size_t bytes) {
    const quant_format *f = quant_format_of(type);
    size_t n_cols = b->o->columns;
    product p = {.cpu = b->cpu, .n_tokens = n_tokens};
    p.w = (matrix){.data = weights, .format = f, .n_cols = n_cols, .row_bytes = (size_t)quant_row_bytes(f, n_cols)};
    p.w.n_rows = bytes / p.w.row_bytes / 64 * 64;
    p.ldo = p.w.n_rows;
    cpu_input kind = cpu_input_for(b->cpu, type);
    float *x = block_of(b, n_tokens * n_cols * sizeof *x, 64);
    p.input = block_of(b, cpu_input_bytes(b->cpu, kind, n_cols, n_tokens), 64);
    p.out = block_of(b, n_tokens * p.ldo * sizeof(float), 64);
    for (int i = 0; i < b->o->threads; i++) p.scratch[i] = block_of(b, cpu_scratch_bytes(b->cpu, n_cols), 64);
    if (!b->failed) {
        for (size_t i = 0; i < n_tokens * n_cols; i++) x[i] = (float)(i * 2654435761u % 2001) * 0.001f - 1.0f;
        cpu_input_prepare(b->cpu, kind, x, n_cols, NULL, n_cols, n_tokens, 0, n_tokens, p.input);
        run_and_tell(b, &p, f->name);
    }
    for (int i = 0; i < b->o->threads; i++) free(p.scratch[i]);
    free(x);
    free(p.input);
    free(p.out);
}

/* One token, and four, with weights from memory; many with weights of 1024 rows. */
static void bench_products(bench *b) {
    size_t bytes = b->o->megabytes << 20;
    uint8_t *weights = block_of(b, bytes, BIG_PAGE);
    if (!weights) return;
    madvise(weights, bytes, MADV_HUGEPAGE); /* as a model's file is mapped where the system can */
    for (int type = 0; type < QUANT_N_TYPES && !b->failed; type++) {
        const quant_format *f = quant_format_of((quant_type)type);
        if (!wanted(b, f->name) || b->o->columns % f->block) continue;
        size_t some = 1024 * (size_t)quant_row_bytes(f, b->o->columns);
        fill_weights(weights, bytes, f);
        bench_product(b, (quant_type)type, weights, 1, bytes);
        bench_product(b, (quant_type)type, weights, 4, bytes / 4);
        bench_product(b, (quant_type)type, weights, b->o->tokens, some < bytes ? some : bytes);
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

static void fill_attention(const bench *b, facet_kv_type type, size_t dim, uint8_t *kv, size_t n_rows, float *x) {
    size_t row = cpu_kv_row_bytes(type, dim);
    for (size_t i = 0; i < 512 * 64; i++) x[i] = (float)(i * 2654435761u % 2001) * 0.001f - 1.0f;
    for (size_t i = 0; i < n_rows; i++) cpu_kv_store(b->cpu, type, x + i * 7 % 1000, dim, kv + i * row);
    for (size_t i = 0; i < 512 * 64; i++) x[i] *= 0.1f; /* queries: scores of ordinary size */
}

static void bench_attention(bench *b, facet_kv_type type, size_t dim, size_t n_queries) {
    static const char *const names[] = {"f16", "q8_0", "f32"};
    size_t span_bytes = 2 * CPU_SPAN * cpu_kv_row_bytes(type, dim);
    size_t n_spans = n_queries > 8 ? 1 : (b->o->megabytes << 18) / span_bytes + 1;
    uint8_t *kv = block_of(b, n_spans * span_bytes, 64);
    float *x = block_of(b, 512 * 64 * sizeof *x, 64), *out = block_of(b, MOST_THREADS * 64 * 512 * sizeof *out, 64);
    const float *queries[64];
    cpu_range ranges[64];
    attention a = {.cpu = b->cpu, .kv = kv, .n_spans = n_spans, .span_bytes = span_bytes};
    a.n_rounds = n_queries > 8 ? 20 : (int)n_spans;
    a.span = (cpu_span){
        .type = type, .head_dim = dim, .n_queries = n_queries, .queries = queries, .ranges = ranges, .out = out};
    for (size_t q = 0; q < n_queries; q++) {
        queries[q] = x + q * dim;
        ranges[q] = (cpu_range){0, CPU_SPAN};
    }
    if (!b->failed) {
        char name[64];
        fill_attention(b, type, dim, kv, n_spans * 2 * CPU_SPAN, x);
        double t = best_seconds(b, run_attention, &a) / a.n_rounds / b->o->threads;
        snprintf(name, sizeof name, "attention %s %zu, %zu queries", names[type], dim, n_queries);
        facet_kernel_speed speed = {.name = name,
                                    .bytes_per_second = n_queries > 8 ? 0 : (double)span_bytes / t,
                                    .macs_per_second = 2.0 * CPU_SPAN * (double)(dim * n_queries) / t};
        tell(b, &speed);
    }
    free(kv);
    free(x);
    free(out);
}

static void bench_attentions(bench *b) {
    static const facet_kv_type types[] = {FACET_KV_F16, FACET_KV_Q8_0, FACET_KV_F32};
    for (size_t i = 0; i < 3 && wanted(b, "attention"); i++) {
        bench_attention(b, types[i], 256, 8);
        bench_attention(b, types[i], 512, 8);
        bench_attention(b, types[i], 256, 64);
    }
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

typedef struct step {
    const char *name;
    void (*run)(step_data *);
} step;
static const step steps[] = {{"rms_norm", run_rms_norm},
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

static void bench_step(bench *b, const step *s, step_data *d) {
    double best = 1e30;
    for (size_t k = 0; k < STEP_N; k++)
        d->x[k] = d->y[k] = d->out[k] = (float)(k * 2654435761u % 2001) * 0.001f - 1.0f;
    for (int round = 0; round < 20; round++) {
        double t = now(b->clock);
        for (int k = 0; k < 20; k++) s->run(d);
        t = (now(b->clock) - t) / 20;
        if (t < best) best = t;
    }
    tell(b, &(facet_kernel_speed){.name = s->name, .seconds_per_number = best / STEP_N});
}

static void bench_steps(bench *b) {
    step_data d = {b->cpu, block_of(b, STEP_N * 4, 64), block_of(b, STEP_N * 4, 64), block_of(b, STEP_N * 4, 64),
                   block_of(b, STEP_N * 64, 64)};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && !b->failed; i++) {
        if (wanted(b, steps[i].name)) bench_step(b, steps + i, &d);
    }
    free(d.x);
    free(d.y);
    free(d.out);
    free(d.input);
}

/* ---- what the processor can do at most */

typedef struct peak_job {
    cpu_peak_fn *fn;
    uint64_t macs;
} peak_job;

static void run_peak(void *ctx, int thread, int n_threads) {
    peak_job *job = ctx;
    (void)n_threads;
    uint64_t macs = job->fn(200000);
    if (thread == 0) job->macs = macs;
}

static void bench_peak(bench *b) {
    peak_job job = {.fn = cpu_peak(b->cpu->used)};
    if (!job.fn) return;
    double t = best_seconds(b, run_peak, &job);
    facet_kernel_speed speed = {.name = FACET_KERNEL_PEAK, .macs_per_second = (double)job.macs * b->o->threads / t};
    tell(b, &speed);
}

/* ---- */

void facet_kernel_bench_options_defaults(facet_kernel_bench_options *o) {
    *o = (facet_kernel_bench_options){.size = sizeof *o,
                                      .threads = 1,
                                      .megabytes = 600,
                                      .tokens = 480,
                                      .columns = 1536,
                                      .cpu_features = FACET_CPU_ALL};
}

static bool in_range(size_t x, size_t most) { return x >= 1 && x <= most; }

facet_status facet_kernel_bench(const facet_kernel_bench_options *o, facet_kernel_speed_fn fn, void *ctx,
                                facet_error *err) {
    uint32_t used;
    cpu_table *cpu;
    if (o->size != sizeof *o || o->threads < 1 || o->threads > MOST_THREADS || !in_range(o->megabytes, 1 << 20) ||
        !in_range(o->tokens, 1 << 16) || !in_range(o->columns, 1 << 16)) {
        return error_set(err, FACET_ERROR_ARGUMENT, "a kernel bench with 1 to %d threads, and sizes above 0",
                         MOST_THREADS);
    }
    FACET_TRY(cpu_table_new(&cpu, o->cpu_features, &used, err));
    bench b = {.o = o, .cpu = cpu, .fn = fn, .ctx = ctx};
    b.clock = o->thread_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    bench_peak(&b);
    b.n_told = 0;
    if (!b.failed) bench_products(&b);
    if (!b.failed) bench_attentions(&b);
    if (!b.failed) bench_steps(&b);
    cpu_table_free(cpu);
    if (b.failed) return error_memory(err, o->megabytes << 20);
    return b.n_told ? FACET_OK : error_set(err, FACET_ERROR_ARGUMENT, "there is no kernel '%s'", o->names[0]);
}
