/* Devices: options, the place of their compiled kernels, and what doctor tells of them. See devices.h. */
#include "devices.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void make_directories(char *path) {
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    mkdir(path, 0700);
}

void devices_cache_path(char path[DEVICES_PATH_BYTES]) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (cache && cache[0] == '/')
        n = snprintf(path, DEVICES_PATH_BYTES, "%s/facet/kernels", cache);
    else if (home && home[0] == '/')
        n = snprintf(path, DEVICES_PATH_BYTES, "%s/.cache/facet/kernels", home);
    if (n <= 0 || n >= DEVICES_PATH_BYTES)
        path[0] = '\0';
    else
        make_directories(path);
}

static void ignore_device(void *ctx, const facet_device *d) { (void)ctx, (void)d; }

bool devices_answer(void) {
    enum { PATIENCE = 60 }; /* seconds; a driver may compile something first */
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) return true;
    if (child == 0) {
        int quiet = open("/dev/null", O_WRONLY);
        if (quiet >= 0) dup2(quiet, STDERR_FILENO);
        alarm(PATIENCE);
        facet_device_list(ignore_device, NULL);
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return true;
    }
    return WIFEXITED(status);
}

void devices_options(const cli_options *o, char path[DEVICES_PATH_BYTES], facet_engine_options *out) {
    out->device = o->device;
    if (o->device && strcmp(o->device, "cpu") != 0 && !devices_answer()) {
        report_warning(NULL, "a driver of devices ends the program that asks it: the processor computes");
        out->device = "cpu";
    }
    out->n_device_layers = (int32_t)o->ngl;
    path[0] = '\0';
    if (o->device && strcmp(o->device, "cpu") != 0) devices_cache_path(path);
    out->kernel_cache = path[0] ? path : NULL;
}

static void print_device(void *ctx, const facet_device *d) {
    (void)ctx;
    if (d->problem) {
        printf("device       %s: none: %s\n", d->kind, d->problem);
        return;
    }
    printf("device       --device %s:%d: %s, %.1f GiB (%s)%s\n", d->kind, (int)d->index, d->name,
           (double)d->memory_bytes / (1u << 30), d->version,
           d->processor ? "; the processor itself, of use for tests only" : "");
}

void devices_print(void) {
    if (devices_answer())
        facet_device_list(print_device, NULL);
    else
        puts("device       none: a driver ends the program that asks it");
}
