/* API keys and names of hosts: see keys.h. */
#include "keys.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static bool add_key(key_ring *ring, const char *key, size_t n, const char *where, char *why, size_t why_bytes) {
    for (size_t i = 0; i < n; i++) {
        if (key[i] <= ' ' || key[i] >= 127) n = 0;
    }
    if (!n) {
        snprintf(why, why_bytes, "%s: an API key is one or more characters of ASCII without spaces", where);
        return false;
    }
    char **grown = realloc(ring->keys, (ring->n + 1) * sizeof *grown);
    if (grown) ring->keys = grown;
    char *copy = grown ? strndup(key, n) : NULL;
    if (!copy) {
        snprintf(why, why_bytes, "out of memory");
        return false;
    }
    ring->keys[ring->n++] = copy;
    return true;
}

/* Pipes are nobody's to read again. */
void warn_if_shared(const char *path, FILE *file) {
    struct stat info;
    if (fstat(fileno(file), &info) || !S_ISREG(info.st_mode) || !(info.st_mode & 077)) return;
    fprintf(stderr, "facet: warning: %s can be read by others (mode %03o); chmod 600 keeps it secret\n", path,
            (unsigned)(info.st_mode & 0777));
}

/* One key a line; empty lines and those that begin with # mean nothing. */
static bool add_file(key_ring *ring, const char *path, char *why, size_t why_bytes) {
    text content = {0};
    FILE *file = fopen(path, "rb");
    bool ok = file && cli_text_read(&content, file);
    if (!ok) snprintf(why, why_bytes, "cannot read %s: %s", path, strerror(errno));
    if (ok) warn_if_shared(path, file);
    size_t before = ring->n;
    for (const char *line = cli_text_get(&content); ok && *line;) {
        size_t n = strcspn(line, "\r\n");
        if (n && line[0] != '#') ok = add_key(ring, line, n, path, why, why_bytes);
        line += n + strspn(line + n, "\r\n");
    }
    if (ok && ring->n == before) {
        snprintf(why, why_bytes, "%s holds no API key", path);
        ok = false;
    }
    cli_text_free(&content);
    if (file) fclose(file);
    return ok;
}

bool key_ring_load(key_ring *ring, const char *const *keys, size_t n, const char *file, char *why, size_t why_bytes) {
    *ring = (key_ring){0};
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) ok = add_key(ring, keys[i], strlen(keys[i]), "--api-key", why, why_bytes);
    if (ok && file) ok = add_file(ring, file, why, why_bytes);
    if (!ok) key_ring_free(ring);
    return ok;
}

void key_ring_free(key_ring *ring) {
    for (size_t i = 0; i < ring->n; i++) {
        explicit_bzero(ring->keys[i], strlen(ring->keys[i]));
        free(ring->keys[i]);
    }
    free(ring->keys);
    *ring = (key_ring){0};
}

/* Looks at every byte of what was sent, wherever the first difference is. */
static bool same_key(const char *sent, size_t n_sent, const char *key) {
    size_t n = strlen(key);
    volatile unsigned difference = n != n_sent;
    for (size_t i = 0; i < n_sent; i++) difference |= (unsigned char)(sent[i] ^ key[i % n]);
    return difference == 0;
}

size_t key_ring_find(const key_ring *ring, const char *key) {
    size_t n = strlen(key), found = 0;
    for (size_t i = 0; i < ring->n; i++) {
        if (same_key(key, n, ring->keys[i])) found = i + 1;
    }
    return found;
}

const char *key_of_headers(const char *authorization, const char *x_api_key) {
    if (authorization && !strncasecmp(authorization, "Bearer ", 7)) {
        const char *key = authorization + 7;
        return key + strspn(key, " ");
    }
    return x_api_key;
}

static bool is_address(const char *s, size_t n) {
    if (n && s[0] == '[') return true;
    for (size_t i = 0; i < n; i++) {
        if (!strchr("0123456789.", s[i])) return false;
    }
    return n > 0;
}

bool host_is_local(const char *header, const char *host) {
    if (!header) return true;
    size_t n = header[0] == '[' ? strlen(header) : strcspn(header, ":");
    const char *local = "localhost", *tail = n > 10 ? header + n - 10 : "";
    if (is_address(header, n)) return true;
    if (n == strlen(local) && !strncasecmp(header, local, n)) return true;
    if (!strncasecmp(tail, ".localhost", 10)) return true;
    return host && n == strlen(host) && !strncasecmp(header, host, n);
}
