/* Files over HTTP and HTTPS, by libcurl. Owns: the connection, redirects, retries, and what is known of the file on
 * the server: its size, and a mark that changes when it does. Knows nothing of models and of where the bytes go.
 *
 * A token is sent to Hugging Face over HTTPS and to nobody else, also when that redirects to somebody. */
#ifndef FACET_COMMON_DOWNLOAD_H
#define FACET_COMMON_DOWNLOAD_H

#include <facet.h>

typedef struct download download;

typedef struct download_options {
    const char *url;   /* or a short form, see download_url; all are copied */
    const char *token; /* NULL: none */
    int retries;       /* in a row without a single new byte */
    int stall_seconds; /* without a byte: the connection is given up and tried again */
    /* NULL, or asked about once a second; false stops with FACET_ERROR_CANCELLED. */
    bool (*go_on)(void *ctx);
    void *ctx;
} download_options;

/* "hf.co/OWNER/REPOSITORY/FILE", "hf:OWNER/..." -> https://huggingface.co/OWNER/REPOSITORY/resolve/main/FILE;
 * "http://" and "https://" stay. malloc'ed; NULL: no URL (or no memory). */
char *download_url(const char *text);
bool download_is_url(const char *text);
/* The last part of its path, decoded, as the name of a file; malloc'ed; NULL: it has none that is safe. */
char *download_file_name(const char *url);

facet_status download_new(download **out, const download_options *options, facet_error *error);
void download_free(download *d);

/* Bytes in order, `offset` of the first; false stops with FACET_ERROR_CANCELLED. */
typedef bool (*download_fn)(void *ctx, uint64_t offset, const void *bytes, size_t n);
/* Fetches [from, end), end UINT64_MAX: the rest of the file. Connections that break or stall are made again, from
 * where they broke. FACET_ERROR_FORMAT: the file on the server is another one than at the beginning. */
facet_status download_run(download *d, uint64_t from, uint64_t end, download_fn on_bytes, void *ctx,
                          facet_error *error);

/* Known with the first byte. */
uint64_t download_total(const download *d); /* bytes; 0: the server does not tell */
/* Its ETag or time of change, or "". Setting it tells which file the bytes before `from` are of. */
const char *download_mark(const download *d);
facet_status download_expect(download *d, uint64_t total, const char *mark, facet_error *error);
void download_expect_any(download *d); /* takes that back */
/* The SHA-256 that Hugging Face tells of the file, 64 hexadecimal digits, or "". */
const char *download_sha256(const download *d);

#endif
