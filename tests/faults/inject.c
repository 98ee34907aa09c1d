/* See inject.h. */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>

static atomic_long countdown; /* 0: nothing fails */
static atomic_int failed_kind;
static atomic_long n_blocks, n_maps, n_files, n_threads;

void inject_arm(long k) {
    failed_kind = INJECT_NONE;
    countdown = k;
}

inject_kind inject_disarm(void) {
    countdown = 0;
    return (inject_kind)failed_kind;
}

inject_held inject_balance(void) { return (inject_held){n_blocks, n_maps, n_files, n_threads}; }

/* Whether this request is the one that fails. */
static bool fails(inject_kind kind, int error) {
    if (countdown <= 0 || atomic_fetch_sub(&countdown, 1) != 1) return false;
    failed_kind = kind;
    errno = error;
    return true;
}

/* ---- memory */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
int __real_posix_memalign(void **p, size_t alignment, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
int __wrap_posix_memalign(void **p, size_t alignment, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void __wrap_free(void *p);

static void *obtained(void *p) {
    if (p) n_blocks++;
    return p;
}

void *inject_malloc(size_t n) { return obtained(__real_malloc(n)); }
void *__wrap_malloc(size_t n) { return fails(INJECT_MEMORY, ENOMEM) ? NULL : obtained(__real_malloc(n)); }
void *__wrap_calloc(size_t n, size_t size) {
    return fails(INJECT_MEMORY, ENOMEM) ? NULL : obtained(__real_calloc(n, size));
}
void *__wrap_realloc(void *p, size_t n) {
    if (fails(INJECT_MEMORY, ENOMEM)) return NULL;
    void *q = __real_realloc(p, n);
    if (!p) obtained(q);
    return q;
}
void *__wrap_aligned_alloc(size_t alignment, size_t n) {
    return fails(INJECT_MEMORY, ENOMEM) ? NULL : obtained(__real_aligned_alloc(alignment, n));
}
int __wrap_posix_memalign(void **p, size_t alignment, size_t n) {
    if (fails(INJECT_MEMORY, ENOMEM)) return ENOMEM;
    int error = __real_posix_memalign(p, alignment, n);
    if (!error) obtained(*p);
    return error;
}
char *__wrap_strdup(const char *s) { return fails(INJECT_MEMORY, ENOMEM) ? NULL : obtained(__real_strdup(s)); }
char *__wrap_strndup(const char *s, size_t n) {
    return fails(INJECT_MEMORY, ENOMEM) ? NULL : obtained(__real_strndup(s, n));
}
void __wrap_free(void *p) {
    if (p) n_blocks--;
    __real_free(p);
}

/* getline is this one, or inline code that calls it */
ssize_t __real___getdelim(char **line, size_t *n, int end, FILE *file);
ssize_t __wrap___getdelim(char **line, size_t *n, int end, FILE *file);
ssize_t __wrap_getline(char **line, size_t *n, FILE *file);
ssize_t __wrap___getdelim(char **line, size_t *n, int end, FILE *file) {
    bool first = !*line;
    if (fails(INJECT_MEMORY, ENOMEM)) return -1;
    ssize_t length = __real___getdelim(line, n, end, file);
    if (first) obtained(*line);
    return length;
}
ssize_t __wrap_getline(char **line, size_t *n, FILE *file) { return __wrap___getdelim(line, n, '\n', file); }

/* ---- mappings */
void *__real_mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *address, size_t n);
void *__wrap_mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *address, size_t n);

void *__wrap_mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset) {
    if (fails(INJECT_MAP, ENOMEM)) return MAP_FAILED;
    void *p = __real_mmap(address, n, protection, flags, fd, offset);
    if (p != MAP_FAILED) n_maps++;
    return p;
}
int __wrap_munmap(void *address, size_t n) {
    n_maps--;
    return __real_munmap(address, n);
}

/* ---- files */
int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
ssize_t __real_read(int fd, void *buffer, size_t n);
ssize_t __real_pread(int fd, void *buffer, size_t n, off_t offset);
FILE *__real_fopen(const char *path, const char *mode);
int __real_fclose(FILE *file);
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
ssize_t __wrap_read(int fd, void *buffer, size_t n);
ssize_t __wrap_pread(int fd, void *buffer, size_t n, off_t offset);
FILE *__wrap_fopen(const char *path, const char *mode);
int __wrap_fclose(FILE *file);

int __wrap_open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (fails(INJECT_FILE, EMFILE)) return -1;
    int fd = __real_open(path, flags, mode);
    if (fd >= 0) n_files++;
    return fd;
}
int __wrap_close(int fd) {
    n_files--;
    return __real_close(fd);
}
ssize_t __wrap_read(int fd, void *buffer, size_t n) {
    return fails(INJECT_FILE, EIO) ? -1 : __real_read(fd, buffer, n);
}
ssize_t __wrap_pread(int fd, void *buffer, size_t n, off_t offset) {
    return fails(INJECT_FILE, EIO) ? -1 : __real_pread(fd, buffer, n, offset);
}
FILE *__wrap_fopen(const char *path, const char *mode) {
    if (fails(INJECT_FILE, EMFILE)) return NULL;
    FILE *file = __real_fopen(path, mode);
    if (file) n_files++;
    return file;
}
int __wrap_fclose(FILE *file) {
    n_files--;
    return __real_fclose(file);
}

/* ---- threads */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *ctx);
int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *ctx);
int __wrap_pthread_join(pthread_t thread, void **result);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *ctx) {
    if (fails(INJECT_THREAD, EAGAIN)) return EAGAIN;
    int error = __real_pthread_create(thread, attributes, start, ctx);
    if (!error) n_threads++;
    return error;
}
int __wrap_pthread_join(pthread_t thread, void **result) {
    n_threads--;
    return __real_pthread_join(thread, result);
}
