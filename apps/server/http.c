/* Connections: see http.h. */
#include "http.h"
#include "access.h"
#include "routes.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char tls_versions[] = "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1:%SERVER_PRECEDENCE";
enum { MOST_CONNECTIONS = 1000, CONNECTION_BYTES = 96 << 10 };

static const char *header(struct MHD_Connection *c, const char *name) {
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* ---- answers */

static void add_header(struct MHD_Response *r, const char *name, const char *value) {
    if (value) MHD_add_response_header(r, name, value);
}

static void add_cors(struct MHD_Response *r, const exchange *x) {
    if (!x->origin) return;
    add_header(r, "Access-Control-Allow-Origin", x->origin);
    add_header(r, "Vary", "Origin");
    add_header(r, "Access-Control-Expose-Headers", "x-request-id, retry-after");
}

static void add_headers(struct MHD_Response *r, const exchange *x) {
    char seconds[16];
    add_header(r, "Content-Type", x->content_type);
    add_header(r, "X-Content-Type-Options", "nosniff");
    add_header(r, "x-request-id", x->id);
    add_header(r, "Cache-Control", x->cache_control);
    add_header(r, "Location", x->location);
    if (x->streaming) add_header(r, "X-Accel-Buffering", "no");
    if (x->status == 401) add_header(r, "WWW-Authenticate", "Bearer");
    if (x->retry_after) {
        snprintf(seconds, sizeof seconds, "%d", x->retry_after);
        add_header(r, "Retry-After", seconds);
    }
    if (x->content_type && !strncmp(x->content_type, "text/html", 9)) {
        add_header(
            r, "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
            "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
        add_header(r, "Referrer-Policy", "no-referrer");
    }
    add_cors(r, x);
}

/* Called by libmicrohttpd for more of a stream. */
static ssize_t read_stream(void *ctx, uint64_t position, char *buffer, size_t max) {
    exchange *x = ctx;
    (void)position;
    pthread_mutex_lock(&x->lock);
    ssize_t n = (ssize_t)(x->out.n - x->out_at);
    if (atomic_load(&x->cancelled)) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (n > 0) {
        if ((size_t)n > max) n = (ssize_t)max;
        memcpy(buffer, x->out.data + x->out_at, (size_t)n);
        x->out_at += (size_t)n;
        x->n_sent += (size_t)n;
        if (x->out_at == x->out.n) {
            x->out_at = 0;
            cli_text_clear(&x->out);
        }
        pthread_cond_broadcast(&x->taken);
    } else if (x->finished) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        MHD_suspend_connection(x->connection);
        x->suspended = true;
    }
    pthread_mutex_unlock(&x->lock);
    return n;
}

/* The bytes of a whole answer do not change any more; those of a stream do, and are left to read_stream. */
static struct MHD_Response *make_response(exchange *x) {
    if (x->streaming) return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, x, NULL);
    const void *data = x->constant ? x->constant : cli_text_get(&x->out);
    x->n_sent = x->constant ? x->n_constant : x->out.n;
    x->first_byte = clock_seconds();
    return MHD_create_response_from_buffer(x->n_sent, (void *)(uintptr_t)data, MHD_RESPMEM_PERSISTENT);
}

/* The answer has begun: its head does not change any more. Without the lock, which read_stream takes inside of
 * libmicrohttpd's own. */
static enum MHD_Result send_answer(exchange *x) {
    struct MHD_Response *r = make_response(x);
    if (!r) return MHD_NO;
    add_headers(r, x);
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return result;
}

/* ---- requests */

static void preflight(exchange *x, struct MHD_Connection *c) {
    const char *asked = header(c, "Access-Control-Request-Headers");
    struct MHD_Response *r = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    x->status = 204;
    if (!r) return;
    add_cors(r, x);
    if (x->origin) {
        add_header(r, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
        add_header(r, "Access-Control-Allow-Headers", asked ? asked : "Authorization, Content-Type");
        add_header(r, "Access-Control-Max-Age", "600");
    }
    MHD_queue_response(c, 204, r);
    MHD_destroy_response(r);
}

/* What can be said from the head of a request alone; the refusal is sent once the body has come. */
static void check_head(exchange *x, struct MHD_Connection *c) {
    const server *s = x->server;
    bool other_method = false;
    x->route = route_find(x->method, x->path, &other_method);
    x->style = x->route ? x->route->style : route_style(x->path);
    x->origin = access_origin(s, header(c, "Origin"), header(c, "Host"));
    const char *key = key_of_headers(header(c, "Authorization"), header(c, "x-api-key"));
    bool needs_key = s->keys.n && !(x->route && x->route->is_public);
    x->key = key ? key_ring_find(&s->keys, key) : 0;
    x->salt = access_salt(&s->keys, x->key);
    if (!access_host_allowed(s, header(c, "Host"))) {
        exchange_fail(x, 403, "host_not_allowed",
                      "the name in the Host header is not this server's; give it with --host, or set an API key");
    } else if (needs_key && !x->key) {
        exchange_fail(x, 401, "invalid_api_key",
                      key ? "this API key is not valid" : "an API key is needed: Authorization: Bearer KEY");
    } else if (!x->route) {
        exchange_fail(x, other_method ? 405 : 404, "not_found",
                      other_method ? "this path does not take this method" : "there is no such path");
    } else if (!x->route->is_public && !atomic_load(&s->ready)) {
        x->retry_after = 1;
        exchange_fail(x, 503, "loading", "the model is loading: try again later");
    }
}

static bool length_beyond(struct MHD_Connection *c, size_t most) {
    const char *length = header(c, "Content-Length");
    return length && strtoull(length, NULL, 10) > most;
}

static void refuse_size(exchange *x) {
    char message[80];
    snprintf(message, sizeof message, "the body of the request is larger than %zu bytes",
             x->server->options->max_body_bytes);
    exchange_fail(x, 413, "request_too_large", message);
}

static enum MHD_Result first_call(server *s, struct MHD_Connection *c, const char *method, const char *path,
                                  void **ctx) {
    exchange *x = exchange_new(s, c, method, path);
    if (!x) return MHD_NO;
    *ctx = x;
    access_begin(x, c);
    const char *name = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "name");
    x->query_name = name ? strdup(name) : NULL;
    check_head(x, c);
    if (!strcmp(method, "OPTIONS")) {
        x->status = 0;
        x->submitted = true;
        preflight(x, c);
    } else if (length_beyond(c, s->options->max_body_bytes)) {
        if (!x->status) refuse_size(x);
        x->submitted = true;
        return send_answer(x); /* before the body, which is never read */
    }
    return MHD_YES;
}

static void take_body(exchange *x, const char *data, size_t n) {
    if (x->status || x->body_too_large) return; /* already refused: the rest is dropped */
    if (n > x->server->options->max_body_bytes - x->body.n || !cli_text_append(&x->body, data, n)) {
        x->body_too_large = true;
        cli_text_free(&x->body);
    }
}

static void answer_on_front(void *work, size_t thread) {
    exchange *x = work;
    (void)thread;
    x->route->answer(x);
}

static void submit(exchange *x) {
    x->submitted = true;
    if (x->status) return;
    if (x->body_too_large) {
        refuse_size(x);
        return;
    }
    exchange_hold(x);
    if (job_queue_add(&x->server->front, answer_on_front, x)) return;
    exchange_release(x);
    x->retry_after = 1;
    exchange_fail(x, 429, "busy", "the server is busy: try again later");
}

/* The body is there: starts the work, waits for it, or sends what it has made. */
static enum MHD_Result go_on(exchange *x) {
    if (!x->submitted) submit(x);
    pthread_mutex_lock(&x->lock);
    bool begun = x->status != 0, gone = !begun && atomic_load(&x->cancelled);
    if (!begun && !gone) {
        MHD_suspend_connection(x->connection);
        x->suspended = true;
    }
    pthread_mutex_unlock(&x->lock);
    if (begun) return send_answer(x);
    return gone ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *data, size_t *n, void **ctx) {
    (void)version;
    if (!*ctx) return first_call(cls, c, method, url, ctx);
    exchange *x = *ctx;
    if (*n) {
        take_body(x, data, *n);
        *n = 0;
        return MHD_YES;
    }
    return go_on(x);
}

static void on_completed(void *cls, struct MHD_Connection *c, void **ctx, enum MHD_RequestTerminationCode code) {
    exchange *x = *ctx;
    (void)cls;
    (void)c;
    if (!x) return;
    *ctx = NULL;
    pthread_mutex_lock(&x->lock);
    x->connection = NULL;
    bool complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (!complete) atomic_store(&x->cancelled, true);
    pthread_cond_broadcast(&x->taken);
    pthread_mutex_unlock(&x->lock);
    access_end(x, complete);
    exchange_release(x);
}

/* ---- the daemon */

static void on_connection(void *cls, struct MHD_Connection *c, void **socket_ctx,
                          enum MHD_ConnectionNotificationCode code) {
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_ctx = access_connect(cls, info ? info->connect_fd : -1);
    } else {
        access_disconnect(cls, *socket_ctx);
        *socket_ctx = NULL;
    }
}

static void on_message(void *cls, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
/* libmicrohttpd's own words are about single connections that went wrong; the access log tells what matters. */
static void on_message(void *cls, const char *format, va_list args) {
    (void)cls;
    (void)format;
    (void)args;
}

bool http_start(server *s, int listener, const char *certificate, const char *key) {
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_message, NULL}, /* first, so that it hears of the others */
        {MHD_OPTION_LISTEN_SOCKET, listener, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, MOST_CONNECTIONS, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, s->options->timeout_seconds, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, s},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s},
        {certificate ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, (void *)(uintptr_t)certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)tls_versions},
        {MHD_OPTION_END, 0, NULL}};
    if (certificate) flags |= MHD_USE_TLS;
    s->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (!s->daemon) {
        fputs("facet: the HTTP server does not start", stderr);
        fputs(certificate ? "; are the certificate and its key right?\n" : "\n", stderr);
    }
    return s->daemon != NULL;
}

int http_quiesce(server *s) { return MHD_quiesce_daemon(s->daemon); }

void http_stop(server *s) {
    MHD_stop_daemon(s->daemon);
    s->daemon = NULL;
}
