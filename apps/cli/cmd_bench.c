/* facet bench: speed of prompt and decode, read bandwidth, memory. Each repeat starts with a new session; the median
 * counts. */
#include "app.h"
#include "commands.h"
#include "inspect.h"
#include "machine.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

typedef struct series {
    double *rates; /* tokens per second, sorted once complete */
    size_t n;
} series;

/* Where the time of some tokens went. */
typedef struct profile {
    double seconds, parts[FACET_N_PARTS];
    size_t n_tokens;
} profile;

typedef struct bench {
    app a;
    int32_t *tokens; /* depth and prompt */
    size_t depth, n_prompt, n_decode, n_repeats;
    series prompt, decode;
    uint64_t peak_bytes;
    double bandwidth;
    inspect_traffic traffic;
    profile prompt_parts, decode_parts;
} bench;

/* Ordinary tokens in no order that a model would find likely; the same every time. */
static void fill_tokens(bench *b, size_t n) {
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < n; i++) {
        do {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b->tokens[i] = (int32_t)(state % (uint64_t)b->a.info.n_vocab);
        } while (facet_token_is_control(b->a.model, b->tokens[i]) || facet_token_is_end(b->a.model, b->tokens[i]));
    }
    int32_t bos = facet_token_bos(b->a.model);
    if (bos >= 0) b->tokens[0] = bos;
}

static int sync_to(bench *b, size_t n) {
    facet_error error = {0};
    if (!n) return EXIT_OK;
    if (facet_session_sync(b->a.session, b->tokens, n, NULL, NULL, NULL, &error)) return report_failure(&error, NULL);
    return EXIT_OK;
}

static facet_engine_stats stats_of(const bench *b) {
    facet_engine_stats s = {.size = sizeof s};
    facet_engine_get_stats(b->a.engine, &s);
    return s;
}

static void add_to_profile(const bench *b, profile *p, const facet_engine_stats *before, double seconds, size_t n) {
    facet_engine_stats now = stats_of(b);
    for (int i = 0; i < FACET_N_PARTS; i++) p->parts[i] += now.part_seconds[i] - before->part_seconds[i];
    p->seconds += seconds;
    p->n_tokens += n;
}

static int measure_prompt(bench *b, double *rate) {
    int status = app_new_session(&b->a);
    if (!status) status = sync_to(b, b->depth);
    facet_engine_stats before = stats_of(b);
    double begin = terminal_seconds();
    if (!status) status = sync_to(b, b->depth + b->n_prompt);
    double seconds = terminal_seconds() - begin;
    add_to_profile(b, &b->prompt_parts, &before, seconds, b->n_prompt);
    *rate = (double)b->n_prompt / seconds;
    return status;
}

static int measure_decode(bench *b, double *rate) {
    facet_error error = {0};
    facet_generation generation;
    facet_generation_result result = {.size = sizeof result};
    facet_generation_defaults(&generation);
    generation.sampling.temperature = 0;
    generation.max_tokens = (int32_t)b->n_decode;
    generation.ignore_end = true;
    int status = app_new_session(&b->a);
    if (!status) status = sync_to(b, b->depth ? b->depth : 1);
    if (status) return status;
    facet_engine_stats before = stats_of(b);
    if (facet_session_generate(b->a.session, &generation, NULL, NULL, &result, &error))
        return report_failure(&error, NULL);
    if (result.stop_reason == FACET_STOP_CANCELLED) return EXIT_INTERRUPTED;
    if (result.n_generated != b->n_decode)
        return report_error("bench: the context is full after %zu tokens; -c N makes it larger", result.n_generated);
    add_to_profile(b, &b->decode_parts, &before, result.decode_seconds, result.n_generated);
    *rate = (double)result.n_generated / result.decode_seconds;
    return EXIT_OK;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const series *s) {
    if (!s->n) return 0;
    return (s->rates[(s->n - 1) / 2] + s->rates[s->n / 2]) / 2;
}

static double spread(const series *s) { return s->n ? (s->rates[s->n - 1] - s->rates[0]) / median(s) : 0; }

/* One run that does not count, then the repeats. */
static int measure(bench *b, series *s, profile *parts, int (*once)(bench *, double *)) {
    double rate;
    s->rates = calloc(b->n_repeats, sizeof *s->rates);
    if (!s->rates) return report_no_memory();
    int status = once(b, &rate);
    *parts = (profile){.seconds = 0};
    for (size_t i = 0; !status && i < b->n_repeats; i++) {
        status = once(b, &s->rates[i]);
        if (!status) s->n++;
    }
    if (s->n) qsort(s->rates, s->n, sizeof *s->rates, compare);
    return status;
}

/* Bytes that decoding moves in a second: the weights a token needs, and the keys and values before it. */
static double decode_bandwidth(const bench *b) { return median(&b->decode) * (double)b->traffic.decode_bytes; }

static void print_series_json(const char *name, const series *s) {
    if (!s->n) return;
    printf(",\"%s_tokens_per_second\":%.3f,\"%s_min\":%.3f,\"%s_max\":%.3f,\"%s_spread\":%.4f", name, median(s), name,
           s->rates[0], name, s->rates[s->n - 1], name, spread(s));
}

static void print_json(const bench *b, const facet_engine_info *e) {
    printf("{\"version\":\"%s\",\"threads\":%d,\"prompt_tokens\":%zu,\"decode_tokens\":%zu,\"depth\":%zu,"
           "\"repeats\":%zu",
           facet_version(), e->n_threads, b->n_prompt, b->n_decode, b->depth, b->n_repeats);
    print_series_json("prompt", &b->prompt);
    print_series_json("decode", &b->decode);
    printf(",\"read_bandwidth_bytes_per_second\":%.0f", b->bandwidth);
    if (b->decode.n) {
        printf(",\"decode_weight_bytes_per_token\":%llu,\"decode_bandwidth_bytes_per_second\":%.0f",
               (unsigned long long)b->traffic.decode_bytes, decode_bandwidth(b));
        if (b->bandwidth > 0) printf(",\"decode_bandwidth_fraction\":%.4f", decode_bandwidth(b) / b->bandwidth);
    }
    printf(",\"peak_memory_bytes\":%llu,\"weight_bytes\":%llu,\"kv_bytes\":%llu,\"scratch_bytes\":%llu}\n",
           (unsigned long long)b->peak_bytes, (unsigned long long)b->a.info.weight_bytes,
           (unsigned long long)e->kv_bytes, (unsigned long long)e->scratch_bytes);
}

static void print_series(const char *what, size_t n, const series *s) {
    if (s->n)
        printf("%-8s %6zu tokens  %10.2f tokens/s  (%.2f to %.2f)\n", what, n, median(s), s->rates[0],
               s->rates[s->n - 1]);
}

static void print_text(const bench *b, const facet_engine_info *e) {
    printf("threads  %6d\n", e->n_threads);
    if (b->depth) printf("depth    %6zu tokens\n", b->depth);
    print_series("prompt", b->n_prompt, &b->prompt);
    print_series("decode", b->n_decode, &b->decode);
    if (b->bandwidth > 0) printf("memory read bandwidth   %8.2f GB/s\n", b->bandwidth / 1e9);
    if (b->decode.n) {
        printf("weights read by decode  %8.2f GB/s", decode_bandwidth(b) / 1e9);
        if (b->bandwidth > 0) printf(", %.0f%% of it", 100 * decode_bandwidth(b) / b->bandwidth);
        putchar('\n');
    }
    printf("peak memory             %8.2f MiB (weights mapped from the file not counted)\n",
           (double)b->peak_bytes / 1048576);
}

/* Milliseconds a token, and a bar of the share. What no part claims is sampling and the engine's own work. */
static void print_part(const char *name, double seconds, const profile *p) {
    char bar[41];
    size_t n = (size_t)(40 * seconds / p->seconds + 0.5);
    if (seconds <= 0) return;
    memset(bar, '#', sizeof bar);
    bar[n < 40 ? n : 40] = '\0';
    printf("  %-22s %9.3f ms %5.1f%%  %s\n", name, 1e3 * seconds / (double)p->n_tokens, 100 * seconds / p->seconds,
           bar);
}

static void print_profile(const char *what, const profile *p) {
    double rest = p->seconds;
    if (!p->n_tokens) return;
    printf("a token of %s: %.3f ms\n", what, 1e3 * p->seconds / (double)p->n_tokens);
    for (int i = 0; i < FACET_N_PARTS; i++) {
        print_part(facet_part_name((facet_part)i), p->parts[i], p);
        rest -= p->parts[i];
    }
    print_part("the rest", rest, p);
}

static int run(bench *b) {
    machine_watch *watch = machine_watch_new();
    int status = watch ? EXIT_OK : report_no_memory();
    if (!status && b->n_prompt) status = measure(b, &b->prompt, &b->prompt_parts, measure_prompt);
    if (!status && b->n_decode) status = measure(b, &b->decode, &b->decode_parts, measure_decode);
    b->peak_bytes = machine_watch_free(watch);
    return status;
}

static int report(bench *b) {
    facet_engine_info e = {.size = sizeof e};
    facet_engine_get_info(b->a.engine, &e);
    b->bandwidth = machine_read_bandwidth(e.n_threads);
    if (b->a.options->json)
        print_json(b, &e);
    else
        print_text(b, &e);
    if (b->a.options->profile && !b->a.options->json) {
        print_profile("the prompt", &b->prompt_parts);
        print_profile("decode", &b->decode_parts);
    }
    return EXIT_OK;
}

int cmd_bench(const cli_options *o) {
    bench b = {.depth = (size_t)o->depth,
               .n_prompt = (size_t)o->prompt_tokens,
               .n_decode = (size_t)o->decode_tokens,
               .n_repeats = (size_t)o->repeats};
    if (o->n_arguments && !strcmp(o->arguments[0], "kernels")) return bench_kernels(o);
    if (o->n_arguments) return report_usage("bench: '%.60s' is not a kind of bench", o->arguments[0]);
    if (!b.n_prompt && !b.n_decode) return report_usage("bench: -p and -n are both 0, there is nothing to measure");
    size_t n_tokens = b.depth + b.n_prompt + 1,
           work = b.depth + (b.n_prompt > b.n_decode ? b.n_prompt : b.n_decode) + 1;
    b.tokens = malloc(n_tokens * sizeof *b.tokens);
    int status = b.tokens ? EXIT_OK : report_no_memory();
    if (!status) status = app_open_model(&b.a, o, APP_WEIGHTS);
    b.a.unshared = true;
    if (!status) status = inspect_decode_traffic(o, &b.traffic);
    if (!status) status = app_new_engine(&b.a, (int64_t)work);
    if (!status) {
        fill_tokens(&b, n_tokens);
        status = run(&b);
    }
    if (!status) status = report(&b);
    free(b.prompt.rates);
    free(b.decode.rates);
    free(b.tokens);
    app_close(&b.a);
    return status;
}
