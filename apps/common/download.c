/* See download.h. One transfer handle, which keeps its connection; each request asks for a range and its answer is
 * held to it. Redirects are followed here, one by one, so that each address is judged before it is told anything. */
#include "download.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "download_url.h"
#include "failure.h"

enum { MOST_REDIRECTS = 10, MARK_BYTES = 256, MOST_PAGE = 1 << 16 };

struct download {
    CURL *curl;
    char *url;   /* as asked for */
    char *token; /* NULL: none */
    int retries, stall_seconds;
    bool (*go_on)(void *ctx);
    void *ctx;
    uint64_t total; /* 0: unknown */
    char mark[MARK_BYTES];
    char sha256[65];
    bool is_known; /* total and mark are those of the file */
    char text[CURL_ERROR_SIZE];
};

/* One request, and what its answer says. */
typedef struct transfer {
    download *d;
    uint64_t at, end; /* the next byte that is wanted, and the end */
    time_t heard;     /* when there was something new */
    curl_off_t heard_bytes;
    bool stalled;
    size_t n_refused; /* bytes of an answer that is not the file */
    uint64_t skip;    /* bytes of the answer in front of `at` */
    download_fn on_bytes;
    void *on_bytes_ctx;
    long status;          /* of HTTP */
    uint64_t length;      /* of the answer's body; 0: unknown */
    uint64_t range_begin; /* of a part */
    uint64_t total;
    bool has_length, has_range, judged, refused, stopped, changed;
    char mark[MARK_BYTES], sha256[65];
    char why[200];
} transfer;

/* ---- life */

void download_free(download *d) {
    if (!d) return;
    curl_easy_cleanup(d->curl);
    free(d->url);
    free(d->token);
    free(d);
}

facet_status download_new(download **out, const download_options *options, facet_error *error) {
    *out = NULL;
    download *d = calloc(1, sizeof *d);
    if (!d || curl_global_init(CURL_GLOBAL_DEFAULT)) {
        free(d);
        return failure(error, FACET_ERROR_MEMORY, "out of memory");
    }
    d->url = download_url(options->url);
    d->curl = curl_easy_init();
    if (options->token && options->token[0]) d->token = strdup(options->token);
    if (!d->url || !d->curl || (options->token && options->token[0] && !d->token)) {
        bool no_url = !d->url;
        download_free(d);
        return no_url ? failure(error, FACET_ERROR_ARGUMENT, "'%.100s' is no address of a file", options->url)
                      : failure(error, FACET_ERROR_MEMORY, "out of memory");
    }
    d->retries = options->retries;
    d->stall_seconds = options->stall_seconds;
    d->go_on = options->go_on;
    d->ctx = options->ctx;
    *out = d;
    return FACET_OK;
}

uint64_t download_total(const download *d) { return d->total; }
const char *download_mark(const download *d) { return d->mark; }
const char *download_sha256(const download *d) { return d->sha256; }

facet_status download_expect(download *d, uint64_t total, const char *mark, facet_error *error) {
    if (strlen(mark) >= sizeof d->mark)
        return failure(error, FACET_ERROR_ARGUMENT, "the mark of the file is too long");
    d->total = total;
    snprintf(d->mark, sizeof d->mark, "%s", mark);
    d->is_known = true;
    return FACET_OK;
}

void download_expect_any(download *d) {
    d->total = 0;
    d->mark[0] = '\0';
    d->is_known = false;
}

/* ---- the answer's head */

/* The value of a header line "Name: value", without blanks and line end, or NULL. */
static const char *header_value(const char *line, size_t n, const char *name, size_t *n_value) {
    size_t at = strlen(name);
    if (n <= at || strncasecmp(line, name, at) != 0 || line[at] != ':') return NULL;
    for (at++; at < n && (line[at] == ' ' || line[at] == '\t');) at++;
    while (n > at && (unsigned char)line[n - 1] <= ' ') n--;
    *n_value = n - at;
    return line + at;
}

static bool read_number(const char **text, const char *end, uint64_t *out) {
    const char *p = *text;
    *out = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, (uint64_t)(*p - '0'), out))
            return false;
    }
    bool any = p > *text;
    *text = p;
    return any;
}

/* "bytes 5-9/100", "bytes 5-9/..." with a star, "bytes .../100" */
static void read_range(transfer *t, const char *value, size_t n) {
    const char *p = value + 5, *end = value + n;
    uint64_t last;
    if (n < 6 || strncasecmp(value, "bytes", 5) != 0) return;
    while (p < end && *p == ' ') p++;
    t->has_range = read_number(&p, end, &t->range_begin) && p < end && *p++ == '-' && read_number(&p, end, &last);
    const char *slash = memchr(value, '/', n);
    if (slash && ++slash < end && !read_number(&slash, end, &t->total)) t->total = 0;
}

static void copy_value(char *out, size_t out_bytes, const char *value, size_t n) {
    if (n < out_bytes) snprintf(out, out_bytes, "%.*s", (int)n, value);
}

static void read_sha256(transfer *t, const char *value, size_t n) {
    if (n == 66 && value[0] == '"') value++, n -= 2;
    if (n == 64 && strspn(value, "0123456789abcdefABCDEF") >= 64) copy_value(t->sha256, sizeof t->sha256, value, n);
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx) {
    transfer *t = ctx;
    const char *value;
    size_t n_value;
    n *= size;
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) { /* the answer, after one that only says 100 */
        t->has_length = t->has_range = false;
        t->mark[0] = '\0';
    }
    if ((value = header_value(line, n, "Content-Length", &n_value)))
        t->has_length = read_number(&value, value + n_value, &t->length);
    if ((value = header_value(line, n, "Content-Range", &n_value))) read_range(t, value, n_value);
    if ((value = header_value(line, n, "ETag", &n_value))) copy_value(t->mark, sizeof t->mark, value, n_value);
    if (!t->mark[0] && (value = header_value(line, n, "Last-Modified", &n_value)))
        copy_value(t->mark, sizeof t->mark, value, n_value);
    if ((value = header_value(line, n, "X-Linked-ETag", &n_value))) read_sha256(t, value, n_value);
    return n;
}

/* ---- the answer's body */

static void refuse(transfer *t, const char *why) {
    t->refused = true;
    snprintf(t->why, sizeof t->why, "%s", why);
}

/* The first byte has come: is this the answer to what was asked, and of the same file as before? */
static void judge(transfer *t) {
    download *d = t->d;
    curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &t->status);
    t->judged = true;
    if (t->status == 200) {
        t->total = t->has_length ? t->length : 0;
        t->skip = t->at;
    } else if (t->status != 206) {
        refuse(t, "");
        return;
    } else if (!t->has_range || t->range_begin != t->at) {
        refuse(t, "the server sent another part than it was asked for");
        return;
    }
    bool same = !d->is_known || (d->total == t->total && (strcmp(d->mark, t->mark) == 0));
    if (!same) {
        t->changed = true;
        refuse(t, "the file on the server has changed");
        return;
    }
    d->is_known = true;
    d->total = t->total;
    snprintf(d->mark, sizeof d->mark, "%s", t->mark);
    if (t->total && t->end > t->total) t->end = t->total;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx) {
    transfer *t = ctx;
    const size_t given = n * size;
    n = given;
    if (!t->judged) judge(t);
    if (t->refused) { /* the page beside a status is read, so that the connection can go on */
        t->n_refused += given;
        return t->why[0] || t->n_refused > MOST_PAGE ? CURL_WRITEFUNC_ERROR : given;
    }
    if (t->at == t->end) return CURL_WRITEFUNC_ERROR; /* more than was asked for is not waited for */
    if (t->skip) {
        size_t some = t->skip < n ? (size_t)t->skip : n;
        t->skip -= some;
        bytes += some;
        n -= some;
    }
    if (n > t->end - t->at) n = (size_t)(t->end - t->at);
    if (n && !t->on_bytes(t->on_bytes_ctx, t->at, bytes, n)) {
        t->stopped = true;
        return CURL_WRITEFUNC_ERROR;
    }
    t->at += n;
    return given;
}

static time_t seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now) {
    transfer *t = ctx;
    (void)total, (void)up_total, (void)up_now;
    time_t second = seconds();
    if (now != t->heard_bytes) t->heard = second;
    t->heard_bytes = now;
    t->stopped = t->d->go_on && !t->d->go_on(t->d->ctx);
    t->stalled = second - t->heard > t->d->stall_seconds;
    return t->stopped || t->stalled;
}

/* ---- one request */

static void set_up(transfer *t, const char *url, struct curl_slist **headers) {
    CURL *c = t->d->curl;
    const char *bundle = getenv("CURL_CA_BUNDLE");
    char line[4096];
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "facet");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)t->d->stall_seconds);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->d->text);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    if (bundle && bundle[0]) curl_easy_setopt(c, CURLOPT_CAINFO, bundle);
    if (t->end != UINT64_MAX)
        snprintf(line, sizeof line, "%llu-%llu", (unsigned long long)t->at, (unsigned long long)(t->end - 1));
    else
        snprintf(line, sizeof line, "%llu-", (unsigned long long)t->at);
    if (t->at || t->end != UINT64_MAX) curl_easy_setopt(c, CURLOPT_RANGE, line);
    if (t->d->token && url_is_trusted(url)) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", t->d->token);
        *headers = curl_slist_append(*headers, line);
    }
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, *headers);
}

/* What to do after a request. */
typedef enum outcome { DONE, AGAIN, GIVE_UP } outcome;

static outcome after_status(transfer *t, facet_error *error) {
    const char *url = t->d->url;
    bool later = t->status == 408 || t->status == 425 || t->status == 429 || t->status >= 500;
    const char *advice = t->status == 401 || t->status == 403
                             ? t->d->token ? " (the HF_TOKEN may not read it)" : " (does it need an HF_TOKEN?)"
                             : "";
    failure(error, FACET_ERROR_IO, "%.150s: the server answers with HTTP status %ld%s", url, t->status, advice);
    return later ? AGAIN : GIVE_UP;
}

static outcome after(transfer *t, CURLcode code, facet_error *error) {
    const char *url = t->d->url;
    if (t->stopped) {
        failure(error, FACET_ERROR_CANCELLED, "stopped");
        return GIVE_UP;
    }
    if (!t->judged && t->status >= 300) return after_status(t, error);
    if (t->refused && !t->why[0]) return after_status(t, error);
    if (t->refused) {
        failure(error, t->changed ? FACET_ERROR_FORMAT : FACET_ERROR_IO, "%.150s: %s", url, t->why);
        return t->changed ? GIVE_UP : AGAIN;
    }
    if (t->judged && t->at == t->end) return DONE;
    if (code == CURLE_OK && t->judged && !t->total && t->end == UINT64_MAX) return DONE; /* of unknown length */
    if (t->stalled)
        failure(error, FACET_ERROR_IO, "%.150s: nothing came for %d seconds", url, t->d->stall_seconds);
    else if (code == CURLE_OK)
        failure(error, FACET_ERROR_IO, "%.150s: the server sent %llu bytes of %llu", url, (unsigned long long)t->at,
                (unsigned long long)t->total);
    else
        failure(error, FACET_ERROR_IO, "%.120s: %.110s", url, t->d->text[0] ? t->d->text : curl_easy_strerror(code));
    bool hopeless = code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT ||
                    code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    return hopeless ? GIVE_UP : AGAIN;
}

/* The address that the answer sends us to; malloc'ed by libcurl's rules, NULL: none. */
static char *redirection(transfer *t) {
    char *to = NULL;
    curl_easy_getinfo(t->d->curl, CURLINFO_RESPONSE_CODE, &t->status);
    bool moved = t->status >= 301 && t->status <= 308 && t->status != 304 && t->status != 305;
    if (!moved || curl_easy_getinfo(t->d->curl, CURLINFO_REDIRECT_URL, &to) || !to) return NULL;
    return strdup(to);
}

static outcome request(transfer *t, facet_error *error) {
    char *url = strdup(t->d->url);
    CURLcode code = CURLE_OUT_OF_MEMORY;
    for (int i = 0; url; i++) {
        struct curl_slist *headers = NULL;
        t->judged = t->refused = false;
        t->n_refused = 0;
        t->heard = seconds();
        t->heard_bytes = 0;
        t->status = 0;
        t->d->text[0] = '\0';
        set_up(t, url, &headers);
        code = curl_easy_perform(t->d->curl);
        curl_slist_free_all(headers);
        char *to = t->stopped ? NULL : redirection(t);
        bool trusted = url_is_trusted(url), allowed = to && url_may_redirect(url, to) && i < MOST_REDIRECTS;
        if (trusted && t->sha256[0]) snprintf(t->d->sha256, sizeof t->d->sha256, "%s", t->sha256);
        if (to && !allowed) {
            failure(error, FACET_ERROR_IO, "%.120s: %s", t->d->url,
                    i < MOST_REDIRECTS ? "the server redirects from HTTPS to something else" : "too many redirects");
            free(to);
            free(url);
            return GIVE_UP;
        }
        free(url);
        url = to;
    }
    return after(t, code, error);
}

/* ---- retries */

/* False: stopped meanwhile. */
static bool pause_before(const download *d, int n_failed) {
    long ms = 250L << (n_failed < 7 ? n_failed - 1 : 6); /* a quarter of a second to 16 seconds */
    for (; ms > 0; ms -= 50) {
        if (d->go_on && !d->go_on(d->ctx)) return false;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return true;
}

facet_status download_run(download *d, uint64_t from, uint64_t end, download_fn on_bytes, void *ctx,
                          facet_error *error) {
    facet_error unused;
    if (!error) error = &unused;
    int n_failed = 0;
    while (from < end) {
        transfer t = {.d = d, .at = from, .end = end, .on_bytes = on_bytes, .on_bytes_ctx = ctx};
        if (d->is_known && d->total && t.end > d->total) t.end = d->total;
        if (t.at >= t.end) break;
        outcome o = request(&t, error);
        if (o == DONE) break;
        if (o == GIVE_UP) return error->status;
        n_failed = t.at > from ? 1 : n_failed + 1;
        from = t.at;
        if (n_failed > d->retries) return error->status;
        if (!pause_before(d, n_failed)) return failure(error, FACET_ERROR_CANCELLED, "stopped");
    }
    *error = (facet_error){0};
    return FACET_OK;
}
