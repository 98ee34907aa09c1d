/* facet bench kernels: every kernel alone, beside what the machine can do. */
#include "app.h"
#include "commands.h"
#include "facet_tools.h"
#include "machine.h"

#include <string.h>

typedef struct limits {
    double bytes, macs; /* a second */
    bool json, begun;
} limits;

static void print_share(double value, double unit, const char *name, double limit) {
    if (value <= 0) {
        printf("  %*s", 21, "");
        return;
    }
    printf("  %9.2f %-6s", value / unit, name);
    if (limit > 0)
        printf("%4.0f%%", 100 * value / limit);
    else
        printf("%5s", "");
}

static void print_text(const limits *l, const facet_kernel_speed *s) {
    char name[80];
    if (s->n_tokens)
        snprintf(name, sizeof name, "%s, %zu token%s", s->name, s->n_tokens, s->n_tokens == 1 ? "" : "s");
    else
        snprintf(name, sizeof name, "%s", s->name);
    printf("%-32s", name);
    if (s->seconds_per_number > 0) {
        printf("  %9.3f ns a number\n", s->seconds_per_number * 1e9);
    } else {
        print_share(s->bytes_per_second, 1e9, "GB/s", l->bytes);
        print_share(s->macs_per_second, 1e9, "GMAC/s", l->macs);
        putchar('\n');
    }
    fflush(stdout);
}

static void print_json(limits *l, const facet_kernel_speed *s) {
    printf("%s{\"name\":\"%s\",\"tokens\":%zu,\"bytes_per_second\":%.0f,\"macs_per_second\":%.0f,"
           "\"seconds_per_number\":%.4g}",
           l->begun ? "," : "", s->name, s->n_tokens, s->bytes_per_second, s->macs_per_second, s->seconds_per_number);
    l->begun = true;
}

static void on_speed(void *ctx, const facet_kernel_speed *s) {
    limits *l = ctx;
    if (l->json)
        print_json(l, s);
    else if (!strcmp(s->name, FACET_KERNEL_PEAK))
        printf("%-32s  %*s  %9.2f GMAC/s\n", "byte products, without memory", 21, "", s->macs_per_second / 1e9);
    else
        print_text(l, s);
    if (!strcmp(s->name, FACET_KERNEL_PEAK)) l->macs = s->macs_per_second;
}

int bench_kernels(const cli_options *o) {
    facet_kernel_bench_options options;
    facet_error error = {0};
    facet_kernel_bench_options_defaults(&options);
    if (o->threads > 0) options.threads = (int)o->threads;
    options.names = o->arguments + 1;
    options.n_names = (size_t)o->n_arguments - 1;
    limits l = {.bytes = machine_read_bandwidth(options.threads), .json = o->json};
    if (l.json)
        printf("{\"threads\":%d,\"read_bandwidth_bytes_per_second\":%.0f,\"kernels\":[", options.threads, l.bytes);
    else
        printf("%-32s  %9.2f GB/s       %d thread%s\n", "memory, plain reading", l.bytes / 1e9, options.threads,
               options.threads == 1 ? "" : "s");
    facet_status status = facet_kernel_bench(&options, on_speed, &l, &error);
    if (l.json) puts("]}");
    return status ? report_failure(&error, NULL) : EXIT_OK;
}
