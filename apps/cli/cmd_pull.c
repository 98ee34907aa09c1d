/* facet pull: a model from the network to a file, which appears when it is whole and right. */
#include "app.h"
#include "commands.h"
#include "part_file.h"
#include "remote.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct pull {
    const cli_options *options;
    char *path;
    download *download;
    part_file *part;
    bool described;
    uint8_t digest[32];
    bool has_digest;
    facet_sha256 sum;
    progress progress;
    facet_error error; /* of on_bytes */
} pull;

static void write_text(facet_error *error, facet_status status, const char *message) {
    error->status = status;
    snprintf(error->message, sizeof error->message, "%s", message);
}

/* What is no model is not fetched to its end. */
static facet_status check_front(const pull *p, uint64_t offset, const char *bytes, size_t n, facet_error *error) {
    if (offset || n < 4 || memcmp(bytes, "GGUF", 4) == 0) return FACET_OK;
    (void)p;
    write_text(error, FACET_ERROR_FORMAT, "the server sent no GGUF file: it does not begin with the letters GGUF");
    return FACET_ERROR_FORMAT;
}

static bool on_bytes(void *ctx, uint64_t offset, const void *bytes, size_t n) {
    pull *p = ctx;
    facet_status status = check_front(p, offset, bytes, n, &p->error);
    if (!status && !p->described)
        status = part_file_describe(p->part, download_total(p->download), download_mark(p->download), &p->error);
    p->described = true;
    if (!status) status = part_file_append(p->part, bytes, n, &p->error);
    facet_sha256_add(&p->sum, bytes, n);
    progress_update(&p->progress, (size_t)((offset + n) >> 10), (size_t)(download_total(p->download) >> 10));
    return status == FACET_OK;
}

static facet_status add_what_is_there(pull *p, facet_error *error) {
    enum { PIECE = 1 << 18 };
    facet_status status = FACET_OK;
    uint64_t n = part_file_length(p->part);
    char *piece = malloc(PIECE);
    if (!piece) {
        write_text(error, FACET_ERROR_MEMORY, "out of memory");
        return FACET_ERROR_MEMORY;
    }
    facet_sha256_begin(&p->sum);
    for (uint64_t at = 0; at < n && !status; at += PIECE) {
        size_t some = n - at < PIECE ? (size_t)(n - at) : PIECE;
        status = part_file_read(p->part, at, piece, some, error);
        if (!status) facet_sha256_add(&p->sum, piece, some);
    }
    free(piece);
    return status;
}

static facet_status run(pull *p, facet_error *error) {
    facet_status status = add_what_is_there(p, error);
    if (!status) status = download_run(p->download, part_file_length(p->part), UINT64_MAX, on_bytes, p, error);
    if (p->error.status) *error = p->error;
    return p->error.status ? p->error.status : status;
}

static facet_status fetch(pull *p, facet_error *error) {
    uint64_t n = part_file_length(p->part);
    if (n && part_file_total(p->part)) {
        fprintf(stderr, "facet: going on after %llu of %llu bytes\n", (unsigned long long)n,
                (unsigned long long)part_file_total(p->part));
    }
    if (n) download_expect(p->download, part_file_total(p->part), part_file_mark(p->part), error);
    facet_status status = run(p, error);
    if (status != FACET_ERROR_FORMAT || !n || p->described) return status;
    fputs("facet: the file on the server has changed: starting anew\n", stderr);
    download_expect_any(p->download);
    status = part_file_restart(p->part, error);
    return status ? status : run(p, error);
}

static facet_status check_digest(pull *p, facet_error *error) {
    uint8_t found[32];
    char sums[2][65];
    if (!p->has_digest) p->has_digest = remote_parse_digest(download_sha256(p->download), p->digest);
    if (!p->has_digest) return FACET_OK;
    facet_sha256_end(&p->sum, found);
    if (memcmp(found, p->digest, sizeof found) == 0) return FACET_OK;
    for (int i = 0; i < 32; i++) {
        snprintf(sums[0] + 2 * i, 3, "%02x", found[i]);
        snprintf(sums[1] + 2 * i, 3, "%02x", p->digest[i]);
    }
    error->status = FACET_ERROR_FORMAT;
    snprintf(error->message, sizeof error->message, "the SHA-256 of what came is %s, expected %s", sums[0], sums[1]);
    return FACET_ERROR_FORMAT;
}

/* All that its directory announces is there. */
static facet_status check_model(const pull *p, facet_error *error) {
    facet_gguf *gguf;
    char *name = malloc(strlen(p->path) + 8);
    if (!name) {
        write_text(error, FACET_ERROR_MEMORY, "out of memory");
        return FACET_ERROR_MEMORY;
    }
    sprintf(name, "%s.part", p->path);
    facet_status status = facet_gguf_open(&gguf, name, true, error);
    bool complete = !status;
    for (size_t i = 0; complete && i < facet_gguf_n_tensors(gguf); i++) {
        facet_gguf_tensor t = {.size = sizeof t};
        facet_gguf_get_tensor(gguf, i, &t);
        complete = t.offset + t.n_bytes <= facet_gguf_n_bytes(gguf);
    }
    if (!status && !complete) {
        write_text(error, FACET_ERROR_TRUNCATED, "the server's file ends before what its directory announces");
        status = FACET_ERROR_TRUNCATED;
    }
    facet_gguf_free(gguf);
    free(name);
    return status;
}

/* A file that is not what it should be would not become better by going on. */
static int finish(pull *p, int status) {
    facet_error error = {0}, unused;
    facet_status found = status ? FACET_OK : check_digest(p, &error);
    if (!status && !found) found = check_model(p, &error);
    if (found) {
        part_file_restart(p->part, &unused);
        status = report_failure(&error, p->options->arguments[0]);
    }
    if (!status && part_file_commit(p->part, &error))
        status = report_failure(&error, p->path);
    else if (status)
        part_file_close(p->part);
    if (!status) printf("%s\n", p->path);
    return status;
}

static int prepare(pull *p, const cli_options *o) {
    facet_error error;
    struct stat info;
    char *url = download_url(o->arguments[0]);
    if (!url)
        return report_usage("pull: '%.100s' is no address of a file; try https://... or hf.co/OWNER/NAME/FILE",
                            o->arguments[0]);
    p->path = o->output ? strdup(o->output) : download_file_name(url);
    free(url);
    if (!p->path) return report_usage("pull: the address names no file; say where it goes with -o FILE");
    if (stat(p->path, &info) == 0)
        return report_error("%s is there already: remove it, or name another with -o", p->path);
    download_options d = remote_download_options(o, o->arguments[0]);
    if (download_new(&p->download, &d, &error)) return report_failure(&error, NULL);
    return part_file_open(&p->part, p->path, &error) ? report_failure(&error, NULL) : EXIT_OK;
}

int cmd_pull(const cli_options *o) {
    pull p = {.options = o};
    facet_error error = {0};
    int status = remote_digest(o, p.digest, &p.has_digest);
    if (!status) status = prepare(&p, o);
    if (!status) {
        progress_begin(&p.progress, "pull", "KiB");
        facet_status failed = fetch(&p, &error);
        progress_end(&p.progress);
        if (failed) status = report_failure(&error, o->arguments[0]);
        status = finish(&p, status);
    }
    download_free(p.download);
    free(p.path);
    return status;
}
