/* What many tests need. See support.h. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef FACET_TEST_DATA
#define FACET_TEST_DATA "tests/data"
#endif

char *test_read(const char *name, size_t *n_bytes) {
    char path[512];
    snprintf(path, sizeof path, "%s%s%s", name[0] == '/' ? "" : FACET_TEST_DATA, name[0] == '/' ? "" : "/", name);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot read %s", path);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(n + 1);
    if (!data || fread(data, 1, n, f) != n) fail_msg("cannot read %s", path);
    fclose(f);
    data[n] = '\0';
    if (n_bytes) *n_bytes = n;
    return data;
}

golden golden_open(const char *name) {
    golden g = {0};
    facet_error error = {0};
    g.bytes = test_read(name, &g.n_bytes);
    assert_ok(gguf_open(&g.file, &(gguf_part){(const uint8_t *)g.bytes, g.n_bytes}, 1, NULL, &error), &error);
    return g;
}

void golden_close(golden *g) {
    gguf_free(g->file);
    free(g->bytes);
}

const gguf_tensor *golden_tensor(const golden *g, const char *name) {
    const gguf_tensor *t = gguf_tensor_find(g->file, name);
    if (!t) fail_msg("the golden file has no tensor %s", name);
    return t;
}

const void *golden_data(const golden *g, const char *name, size_t *n) {
    const gguf_tensor *t = golden_tensor(g, name);
    if (n) *n = (size_t)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
    return t->data;
}

double test_max_difference(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}

bool test_survives(void (*fn)(void)) {
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) {
        fn();
        _exit(0);
    }
    if (waitpid(child, &status, 0) == child && WIFEXITED(status)) return true;
    print_message("the driver ended the program that asked it\n");
    return false;
}

double test_kl(const float *p, const float *q, size_t n) {
    double max_p = -INFINITY, max_q = -INFINITY, sum_p = 0, sum_q = 0, kl = 0;
    for (size_t i = 0; i < n; i++) {
        if ((double)p[i] > max_p) max_p = (double)p[i];
        if ((double)q[i] > max_q) max_q = (double)q[i];
    }
    for (size_t i = 0; i < n; i++) {
        sum_p += exp((double)p[i] - max_p);
        sum_q += exp((double)q[i] - max_q);
    }
    for (size_t i = 0; i < n; i++) {
        double log_p = (double)p[i] - max_p - log(sum_p), log_q = (double)q[i] - max_q - log(sum_q);
        kl += exp(log_p) * (log_p - log_q);
    }
    return kl;
}
