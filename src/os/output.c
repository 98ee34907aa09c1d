/* Files that appear whole. See output.h. */
#include "os/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct os_output {
    int fd;
    int code;      /* errno of the first failure */
    char *path;    /* as the caller wrote it, for messages */
    char *place;   /* where it goes: links resolved */
    char *partial; /* NULL: written directly */
};

static facet_status fail_system(const char *path, int code, facet_error *err) {
    char text[128];
    const char *why = strerror_r(code, text, sizeof text);
    return error_set(err, code == ENOMEM ? FACET_ERROR_MEMORY : FACET_ERROR_IO, "cannot write '%s': %s", path, why);
}

static void free_output(os_output *o) {
    if (!o) return;
    if (o->fd >= 0) close(o->fd);
    free(o->path);
    free(o->place);
    free(o->partial);
    free(o);
}

/* A name beside the place that nobody else uses. Returns a descriptor or -1. */
static int open_partial(os_output *o, mode_t mode) {
    size_t n = strlen(o->place) + 40;
    o->partial = malloc(n);
    if (!o->partial) {
        errno = ENOMEM;
        return -1;
    }
    int fd = -1;
    for (int i = 0; i < 100 && fd < 0; i++) {
        snprintf(o->partial, n, "%s.partial-%ld-%d", o->place, (long)getpid(), i);
        fd = open(o->partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0 && errno != EEXIST) break;
    }
    if (fd < 0) {
        free(o->partial);
        o->partial = NULL;
    }
    return fd;
}

/* 0, or the errno of what failed. */
static int start(os_output *o) {
    struct stat info;
    bool exists = stat(o->path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) return EISDIR;
    o->place = exists ? realpath(o->path, NULL) : strdup(o->path);
    if (!o->place) return errno;
    if (exists && !S_ISREG(info.st_mode)) {
        o->fd = open(o->path, O_WRONLY | O_CLOEXEC);
    } else if (exists && access(o->path, W_OK) != 0) {
        return errno; /* renaming would get around the file's own permission */
    } else {
        o->fd = open_partial(o, 0666);
        if (o->fd >= 0 && exists) (void)!fchmod(o->fd, info.st_mode & 07777);
    }
    return o->fd < 0 ? errno : 0;
}

facet_status os_output_open(os_output **out, const char *path, facet_error *err) {
    *out = NULL;
    os_output *o = calloc(1, sizeof *o);
    if (!o) return error_memory(err, sizeof *o);
    o->fd = -1;
    o->path = strdup(path);
    int code = o->path ? start(o) : ENOMEM;
    if (code) {
        free_output(o);
        return fail_system(path, code, err);
    }
    *out = o;
    return FACET_OK;
}

facet_status os_output_write(os_output *o, const void *data, size_t n_bytes, facet_error *err) {
    const size_t largest = (size_t)1 << 30;
    const char *p = data;
    while (!o->code && n_bytes) {
        ssize_t done = write(o->fd, p, n_bytes < largest ? n_bytes : largest);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) {
            o->code = errno;
            break;
        }
        p += done;
        n_bytes -= (size_t)done;
    }
    return o->code ? fail_system(o->path, o->code, err) : FACET_OK;
}

facet_status os_output_commit(os_output *o, facet_error *err) {
    if (!o->code && o->partial && fsync(o->fd) != 0) o->code = errno;
    if (close(o->fd) != 0 && !o->code) o->code = errno;
    o->fd = -1;
    if (!o->code && o->partial && rename(o->partial, o->place) != 0) o->code = errno;
    facet_status status = o->code ? fail_system(o->path, o->code, err) : FACET_OK;
    if (o->code && o->partial) unlink(o->partial);
    free_output(o);
    return status;
}

void os_output_discard(os_output *o) {
    if (o && o->partial) unlink(o->partial);
    free_output(o);
}
