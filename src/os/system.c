/* The machine as the operating system shows it. See system.h. Linux; the control group's quota is read from the v2
 * and v1 files of cgroups(7). */
#include "os/system.h"

#include <linux/futex.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* One or two numbers of a small file; false when it is not there or says otherwise ("max"). */
static bool read_numbers(const char *path, const char *format, double *a, double *b) {
    FILE *f = fopen(path, "r");
    if (!f) return false;
    int n = b ? fscanf(f, format, a, b) : fscanf(f, format, a);
    fclose(f);
    return n == (b ? 2 : 1);
}

static double quota_cpus(void) {
    double quota, period;
    if (read_numbers("/sys/fs/cgroup/cpu.max", "%lf %lf", &quota, &period) && period > 0) return quota / period;
    if (read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "%lf", &quota, NULL) && quota > 0 &&
        read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "%lf", &period, NULL) && period > 0) {
        return quota / period;
    }
    return INFINITY;
}

int os_usable_cpus(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    double quota = quota_cpus();
    if (quota < n) n = (int)ceil(quota);
    return n < 1 ? 1 : n;
}

double os_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *os_pages_new(size_t n_bytes) {
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void os_pages_free(void *pages, size_t n_bytes) {
    if (pages) munmap(pages, n_bytes);
}

void os_pages_drop(void *pages, size_t n_bytes) { madvise(pages, n_bytes, MADV_DONTNEED); }

void os_wait(atomic_uint *word, unsigned value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

void os_wake(atomic_uint *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0); }
