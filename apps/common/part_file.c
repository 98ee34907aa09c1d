/* See part_file.h. */
#include "part_file.h"
#include "failure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct part_file {
    char *path, *part, *info;
    int fd;
    uint64_t length, total;
    char mark[256];
};

static facet_status fail_system(const part_file *p, const char *verb, facet_error *error) {
    return failure(error, FACET_ERROR_IO, "cannot %s %.150s: %s", verb, p->part, strerror(errno));
}

static void release(part_file *p) {
    if (!p) return;
    if (p->fd >= 0) close(p->fd);
    free(p->path);
    free(p->part);
    free(p->info);
    free(p);
}

static char *with_ending(const char *path, const char *ending) {
    size_t n = strlen(path) + strlen(ending) + 1;
    char *out = malloc(n);
    if (out) snprintf(out, n, "%s%s", path, ending);
    return out;
}

/* Two lines: the size and the mark. Without them nobody knows what the part is of. */
static bool read_info(part_file *p) {
    FILE *f = fopen(p->info, "r");
    unsigned long long total;
    if (!f) return false;
    bool ok = fscanf(f, "%llu\n", &total) == 1 && fgets(p->mark, sizeof p->mark, f);
    fclose(f);
    p->mark[ok ? strcspn(p->mark, "\n") : 0] = '\0';
    p->total = ok ? total : 0;
    return ok;
}

static facet_status take_up(part_file *p, facet_error *error) {
    struct stat info;
    p->fd = open(p->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (p->fd < 0) return fail_system(p, "write", error);
    if (flock(p->fd, LOCK_EX | LOCK_NB))
        return failure(error, FACET_ERROR_IO, "%.150s is being downloaded by another process", p->path);
    if (fstat(p->fd, &info)) return fail_system(p, "measure", error);
    p->length = (uint64_t)info.st_size;
    if (!p->length || (read_info(p) && (!p->total || p->length <= p->total))) return FACET_OK;
    return part_file_restart(p, error);
}

facet_status part_file_open(part_file **out, const char *path, facet_error *error) {
    *out = NULL;
    part_file *p = calloc(1, sizeof *p);
    if (!p) return failure(error, FACET_ERROR_MEMORY, "out of memory");
    p->fd = -1;
    p->path = strdup(path);
    p->part = with_ending(path, ".part");
    p->info = with_ending(path, ".part.info");
    bool ok = p->path && p->part && p->info;
    facet_status status = ok ? take_up(p, error) : failure(error, FACET_ERROR_MEMORY, "out of memory");
    if (status)
        release(p);
    else
        *out = p;
    return status;
}

uint64_t part_file_length(const part_file *p) { return p->length; }
uint64_t part_file_total(const part_file *p) { return p->total; }
const char *part_file_mark(const part_file *p) { return p->mark; }

facet_status part_file_describe(part_file *p, uint64_t total, const char *mark, facet_error *error) {
    FILE *f = fopen(p->info, "w");
    bool ok = f && fprintf(f, "%llu\n%s\n", (unsigned long long)total, mark) > 0;
    if (f && fclose(f)) ok = false;
    if (!ok) return fail_system(p, "write beside", error);
    p->total = total;
    snprintf(p->mark, sizeof p->mark, "%s", mark);
    return FACET_OK;
}

facet_status part_file_append(part_file *p, const void *bytes, size_t n, facet_error *error) {
    const char *from = bytes;
    while (n) {
        ssize_t done = pwrite(p->fd, from, n, (off_t)p->length);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return fail_system(p, "write", error);
        from += done;
        n -= (size_t)done;
        p->length += (uint64_t)done;
    }
    return FACET_OK;
}

facet_status part_file_read(const part_file *p, uint64_t offset, void *bytes, size_t n, facet_error *error) {
    char *to = bytes;
    while (n) {
        ssize_t done = pread(p->fd, to, n, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return fail_system(p, "read", error);
        if (done == 0) return failure(error, FACET_ERROR_IO, "%.150s became shorter", p->part);
        to += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return FACET_OK;
}

facet_status part_file_restart(part_file *p, facet_error *error) {
    if (ftruncate(p->fd, 0)) return fail_system(p, "empty", error);
    unlink(p->info);
    p->length = p->total = 0;
    p->mark[0] = '\0';
    return FACET_OK;
}

facet_status part_file_commit(part_file *p, facet_error *error) {
    facet_status status = FACET_OK;
    if (fsync(p->fd) || rename(p->part, p->path)) status = fail_system(p, "finish", error);
    if (!status) unlink(p->info);
    release(p);
    return status;
}

void part_file_close(part_file *p) {
    if (!p) return;
    if (!p->length) {
        unlink(p->part);
        unlink(p->info);
    }
    release(p);
}
