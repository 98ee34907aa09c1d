/* facet doctor: what is active here, what limits the speed, and what a change would bring. Every line is measured,
 * read from the system, or computed from the model's shape; nothing is guessed. */
#include "app.h"
#include "commands.h"
#include "inspect.h"
#include "machine.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct checkup {
    app a;
    const cli_options *o;
    facet_engine_info engine;
    facet_fit fit;
    inspect_traffic traffic;
    double bandwidth, bandwidth_one; /* bytes per second with all threads, with one */
    uint64_t memory_bytes, available_bytes;
    int n_advice;
} checkup;

static const struct {
    uint32_t bit;
    const char *name;
} features[] = {
    {FACET_CPU_AVX2, "AVX2"}, {FACET_CPU_AVXVNNI, "AVX-VNNI"}, {FACET_CPU_AVX512, "AVX-512 VNNI"},
    {FACET_CPU_NEON, "NEON"}, {FACET_CPU_I8MM, "I8MM"},
};

static double gib(uint64_t n) { return (double)n / (1u << 30); }
static double mib(uint64_t n) { return (double)n / (1u << 20); }

/* A line of /proc/meminfo in bytes; 0 where there is none. */
static uint64_t read_meminfo(const char *name) {
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), " %llu", &kib) == 1) break;
    }
    if (f) fclose(f);
    return (uint64_t)kib << 10;
}

static void print_processor(const checkup *c) {
    printf("processors   %ld online, %d compute threads\n", sysconf(_SC_NPROCESSORS_ONLN), c->engine.n_threads);
    printf("kernels      ");
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if (c->engine.cpu_features & features[i].bit) printf("%s, ", features[i].name);
    }
    printf("plain C for the rest\n");
    devices_print();
    printf("computing    %s\n", c->engine.device);
    printf("bandwidth    %.1f GB/s read with %d threads, %.1f GB/s with one\n", c->bandwidth / 1e9,
           c->engine.n_threads, c->bandwidth_one / 1e9);
}

static void print_memory(const checkup *c) {
    printf("memory       %.1f GiB, %.1f GiB available\n", gib(c->memory_bytes), gib(c->available_bytes));
    printf("weights      %.2f GiB %s\n", gib(c->fit.weight_bytes),
           c->o->no_mmap ? "read into memory (--no-mmap)"
                         : "mapped from the file: shared, given back under pressure");
    printf("KV cache     %.1f MiB for %d tokens, %.1f KiB for each further token\n", mib(c->fit.kv_bytes),
           c->engine.max_context, (double)c->fit.kv_bytes_per_token / 1024);
    printf("scratch      %.1f MiB for %d tokens at once\n", mib(c->fit.scratch_bytes), c->engine.ubatch);
    printf("vocabulary   %.1f MiB\n", mib(c->fit.vocabulary_bytes));
    printf("beyond file  %.1f MiB at most in all\n", mib(c->fit.anonymous_bytes));
}

static double decode_limit(const checkup *c) { return c->bandwidth / (double)c->traffic.decode_bytes; }

static void print_limits(const checkup *c) {
    printf("decode       reads %.3f GB of weights a token: at most %.1f tokens/s at this bandwidth\n",
           (double)c->traffic.decode_bytes / 1e9, decode_limit(c));
}

static void advise(checkup *c, const char *what) {
    if (c->n_advice++ == 0) printf("advice\n");
    printf("  - %s\n", what);
}

static void advise_threads(checkup *c) {
    char line[200];
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->engine.n_threads > online) {
        snprintf(line, sizeof line, "-t %d is more than the %ld processors: threads wait for each other; use -t %ld",
                 c->engine.n_threads, online, online);
        advise(c, line);
    } else if (c->engine.n_threads == 1 && online > 1) {
        snprintf(line, sizeof line, "one thread reads %.1f GB/s; -t %ld would use all processors",
                 c->bandwidth_one / 1e9, online);
        advise(c, line);
    } else if (c->engine.n_threads > 1 && c->bandwidth < 1.1 * c->bandwidth_one) {
        advise(c, "more threads do not read faster here: decode gains nothing from them, prompts still do");
    }
}

static void advise_memory(checkup *c) {
    uint64_t need = c->fit.anonymous_bytes + (c->o->no_mmap ? c->fit.weight_bytes : 0);
    if (need > c->available_bytes) {
        advise(c, "what is needed beyond the file is more than the memory available: lower -c, or use --kv q8_0");
    } else if (c->fit.weight_bytes > c->available_bytes) {
        advise(c, "the weights do not fit the available memory: they will be read from the disk again for every "
                  "token; a smaller quantisation would be many times faster");
    }
    if (c->o->no_mmap) advise(c, "--no-mmap copies the weights at start and keeps them from being shared");
    if (c->o->kv == FACET_KV_F16 && c->fit.kv_bytes > c->fit.weight_bytes / 4) {
        advise(c, "the KV cache is large: --kv q8_0 makes it 47% smaller");
    }
    if (c->o->kv == FACET_KV_F32) advise(c, "--kv f32 is for tests: f16 halves the KV cache");
}

static void advise_kernels(checkup *c) {
    if (c->engine.cpu_features == FACET_CPU_REFERENCE) {
        advise(c, "this processor has none of the instruction sets with kernels of their own: plain C is many times "
                  "slower");
    }
}

static int examine(checkup *c) {
    facet_error error = {0};
    facet_engine_options e;
    app_engine_options(&c->a, c->o->context, &e);
    c->engine.size = sizeof c->engine;
    c->fit.size = sizeof c->fit;
    facet_engine_get_info(c->a.engine, &c->engine);
    if (facet_fit_compute(c->a.model, &e, &c->fit, &error)) return report_failure(&error, app_model_name(c->o));
    c->bandwidth = machine_read_bandwidth(c->engine.n_threads);
    c->bandwidth_one = c->engine.n_threads == 1 ? c->bandwidth : machine_read_bandwidth(1);
    c->memory_bytes = read_meminfo("MemTotal:");
    c->available_bytes = read_meminfo("MemAvailable:");
    return inspect_decode_traffic(c->o, &c->traffic);
}

static void print_checkup(checkup *c) {
    printf("facet        %s\n", facet_version());
    printf("model        %s: %s, %.2f billion parameters\n", app_model_name(c->o), c->a.info.name,
           (double)c->a.info.n_parameters / 1e9);
    print_processor(c);
    print_memory(c);
    print_limits(c);
    advise_kernels(c);
    advise_threads(c);
    advise_memory(c);
    if (c->n_advice == 0) printf("advice       none: nothing here holds the speed back but the memory itself\n");
}

int cmd_doctor(const cli_options *o) {
    cli_options named = *o;
    checkup c = {.o = &named};
    if (o->n_arguments && o->model) return report_usage("doctor: name the file once, by -m or as the argument");
    if (o->n_arguments) named.model = o->arguments[0];
    int status = app_open_session(&c.a, &named, named.context);
    if (!status) status = examine(&c);
    if (!status) print_checkup(&c);
    app_close(&c.a);
    return status;
}
