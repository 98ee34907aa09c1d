/* Memory bandwidth and memory use, by reading: see machine.h. */
#include "machine.h"
#include "terminal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { READ_BYTES = 256 << 20, READ_PASSES = 6, LARGE_PAGE = 2 << 20 };

typedef struct reader {
    pthread_t thread;
    const uint64_t *data;
    size_t n; /* numbers, a multiple of 16 */
    uint64_t sum;
} reader;

/* Two streams, asked for ahead of time, keep more reads under way than one; eight sums, so that no addition waits for
 * the one before. */
static void *read_part(void *arg) {
    enum { AHEAD = 2048 / sizeof(uint64_t) };
    reader *r = arg;
    uint64_t sum[8] = {0};
    const uint64_t *a = r->data, *b = r->data + r->n / 2;
    for (size_t i = 0; i < r->n / 2; i += 8) {
        __builtin_prefetch(a + i + AHEAD);
        __builtin_prefetch(b + i + AHEAD);
        for (size_t j = 0; j < 8; j++) sum[j] += a[i + j] + b[i + j];
    }
    for (size_t j = 0; j < 8; j++) r->sum += sum[j];
    return NULL;
}

/* Seconds of one pass; 0: no thread. */
static double read_once(reader *readers, int n_threads) {
    int started = 0;
    double begin = terminal_seconds();
    while (started < n_threads && !pthread_create(&readers[started].thread, NULL, read_part, &readers[started]))
        started++;
    for (int i = 0; i < started; i++) pthread_join(readers[i].thread, NULL);
    return started == n_threads ? terminal_seconds() - begin : 0;
}

double machine_read_bandwidth(int n_threads) {
    uint64_t *data = aligned_alloc(LARGE_PAGE, READ_BYTES);
    reader *readers = calloc((size_t)n_threads, sizeof *readers);
    double best = 0;
    if (!data || !readers) goto done;
    (void)madvise(data, READ_BYTES,
                  MADV_HUGEPAGE); /* as the weights are asked for: fewer misses in the page tables */
    memset(data, 1, READ_BYTES);
    size_t part = READ_BYTES / sizeof *data / (size_t)n_threads / 16 * 16;
    for (int i = 0; i < n_threads; i++) readers[i] = (reader){.data = data + part * (size_t)i, .n = part};
    for (int pass = 0; pass < READ_PASSES; pass++) {
        double seconds = read_once(readers, n_threads);
        double rate = seconds > 0 ? (double)(part * (size_t)n_threads * sizeof *data) / seconds : 0;
        if (rate > best) best = rate;
    }
    /* The sums must reach something outside, or the reading would be dropped. */
    for (int i = 0; i < n_threads; i++)
        if (readers[i].sum == 1) best = 0;
done:
    free(readers);
    free(data);
    return best;
}

uint64_t machine_private_bytes(void) {
    char line[200];
    unsigned long long sum = 0, kib;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %llu", &kib) == 1 || sscanf(line, "RssShmem: %llu", &kib) == 1) sum += kib;
    fclose(file);
    return sum * 1024;
}

struct machine_watch {
    pthread_t thread;
    atomic_bool stop;
    uint64_t peak;
};

static void look(machine_watch *watch) {
    uint64_t now = machine_private_bytes();
    if (now > watch->peak) watch->peak = now;
}

static void *watch_memory(void *arg) {
    machine_watch *watch = arg;
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    while (!atomic_load(&watch->stop)) {
        look(watch);
        nanosleep(&pause, NULL);
    }
    look(watch);
    return NULL;
}

machine_watch *machine_watch_new(void) {
    machine_watch *watch = calloc(1, sizeof *watch);
    if (watch && pthread_create(&watch->thread, NULL, watch_memory, watch)) {
        free(watch);
        watch = NULL;
    }
    return watch;
}

uint64_t machine_watch_free(machine_watch *watch) {
    if (!watch) return 0;
    atomic_store(&watch->stop, true);
    pthread_join(watch->thread, NULL);
    uint64_t peak = watch->peak;
    free(watch);
    return peak;
}
