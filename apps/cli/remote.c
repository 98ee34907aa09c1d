/* See remote.h. */
#include "remote.h"
#include "app.h"
#include "part_file.h"
#include "terminal.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct remote {
    download *download;
    part_file *part; /* NULL: the file is not kept */
    char *kept;      /* its place, NULL: none */
    facet_loader_options options;
    progress progress;
    pthread_t thread;
    atomic_bool stop, opened;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    facet_loader *loader; /* once the size of the file is known */
    bool ended;
    facet_error error; /* of the thread */
};

bool remote_is_url(const char *model) { return model && download_is_url(model); }

download_options remote_download_options(const cli_options *o, const char *url) {
    return (download_options){
        .url = url, .token = getenv("HF_TOKEN"), .retries = (int)o->retries, .stall_seconds = (int)o->stall};
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool remote_parse_digest(const char *hex, uint8_t digest[32]) {
    if (strlen(hex) != 64) return false;
    for (int i = 0; i < 64; i++) {
        int digit = digit_of(hex[i]);
        if (digit < 0) return false;
        digest[i / 2] = (uint8_t)(digest[i / 2] << 4 | digit);
    }
    return true;
}

int remote_digest(const cli_options *o, uint8_t digest[32], bool *given) {
    memset(digest, 0, 32);
    *given = o->sha256 != NULL;
    if (!o->sha256 || remote_parse_digest(o->sha256, digest)) return EXIT_OK;
    return report_usage("--sha256: '%.80s' is not 64 hexadecimal digits", o->sha256);
}

/* ---- the thread that fetches */

/* Once there is a model an interruption is for whoever uses it. */
static bool go_on(void *ctx) {
    remote *r = ctx;
    return !atomic_load(&r->stop) && (atomic_load(&r->opened) || !interrupt_seen());
}

/* What an earlier run has left in the cache. */
static facet_status feed_part(remote *r, uint64_t n) {
    enum { PIECE = 1 << 20 };
    facet_status status = FACET_OK;
    char *piece = malloc(PIECE);
    if (!piece) return r->error.status = FACET_ERROR_MEMORY;
    for (uint64_t at = 0; at < n && !status; at += PIECE) {
        size_t some = n - at < PIECE ? (size_t)(n - at) : PIECE;
        status = part_file_read(r->part, at, piece, some, &r->error);
        if (!status) status = facet_loader_feed(r->loader, at, piece, some, &r->error);
    }
    free(piece);
    return status;
}

static facet_status start_loader(remote *r, uint64_t total) {
    facet_loader *loader;
    r->options.n_bytes = total;
    if (!total) {
        r->error.status = FACET_ERROR_UNSUPPORTED;
        snprintf(r->error.message, sizeof r->error.message,
                 "the server does not tell the size of the file: download it with 'facet pull'");
        return FACET_ERROR_UNSUPPORTED;
    }
    facet_status status = facet_loader_new(&loader, &r->options, &r->error);
    if (status) return status;
    pthread_mutex_lock(&r->lock);
    r->loader = loader;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return FACET_OK;
}

/* With the first bytes it is known that the server still has the file of which a part is here. */
static facet_status begin(remote *r, uint64_t offset) {
    uint64_t total = download_total(r->download);
    facet_status status = start_loader(r, total);
    if (!status && r->part) status = part_file_describe(r->part, total, download_mark(r->download), &r->error);
    if (!status && offset) status = feed_part(r, offset);
    return status;
}

static bool on_bytes(void *ctx, uint64_t offset, const void *bytes, size_t n) {
    remote *r = ctx;
    facet_status status = r->loader ? FACET_OK : begin(r, offset);
    if (!status && r->part) status = part_file_append(r->part, bytes, n, &r->error);
    if (!status) status = facet_loader_feed(r->loader, offset, bytes, n, &r->error);
    progress_update(&r->progress, (size_t)((offset + n) >> 10), (size_t)(download_total(r->download) >> 10));
    return status == FACET_OK;
}

static facet_status fetch(remote *r) {
    facet_error error = {0};
    uint64_t from = r->part ? part_file_length(r->part) : 0;
    if (from) download_expect(r->download, part_file_total(r->part), part_file_mark(r->part), &error);
    if (from && from == part_file_total(r->part)) { /* all was there but the last step */
        facet_status status = start_loader(r, from);
        return status ? status : feed_part(r, from);
    }
    facet_status status = download_run(r->download, from, UINT64_MAX, on_bytes, r, &error);
    if (status == FACET_ERROR_FORMAT && from && !r->loader) { /* the file is another one by now */
        download_expect_any(r->download);
        status = part_file_restart(r->part, &error);
        if (!status) status = download_run(r->download, 0, UINT64_MAX, on_bytes, r, &error);
    }
    if (status && !r->error.status) r->error = error;
    return status;
}

static void *fetch_main(void *ctx) {
    remote *r = ctx;
    facet_status status = fetch(r);
    progress_end(&r->progress);
    if (status && r->loader) facet_loader_fail(r->loader, r->error.status, r->error.message);
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- keeping */

/* DIR/NAME-HASH.gguf: two addresses never share a file. malloc'ed. */
static char *cache_path(const char *folder, const char *url) {
    facet_sha256 sum;
    uint8_t digest[32];
    char *name = download_file_name(url);
    size_t n = strlen(folder) + (name ? strlen(name) : 0) + 32;
    char *out = malloc(n), *dot = name ? strstr(name, ".gguf") : NULL;
    facet_sha256_begin(&sum);
    facet_sha256_add(&sum, url, strlen(url));
    facet_sha256_end(&sum, digest);
    if (dot) *dot = '\0';
    if (out)
        snprintf(out, n, "%s/%s-%02x%02x%02x%02x.gguf", folder, name ? name : "model", digest[0], digest[1],
                 digest[2], digest[3]);
    free(name);
    return out;
}

static bool file_exists(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

/* Sets r->kept, and r->part where the file is not there yet. */
static int open_cache(remote *r, const cli_options *o) {
    facet_error error;
    char *url = download_url(o->model);
    r->kept = url ? cache_path(o->cache, url) : NULL;
    free(url);
    if (!r->kept) return report_no_memory();
    if (file_exists(r->kept)) return EXIT_OK;
    return part_file_open(&r->part, r->kept, &error) ? report_failure(&error, o->cache) : EXIT_OK;
}

/* ---- opening */

static void free_remote(remote *r) {
    facet_loader_free(r->loader);
    part_file_close(r->part);
    download_free(r->download);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r->kept);
    free(r);
}

static facet_status take_model(remote *r, facet_model **model, bool whole, facet_error *error) {
    pthread_mutex_lock(&r->lock);
    while (!r->ended && (whole || !r->loader)) pthread_cond_wait(&r->changed, &r->lock);
    facet_loader *loader = r->loader;
    pthread_mutex_unlock(&r->lock);
    if (!loader) {
        *error = r->error;
        return r->error.status;
    }
    return (whole ? facet_loader_finish : facet_loader_open)(loader, model, error);
}

static int start(remote *r, const cli_options *o, const facet_model_options *options) {
    facet_error error;
    download_options d = remote_download_options(o, o->model);
    d.go_on = go_on;
    d.ctx = r;
    if (download_new(&r->download, &d, &error)) return report_failure(&error, NULL);
    facet_loader_options_defaults(&r->options);
    r->options.timeout_seconds = INFINITY; /* the download knows when to give up */
    r->options.log = options->log;
    r->options.log_ctx = options->log_ctx;
    return EXIT_OK;
}

static int open_streaming(remote *r, facet_model **model, const cli_options *o, const facet_model_options *options) {
    facet_error error;
    uint8_t digest[32];
    bool whole;
    int status = remote_digest(o, digest, &whole);
    if (!status) status = start(r, o, options);
    if (status) return status;
    if (whole) r->options.sha256 = digest;
    progress_begin(&r->progress, "loading", "KiB");
    if (pthread_create(&r->thread, NULL, fetch_main, r)) return report_error("the system gave no thread");
    if (!take_model(r, model, whole, &error)) {
        atomic_store(&r->opened, true);
        return EXIT_OK;
    }
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    return report_failure(&error, o->model);
}

int remote_open(remote **out, facet_model **model, const cli_options *o, const facet_model_options *options) {
    facet_error error;
    *out = NULL;
    remote *r = calloc(1, sizeof *r);
    if (!r) return report_no_memory();
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    int status = o->cache ? open_cache(r, o) : EXIT_OK;
    bool is_kept = r->kept && !r->part;
    if (!status && is_kept && facet_model_open(model, r->kept, options, &error))
        status = report_failure(&error, r->kept);
    if (!status && !is_kept) status = open_streaming(r, model, o, options);
    if (status || is_kept)
        free_remote(r);
    else
        *out = r;
    return status;
}

void remote_close(remote *r) {
    facet_error error;
    if (!r) return;
    if (!r->part || interrupt_seen()) atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    if (r->part && !r->error.status && part_file_length(r->part) == part_file_total(r->part)) {
        if (part_file_commit(r->part, &error)) report_failure(&error, NULL);
        r->part = NULL;
    }
    free_remote(r);
}

/* ---- the front of a file */

enum { AHEAD = 1 << 20 };

/* Reads by ranges, a piece ahead. */
typedef struct front {
    download *download;
    uint64_t begin, end; /* of the piece */
    char *piece;         /* [AHEAD] */
} front;

static bool keep_piece(void *ctx, uint64_t offset, const void *bytes, size_t n) {
    front *f = ctx;
    memcpy(f->piece + (offset - f->begin), bytes, n);
    f->end = offset + n;
    return true;
}

static facet_status fetch_piece(front *f, uint64_t at, facet_error *error) {
    f->begin = f->end = at;
    facet_status status = download_run(f->download, at, at + AHEAD, keep_piece, f, error);
    if (status || f->end > at) return status;
    error->status = FACET_ERROR_TRUNCATED;
    snprintf(error->message, sizeof error->message, "the server's file ends at byte %llu", (unsigned long long)at);
    return FACET_ERROR_TRUNCATED;
}

static facet_status read_front(void *ctx, uint64_t offset, void *to, size_t n, facet_error *error) {
    front *f = ctx;
    for (char *out = to; n;) {
        if (offset < f->begin || offset >= f->end) {
            facet_status status = fetch_piece(f, offset, error);
            if (status) return status;
        }
        size_t some = f->end - offset < n ? (size_t)(f->end - offset) : n;
        memcpy(out, f->piece + (offset - f->begin), some);
        out += some;
        offset += some;
        n -= some;
    }
    return FACET_OK;
}

/* The source is valid until front_close. */
static int front_open(front *f, facet_source *source, const cli_options *o) {
    facet_error error;
    download_options d = remote_download_options(o, o->model);
    *f = (front){.piece = malloc(AHEAD)};
    if (!f->piece) return report_no_memory();
    facet_status status = download_new(&f->download, &d, &error);
    if (!status) status = fetch_piece(f, 0, &error);
    if (status) return report_failure(&error, o->model);
    uint64_t total = download_total(f->download);
    if (!total) return report_error("%s: the server does not tell the size of the file", o->model);
    *source = (facet_source){.size = sizeof *source, .n_bytes = total, .read = read_front, .ctx = f};
    return EXIT_OK;
}

static void front_close(front *f) {
    download_free(f->download);
    free(f->piece);
}

int remote_open_front(facet_model **model, const cli_options *o, const facet_model_options *options) {
    front f;
    facet_source source;
    facet_error error;
    int status = front_open(&f, &source, o);
    if (!status && facet_model_open_source(model, &source, options, &error))
        status = report_failure(&error, o->model);
    front_close(&f);
    return status;
}

int remote_inspect(facet_gguf **out, const cli_options *o) {
    front f;
    facet_source source;
    facet_error error;
    int status = front_open(&f, &source, o);
    if (!status && facet_gguf_open_source(out, &source, true, &error)) status = report_failure(&error, o->model);
    front_close(&f);
    return status;
}
