/* Answers between threads: see exchange.h. */
#include "exchange.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MOST_WAITING = 4 << 20 }; /* bytes of a stream that wait for a slow client before the work waits too */

exchange *exchange_new(server *s, struct MHD_Connection *client, const char *method, const char *path) {
    exchange *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    x->path = strdup(path);
    if (!x->path) {
        free(x);
        return NULL;
    }
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) number = (uintptr_t)x;
    snprintf(x->id, sizeof x->id, "%016llx", (unsigned long long)number);
    snprintf(x->method, sizeof x->method, "%.11s", method);
    x->server = s;
    x->connection = client;
    x->references = 1;
    x->received = clock_seconds();
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->taken, NULL);
    return x;
}

void exchange_hold(exchange *x) {
    pthread_mutex_lock(&x->lock);
    x->references++;
    pthread_mutex_unlock(&x->lock);
}

void exchange_release(exchange *x) {
    pthread_mutex_lock(&x->lock);
    bool last = --x->references == 0;
    if (!last) pthread_cond_broadcast(&x->taken);
    pthread_mutex_unlock(&x->lock);
    if (!last) return;
    cli_text_free(&x->body);
    cli_text_free(&x->out);
    free(x->origin);
    free(x->path);
    free(x->query_name);
    pthread_cond_destroy(&x->taken);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

bool exchange_wait(exchange *x) {
    pthread_mutex_lock(&x->lock);
    while (!x->finished && x->references > 1) pthread_cond_wait(&x->taken, &x->lock);
    bool finished = x->finished;
    while (x->references > 1) pthread_cond_wait(&x->taken, &x->lock);
    pthread_mutex_unlock(&x->lock);
    return finished;
}

void exchange_wake(exchange *x) {
    if (!x->suspended || !x->connection) return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
}

void exchange_cancel(exchange *x) {
    pthread_mutex_lock(&x->lock);
    atomic_store(&x->cancelled, true);
    pthread_cond_broadcast(&x->taken);
    exchange_wake(x);
    pthread_mutex_unlock(&x->lock);
}

bool exchange_is_cancelled(exchange *x) { return atomic_load(&x->cancelled); }

/* With the lock held. Only the first answer counts. */
static bool begin(exchange *x, int status, const char *content_type) {
    if (x->status) return false;
    x->status = status;
    x->content_type = content_type;
    x->last_write = clock_seconds();
    return true;
}

void exchange_reply(exchange *x, int status, const char *content_type, const char *data, size_t n) {
    pthread_mutex_lock(&x->lock);
    if (begin(x, status, content_type)) {
        if (!cli_text_append(&x->out, data, n)) x->status = 500;
        x->finished = true;
    }
    exchange_wake(x);
    pthread_mutex_unlock(&x->lock);
}

void exchange_reply_constant(exchange *x, const char *content_type, const void *data, size_t n) {
    pthread_mutex_lock(&x->lock);
    if (begin(x, 200, content_type)) {
        x->constant = data;
        x->n_constant = n;
        x->finished = true;
    }
    exchange_wake(x);
    pthread_mutex_unlock(&x->lock);
}

static const char no_memory[] = "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\"}}";

void exchange_reply_json(exchange *x, int status, json_t *json) {
    char *data = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(16)) : NULL;
    if (data) {
        exchange_reply(x, status, "application/json", data, strlen(data));
    } else {
        exchange_reply(x, 500, "application/json", no_memory, strlen(no_memory));
    }
    free(data);
    json_decref(json);
}

static const char *openai_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 501: return "not_supported_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static const char *anthropic_type(int status) {
    switch (status) {
    case 413: return "request_too_large";
    case 500: return "api_error";
    case 503: return "overloaded_error";
    case 501: return "invalid_request_error";
    default: return openai_type(status);
    }
}

json_t *exchange_error_json(const exchange *x, const request_error *e) {
    switch (x->style) {
    case API_ANTHROPIC:
        return json_pack("{s:s,s:{s:s,s:s},s:s}", "type", "error", "error", "type", anthropic_type(e->status),
                         "message", e->message, "request_id", x->id);
    case API_OLLAMA: return json_pack("{s:s}", "error", e->message);
    default:
        return json_pack("{s:{s:s,s:s,s:s?,s:s?}}", "error", "message", e->message, "type", openai_type(e->status),
                         "param", e->param[0] ? e->param : NULL, "code", e->code[0] ? e->code : NULL);
    }
}

void exchange_refuse(exchange *x, const request_error *e) {
    exchange_reply_json(x, e->status, exchange_error_json(x, e));
}

void exchange_fail(exchange *x, int status, const char *code, const char *message) {
    request_error e = {0};
    request_refuse(&e, status, "", code, "%s", message);
    exchange_refuse(x, &e);
}

void exchange_begin_stream(exchange *x, const char *content_type) {
    pthread_mutex_lock(&x->lock);
    if (begin(x, 200, content_type)) {
        x->streaming = true;
        x->cache_control = "no-cache";
    }
    exchange_wake(x);
    pthread_mutex_unlock(&x->lock);
}

bool exchange_write(exchange *x, const char *data, size_t n) {
    pthread_mutex_lock(&x->lock);
    while (x->out.n - x->out_at > MOST_WAITING && !atomic_load(&x->cancelled)) pthread_cond_wait(&x->taken, &x->lock);
    bool ok = !atomic_load(&x->cancelled) && !x->finished && cli_text_append(&x->out, data, n);
    if (!ok) atomic_store(&x->cancelled, true);
    x->last_write = clock_seconds();
    if (x->first_byte == 0) x->first_byte = x->last_write;
    exchange_wake(x);
    pthread_mutex_unlock(&x->lock);
    return ok;
}

static bool write_json(exchange *x, const char *before, const char *name, const char *between, json_t *json,
                       const char *after) {
    char *data = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(16)) : NULL;
    text t = {0};
    bool ok = data && cli_text_append(&t, before, strlen(before)) && cli_text_append(&t, name, strlen(name)) &&
              cli_text_append(&t, between, strlen(between)) && cli_text_append(&t, data, strlen(data)) &&
              cli_text_append(&t, after, strlen(after));
    if (ok) {
        ok = exchange_write(x, t.data, t.n);
    } else {
        exchange_cancel(x);
    }
    cli_text_free(&t);
    free(data);
    json_decref(json);
    return ok;
}

bool exchange_event(exchange *x, const char *name, json_t *json) {
    if (!name) return write_json(x, "", "", "data: ", json, "\n\n");
    return write_json(x, "event: ", name, "\ndata: ", json, "\n\n");
}

bool exchange_line(exchange *x, json_t *json) { return write_json(x, "", "", "", json, "\n"); }

void exchange_finish(exchange *x) {
    pthread_mutex_lock(&x->lock);
    x->finished = true;
    exchange_wake(x);
    pthread_mutex_unlock(&x->lock);
}

void exchange_ping(exchange *x) {
    const char *ping =
        x->style == API_ANTHROPIC ? "event: ping\ndata: {\"type\": \"ping\"}\n\n" : ": still working\n\n";
    pthread_mutex_lock(&x->lock);
    bool wanted =
        x->streaming && !x->finished && x->out.n == x->out_at && !strcmp(x->content_type, "text/event-stream");
    if (wanted && cli_text_append(&x->out, ping, strlen(ping))) {
        x->last_write = clock_seconds();
        exchange_wake(x);
    }
    pthread_mutex_unlock(&x->lock);
}
