/* A file's bytes on POSIX systems. See map.h. The file is opened, measured and mapped or read; its descriptor is not
 * kept. */
#include "os/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

static facet_status map_pages(os_map *map, int fd, const char *path, facet_error *err) {
    void *data = mmap(NULL, map->n_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) return fail_system("map", path, err);
    /* Decoding reads gigabytes front to back: with small pages a sixth of the time goes into finding them. */
    (void)madvise(data, map->n_bytes, MADV_HUGEPAGE);
    map->data = data;
    map->mapped = true;
    return FACET_OK;
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
    close(fd);
    if (status != FACET_OK) *out = (os_map){0};
    return status;
}

bool os_map_lock(const os_map *map) { return !map->n_bytes || mlock(map->data, map->n_bytes) == 0; }

void os_map_close(os_map *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, map->n_bytes);
    *map = (os_map){0};
}
