/* Connections, their log and their limits: see access.h. */
#include "access.h"
#include "routes.h"

#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static const double ping_seconds = 8;

char *access_origin(const server *s, const char *origin, const char *host) {
    (void)host; /* pages of this server itself need no permission */
    for (size_t i = 0; origin && i < s->options->n_cors; i++) {
        const char *allowed = s->options->cors[i];
        if (!strcmp(allowed, "*") || !strcmp(allowed, origin)) return strdup(allowed);
    }
    return NULL;
}

bool access_host_allowed(const server *s, const char *host) {
    if (s->keys.n || s->options->force || s->options->unix_path || !s->loopback) return true;
    return host_is_local(host, s->options->host);
}

uint64_t access_salt(const key_ring *keys, size_t key) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    if (!key) return 0;
    for (const char *c = keys->keys[key - 1]; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    return hash;
}

connection *access_connect(server *s, int fd) {
    connection *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->fd = fd;
    c->since = clock_seconds();
    pthread_mutex_lock(&s->lock);
    c->next = s->connections;
    s->connections = c;
    pthread_mutex_unlock(&s->lock);
    return c;
}

void access_disconnect(server *s, connection *c) {
    if (!c) return;
    pthread_mutex_lock(&s->lock);
    connection **at = &s->connections;
    while (*at && *at != c) at = &(*at)->next;
    if (*at) *at = c->next;
    pthread_mutex_unlock(&s->lock);
    free(c);
}

static connection *connection_of(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void set_current(server *s, connection *c, exchange *x, int opened) {
    pthread_mutex_lock(&s->lock);
    s->n_open += (size_t)opened;
    if (c) {
        c->current = x;
        c->since = clock_seconds();
    }
    pthread_mutex_unlock(&s->lock);
}

void access_begin(exchange *x, struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    connection *own = connection_of(c);
    snprintf(x->remote, sizeof x->remote, "unix");
    if (info && info->client_addr && info->client_addr->sa_family != AF_UNIX) {
        socklen_t n =
            info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
        getnameinfo(info->client_addr, n, x->remote, sizeof x->remote, NULL, 0, NI_NUMERICHOST);
    }
    x->fd = own ? own->fd : -1;
    set_current(x->server, own, x, 1);
}

/* ---- the log */

static json_t *log_line(const exchange *x, bool complete, double now) {
    char when[40];
    struct timespec t;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    size_t n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(when + n, sizeof when - n, ".%03ldZ", t.tv_nsec / 1000000);
    json_t *line = json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:b,s:f,s:I}", "time", when, "id", x->id, "remote", x->remote,
                             "method", x->method, "path", x->path, "status", x->status, "complete", complete,
                             "seconds", now - x->received, "bytes", (json_int_t)x->n_sent);
    if (!line) return NULL;
    if (x->key) json_object_set_new(line, "key", json_integer((json_int_t)x->key));
    if (x->first_byte > 0) json_object_set_new(line, "first_byte_seconds", json_real(x->first_byte - x->received));
    if (x->notes.finish) {
        json_object_set_new(line, "prompt_tokens", json_integer((json_int_t)x->notes.prompt_tokens));
        json_object_set_new(line, "cached_tokens", json_integer((json_int_t)x->notes.cached_tokens));
        json_object_set_new(line, "generated_tokens", json_integer((json_int_t)x->notes.generated_tokens));
        json_object_set_new(line, "finish", json_string(x->notes.finish));
    }
    return line;
}

static void write_log(const exchange *x, bool complete, double now) {
    FILE *log = x->server->access_log;
    json_t *line = log ? log_line(x, complete, now) : NULL;
    char *data = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    if (data) {
        fprintf(log, "%s\n", data);
        fflush(log);
    }
    free(data);
    json_decref(line);
}

void access_end(exchange *x, bool complete) {
    server *s = x->server;
    double now = clock_seconds();
    pthread_mutex_lock(&s->lock);
    for (connection *c = s->connections; c; c = c->next) {
        if (c->current != x) continue;
        c->current = NULL;
        c->since = now;
    }
    s->n_open--;
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_lock(&x->lock);
    metrics_add_request(&s->metrics, complete ? x->status : 0, now - x->received);
    write_log(x, complete, now);
    pthread_mutex_unlock(&x->lock);
}

size_t access_n_open(server *s) {
    pthread_mutex_lock(&s->lock);
    size_t n = s->n_open;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- watching */

static bool is_gone(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return fd >= 0 && poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL);
}

/* The head of a request and its body each have four time-outs in all, however many pieces they come in. */
static bool is_too_slow(const server *s, const connection *c, double now) {
    bool sends = !c->current || !c->current->submitted;
    return sends && now - c->since > 4 * s->options->timeout_seconds;
}

static void watch_connection(server *s, connection *c, double now) {
    exchange *x = c->current;
    if (is_too_slow(s, c, now)) {
        shutdown(c->fd, SHUT_RDWR);
    } else if (x && x->submitted) {
        pthread_mutex_lock(&x->lock);
        bool quiet = x->streaming && now - x->last_write > ping_seconds;
        pthread_mutex_unlock(&x->lock);
        if (is_gone(c->fd)) {
            exchange_cancel(x);
        } else if (quiet) {
            exchange_ping(x);
        }
    }
}

void access_watch(server *s) {
    double now = clock_seconds();
    pthread_mutex_lock(&s->lock);
    for (connection *c = s->connections; c; c = c->next) watch_connection(s, c, now);
    pthread_mutex_unlock(&s->lock);
}

void access_cancel_all(server *s) {
    pthread_mutex_lock(&s->lock);
    for (connection *c = s->connections; c; c = c->next)
        if (c->current) exchange_cancel(c->current);
    pthread_mutex_unlock(&s->lock);
}
