/* Work in a process of its own. See child.h. */
#include "os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static bool write_all(int pipe, const void *data, size_t n) {
    for (const char *at = data; n > 0;) {
        ssize_t part = write(pipe, at, n);
        if (part < 0 && errno == EINTR) continue;
        if (part <= 0) return false;
        at += part;
        n -= (size_t)part;
    }
    return true;
}

/* In the copy. What broken code says on its way down is of use to nobody. The number of bytes comes first, so that a
 * part of a message is none. */
static _Noreturn void be_child(void (*work)(void *ctx, buffer *out), void *ctx, unsigned seconds, int pipe) {
    buffer result = {0};
    int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (quiet >= 0) dup2(quiet, STDERR_FILENO);
    signal(SIGALRM, SIG_DFL);
    alarm(seconds);
    work(ctx, &result);
    uint64_t n = result.n;
    bool ok = !result.failed && write_all(pipe, &n, sizeof n) && write_all(pipe, result.data, result.n);
    _exit(ok ? 0 : 1);
}

static void read_all(int pipe, buffer *out) {
    char block[16384];
    for (;;) {
        ssize_t part = read(pipe, block, sizeof block);
        if (part < 0 && errno == EINTR) continue;
        if (part <= 0) return;
        buffer_append(out, block, (size_t)part);
    }
}

static bool take_message(buffer *out) {
    uint64_t n;
    if (out->failed || out->n < sizeof n) return false;
    memcpy(&n, out->data, sizeof n);
    if (n != out->n - sizeof n) return false;
    buffer_drop(out, sizeof n);
    return true;
}

os_child_end os_child_run(void (*work)(void *ctx, buffer *out), void *ctx, unsigned seconds, buffer *out) {
    int ends[2];
    *out = (buffer){0};
    if (pipe2(ends, O_CLOEXEC) != 0) return OS_CHILD_REFUSED;
    pid_t child = fork();
    if (child == 0) be_child(work, ctx, seconds, ends[1]);
    close(ends[1]);
    if (child > 0) read_all(ends[0], out);
    close(ends[0]);
    if (child < 0) return OS_CHILD_REFUSED;
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
    if (take_message(out)) return OS_CHILD_DONE;
    buffer_free(out);
    return OS_CHILD_DIED;
}
