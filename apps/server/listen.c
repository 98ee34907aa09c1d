/* Sockets: see listen.h. */
#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 256 };

static bool is_loopback(const struct sockaddr *a) {
    if (a->sa_family == AF_INET) {
        struct in_addr in = ((const struct sockaddr_in *)(const void *)a)->sin_addr;
        return ntohl(in.s_addr) >> 24 == 127;
    }
    if (a->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
    return false;
}

static bool open_socket(listener *out, const struct addrinfo *info) {
    int on = 1;
    out->fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out->fd < 0) return false;
    setsockopt(out->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!bind(out->fd, info->ai_addr, info->ai_addrlen) && !listen(out->fd, BACKLOG)) return true;
    int saved = errno;
    close(out->fd);
    errno = saved;
    return false;
}

static void name_socket(listener *out) {
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    char host[80] = "?", port[8] = "?";
    if (!getsockname(out->fd, (struct sockaddr *)&address, &n))
        getnameinfo((struct sockaddr *)&address, n, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out->name, sizeof out->name, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

bool listen_tcp(listener *out, const char *host, int port, char *why, size_t why_bytes) {
    char service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list;
    snprintf(service, sizeof service, "%d", port);
    int failed = getaddrinfo(host, service, &hints, &list);
    if (failed) {
        snprintf(why, why_bytes, "--host %s: %s", host, gai_strerror(failed));
        return false;
    }
    bool ok = open_socket(out, list);
    if (ok) {
        out->loopback = is_loopback(list->ai_addr);
        name_socket(out);
    } else {
        snprintf(why, why_bytes, "cannot listen on %s port %d: %s", host, port, strerror(errno));
    }
    freeaddrinfo(list);
    return ok;
}

/* A socket's file that nobody listens on any more was left by a server that died. */
static void remove_stale(const struct sockaddr_un *address) {
    struct stat s;
    if (lstat(address->sun_path, &s) || !S_ISSOCK(s.st_mode)) return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) && errno == ECONNREFUSED;
    if (fd >= 0) close(fd);
    if (refused) unlink(address->sun_path);
}

bool listen_unix(listener *out, const char *path, char *why, size_t why_bytes) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        snprintf(why, why_bytes, "--unix: the path is longer than %zu bytes", sizeof address.sun_path - 1);
        return false;
    }
    memcpy(address.sun_path, path, strlen(path));
    remove_stale(&address);
    struct addrinfo info = {
        .ai_family = AF_UNIX, .ai_addr = (struct sockaddr *)&address, .ai_addrlen = sizeof address};
    mode_t old = umask(0117); /* for its owner and group only */
    bool ok = open_socket(out, &info);
    umask(old);
    if (!ok) snprintf(why, why_bytes, "cannot listen on %s: %s", path, strerror(errno));
    out->loopback = true;
    snprintf(out->name, sizeof out->name, "unix:%.150s", path);
    return ok;
}
