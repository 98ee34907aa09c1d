/* The life of the server: see server.h. It stops in this order: no new connections, running requests end or are
 * cancelled, the daemon, the threads. */
#include "server.h"
#include "access.h"
#include "listen.h"
#include "text.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N_FRONT = 2, FRONT_CAPACITY = 2000 };

static void stop_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

void server_block_signals(void) {
    sigset_t set;
    stop_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static bool complain(const char *what) {
    fprintf(stderr, "facet: %s\n", what);
    return false;
}

/* Waits for a moment, or for a signal to stop. */
static bool stop_came(int milliseconds) {
    sigset_t set;
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    stop_signals(&set);
    return sigtimedwait(&set, NULL, &t) > 0;
}

static bool open_log(server *s) {
    const char *path = s->options->access_log;
    if (!path) return true;
    s->access_log = strcmp(path, "-") ? fopen(path, "ae") : stdout;
    if (!s->access_log) fprintf(stderr, "facet: cannot write %s: %s\n", path, strerror(errno));
    return s->access_log != NULL;
}

static bool open_listener(const server *s, listener *l) {
    const server_options *o = s->options;
    char why[300];
    bool ok = o->unix_path ? listen_unix(l, o->unix_path, why, sizeof why)
                           : listen_tcp(l, o->host, o->port, why, sizeof why);
    if (!ok) return complain(why);
    if (l->loopback || s->keys.n || o->force) return true;
    close(l->fd);
    l->fd = -1;
    return complain("this address can be reached from other machines: set an --api-key, or say --force");
}

static bool read_pem(text *t, const char *path, bool secret) {
    FILE *file = path ? fopen(path, "rb") : NULL;
    bool ok = !path || (file && cli_text_read(t, file));
    if (!ok) fprintf(stderr, "facet: cannot read %s: %s\n", path, strerror(errno));
    if (ok && file && secret) warn_if_shared(path, file);
    if (file) fclose(file);
    return ok;
}

static bool start_http(server *s, int fd) {
    text certificate = {0}, key = {0};
    bool tls = s->options->tls_certificate != NULL;
    bool ok = read_pem(&certificate, s->options->tls_certificate, false) &&
              read_pem(&key, s->options->tls_key, true) &&
              http_start(s, fd, tls ? cli_text_get(&certificate) : NULL, cli_text_get(&key));
    if (key.data) explicit_bzero(key.data, key.n);
    cli_text_free(&certificate);
    cli_text_free(&key);
    return ok;
}

static bool start_threads(server *s) {
    size_t n = (size_t)s->options->n_parallel;
    return job_queue_start(&s->front, N_FRONT, FRONT_CAPACITY) &&
           job_queue_start(&s->slots, n, (size_t)s->options->n_queue);
}

/* Until nothing is open, or the time is over, or a second signal comes. */
static void drain(server *s) {
    double end = clock_seconds() + s->options->drain_seconds;
    bool hurry = false;
    while (access_n_open(s)) {
        if (clock_seconds() > end || hurry) access_cancel_all(s);
        access_watch(s);
        hurry = stop_came(50) || hurry;
    }
}

static void tell_address(const server *s, const listener *l, const char *before) {
    const server_options *o = s->options;
    fprintf(stderr, "facet: %s %s%s\n", before,
            o->unix_path         ? ""
            : o->tls_certificate ? "https://"
                                 : "http://",
            l->name);
}

static void serve(server *s, const listener *l) {
    char what[300];
    snprintf(what, sizeof what, "%s is served at", s->options->model_name);
    tell_address(s, l, what);
    while (!stop_came(200)) access_watch(s);
    fprintf(stderr, "facet: stopping\n");
}

static void stop_http(server *s) {
    atomic_store(&s->draining, true);
    int fd = http_quiesce(s);
    drain(s);
    http_stop(s);
    if (fd >= 0) close(fd);
}

static void close_server(server *s) {
    job_queue_end(&s->front);
    job_queue_end(&s->slots);
    key_ring_free(&s->keys);
    adapter_list_free(&s->adapters);
    if (s->access_log && s->access_log != stdout) fclose(s->access_log);
    pthread_mutex_destroy(&s->metrics.lock);
    pthread_mutex_destroy(&s->lock);
}

static bool add_adapters(server *s) {
    for (size_t i = 0; i < s->options->n_adapters; i++) {
        const server_adapter *a = &s->options->adapters[i];
        if (!adapter_list_add(&s->adapters, a->name, a->adapter, true, a->scale))
            return complain("too many adapters");
    }
    return true;
}

/* ---- the model */

typedef struct loading {
    server *s;
    server_options *options;
    const server_load *load;
    pthread_t thread;
    int status;
    atomic_bool ended;
} loading;

static void *load_main(void *ctx) {
    loading *l = ctx;
    server *s = l->s;
    l->status = l->load->open(l->load->ctx, l->options, &s->model, &s->engine);
    if (!l->status) {
        facet_model_get_info(s->model, &s->info);
        facet_engine_get_info(s->engine, &s->engine_info);
        if (!add_adapters(s)) l->status = 1;
    }
    if (!l->status) atomic_store(&s->ready, true);
    atomic_store(&l->ended, true);
    return NULL;
}

/* Until the model is there; false where it cannot be had, or a signal to stop came before. */
static bool await_model(loading *l, const listener *at) {
    enum { MOMENT = 10, SOON = 300 }; /* milliseconds */
    bool stopped = false;
    if (pthread_create(&l->thread, NULL, load_main, l)) {
        l->status = 1;
        return complain("the system gave no thread");
    }
    for (int t = 0; !atomic_load(&l->ended) && !stopped; t += MOMENT) {
        if (t == SOON) tell_address(l->s, at, "the model is loading; /health tells when it is there, at");
        stopped = stop_came(MOMENT);
        access_watch(l->s);
    }
    if (stopped) l->load->cancel(l->load->ctx);
    pthread_join(l->thread, NULL);
    if (stopped) l->status = 0;
    return !stopped && !l->status;
}

/* ---- the whole */

static bool prepare(server *s, listener *l) {
    const server_options *o = s->options;
    char why[300];
    s->info.size = sizeof s->info;
    s->engine_info.size = sizeof s->engine_info;
    pthread_mutex_init(&s->lock, NULL);
    metrics_init(&s->metrics);
    adapter_list_init(&s->adapters);
    if (!key_ring_load(&s->keys, o->api_keys, o->n_api_keys, o->api_key_file, why, sizeof why)) return complain(why);
    if (!open_log(s) || !open_listener(s, l)) return false;
    s->loopback = l->loopback;
    return start_threads(s) || complain("out of memory");
}

int server_run(server_options *options, const server_load *load) {
    server s = {.options = options, .started = time(NULL)};
    listener l = {.fd = -1};
    loading model = {.s = &s, .options = options, .load = load};
    int status = 1;
    if (prepare(&s, &l) && start_http(&s, l.fd)) {
        if (await_model(&model, &l)) serve(&s, &l);
        status = model.status;
        stop_http(&s);
    } else if (l.fd >= 0) {
        close(l.fd);
    }
    if (l.fd >= 0 && options->unix_path) unlink(options->unix_path);
    close_server(&s);
    return status;
}
