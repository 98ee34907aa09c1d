/* A file's bytes on POSIX systems. See map.h. The file is opened, measured and mapped or read; the descriptor of a
 * mapped one is kept, to see whether the file changes. */
#include "os/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct os_map_watch {
    int fd;
    bool linked; /* it had a name */
    off_t n_bytes;
    struct timespec changed;
    char path[]; /* as the caller wrote it, for messages */
};

static facet_status fail_system(const char *verb, const char *path, facet_error *err) {
    int code = errno;
    char text[128];
    const char *why = strerror_r(code, text, sizeof text);
    return error_set(err, code == ENOMEM ? FACET_ERROR_MEMORY : FACET_ERROR_IO, "cannot %s '%s': %s", verb, path,
                     why);
}

static facet_status measure(int fd, const char *path, size_t *n_bytes, facet_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return fail_system("measure", path, err);
    if (S_ISDIR(info.st_mode)) return error_set(err, FACET_ERROR_IO, "cannot read '%s': it is a directory", path);
    if (!S_ISREG(info.st_mode)) {
        return error_set(err, FACET_ERROR_IO, "cannot read '%s': it is no ordinary file", path);
    }
    if ((uint64_t)info.st_size > SIZE_MAX / 2) {
        return error_set(err, FACET_ERROR_IO, "cannot read '%s': it is too large for this machine", path);
    }
    *n_bytes = (size_t)info.st_size;
    return FACET_OK;
}

/* Anonymous pages rather than the heap, so that the alignment is the same as that of a mapping. */
static void *reserve(size_t n_bytes) {
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static facet_status read_all(int fd, const char *path, uint8_t *data, size_t n_bytes, facet_error *err) {
    const size_t largest = (size_t)1 << 30; /* the kernel reads no more than 2 GiB at once */
    for (size_t at = 0; at < n_bytes;) {
        size_t want = n_bytes - at < largest ? n_bytes - at : largest;
        ssize_t got = read(fd, data + at, want);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_system("read", path, err);
        if (got == 0) {
            return error_at(err, FACET_ERROR_TRUNCATED, at, "cannot read '%s': it became shorter while it was read",
                            path);
        }
        at += (size_t)got;
    }
    return FACET_OK;
}

static facet_status load(os_map *map, int fd, const char *path, facet_error *err) {
    void *data = reserve(map->n_bytes);
    if (!data) return error_memory(err, map->n_bytes);
    facet_status status = read_all(fd, path, data, map->n_bytes, err);
    if (status != FACET_OK) {
        munmap(data, map->n_bytes);
        return status;
    }
    map->data = data;
    return FACET_OK;
}

/* Takes the descriptor over when it succeeds. */
static facet_status watch(os_map *map, int fd, const char *path, facet_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return fail_system("measure", path, err);
    size_t n = strlen(path) + 1;
    struct os_map_watch *w = malloc(sizeof *w + n);
    if (!w) return error_memory(err, sizeof *w + n);
    w->fd = fd;
    w->linked = info.st_nlink > 0;
    w->n_bytes = (off_t)map->n_bytes;
    w->changed = info.st_mtim;
    memcpy(w->path, path, n);
    map->watch = w;
    return FACET_OK;
}

static facet_status map_pages(os_map *map, int fd, const char *path, facet_error *err) {
    void *data = mmap(NULL, map->n_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) return fail_system("map", path, err);
    /* Decoding reads gigabytes front to back: with small pages a sixth of the time goes into finding them. */
    (void)madvise(data, map->n_bytes, MADV_HUGEPAGE);
    map->data = data;
    map->mapped = true;
    return watch(map, fd, path, err);
}

static facet_status fill(os_map *map, int fd, const char *path, bool use_mmap, facet_error *err) {
    FACET_TRY(measure(fd, path, &map->n_bytes, err));
    if (map->n_bytes == 0) return FACET_OK;
    return use_mmap ? map_pages(map, fd, path, err) : load(map, fd, path, err);
}

facet_status os_map_open(os_map *out, const char *path, bool use_mmap, facet_error *err) {
    *out = (os_map){0};
    /* Without O_NONBLOCK a named pipe would wait for a writer before it could be refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail_system("open", path, err);
    facet_status status = fill(out, fd, path, use_mmap, err);
    if (!out->watch) close(fd);
    if (status != FACET_OK) os_map_close(out);
    return status;
}

static facet_status changed(const struct os_map_watch *w, const char *what, facet_error *err) {
    return error_set(err, FACET_ERROR_IO, "'%s' %s while it was in use: open it again", w->path, what);
}

facet_status os_map_check(const os_map *map, facet_error *err) {
    const struct os_map_watch *w = map->watch;
    struct stat info;
    if (!w) return FACET_OK;
    if (fstat(w->fd, &info) != 0) return fail_system("look after", w->path, err);
    if (info.st_size < w->n_bytes) return changed(w, "became shorter", err);
    if (info.st_size > w->n_bytes) return changed(w, "became longer", err);
    if (w->linked && info.st_nlink == 0) return changed(w, "was deleted or replaced", err);
    if (info.st_mtim.tv_sec != w->changed.tv_sec || info.st_mtim.tv_nsec != w->changed.tv_nsec) {
        return changed(w, "was written to", err);
    }
    return FACET_OK;
}

void os_map_sparse(const os_map *map, const uint8_t *data, size_t n_bytes) {
    if (!map->mapped || data < map->data || data >= map->data + map->n_bytes) return;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), end = (size_t)(data - map->data) + n_bytes;
    size_t begin = ((size_t)(data - map->data) + page - 1) / page * page;
    if (end > map->n_bytes) end = map->n_bytes;
    end = end / page * page; /* pages shared with other tensors stay as they are */
    if (begin >= end) return;
    (void)madvise((void *)(uintptr_t)(map->data + begin), end - begin, MADV_NOHUGEPAGE);
    (void)madvise((void *)(uintptr_t)(map->data + begin), end - begin, MADV_RANDOM);
}

bool os_map_lock(const os_map *map) { return !map->n_bytes || mlock(map->data, map->n_bytes) == 0; }

void os_map_close(os_map *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, map->n_bytes);
    if (map->watch) close(map->watch->fd);
    free(map->watch);
    *map = (os_map){0};
}
