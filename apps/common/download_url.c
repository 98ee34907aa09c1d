/* What a URL is, for us. See download.h. */
#include "download.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "download_url.h"

static bool begins(const char *text, const char *with) { return strncasecmp(text, with, strlen(with)) == 0; }

bool download_is_url(const char *text) {
    return begins(text, "http://") || begins(text, "https://") || begins(text, "hf.co/") || begins(text, "hf:");
}

static char *join(const char *a, const char *b, size_t n_b, const char *c, const char *d) {
    size_t n = strlen(a) + n_b + strlen(c) + strlen(d) + 1;
    char *out = malloc(n);
    if (out) snprintf(out, n, "%s%.*s%s%s", a, (int)n_b, b, c, d);
    return out;
}

char *download_url(const char *text) {
    if (begins(text, "http://") || begins(text, "https://")) return strdup(text);
    const char *path = begins(text, "hf.co/") ? text + 6 : begins(text, "hf:") ? text + 3 : "";
    const char *repository = strchr(path, '/'), *file = repository ? strchr(repository + 1, '/') : NULL;
    if (!file || repository == path || file == repository + 1 || !file[1]) return NULL;
    bool whole = begins(file, "/resolve/"); /* the long form of the address */
    return join("https://huggingface.co/", path, (size_t)(file - path), whole ? "" : "/resolve/main", file);
}

char *download_file_name(const char *url) {
    CURLU *u = curl_url();
    char *path = NULL, *name = NULL;
    if (u && !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, CURLUPART_PATH, &path, 0)) {
        int n;
        char *decoded = curl_easy_unescape(NULL, strrchr(path, '/') + 1, 0, &n);
        bool safe = decoded && n > 0 && decoded[0] != '.' && decoded[0] != '-' && strlen(decoded) == (size_t)n;
        for (int i = 0; safe && i < n; i++) safe = decoded[i] != '/' && (unsigned char)decoded[i] >= 0x20;
        if (safe) name = strdup(decoded);
        curl_free(decoded);
    }
    curl_free(path);
    curl_url_cleanup(u);
    return name;
}

static bool part_is(CURLU *u, CURLUPart part, const char *const *values) {
    char *text = NULL;
    bool found = false;
    if (curl_url_get(u, part, &text, 0)) return false;
    for (; *values && !found; values++) found = strcasecmp(text, *values) == 0;
    curl_free(text);
    return found;
}

bool url_is_trusted(const char *url) {
    static const char *const secure[] = {"https", NULL};
    static const char *const hosts[] = {"huggingface.co", "www.huggingface.co", "hf.co", NULL};
    CURLU *u = curl_url();
    bool trusted = u && !curl_url_set(u, CURLUPART_URL, url, 0) && part_is(u, CURLUPART_SCHEME, secure) &&
                   part_is(u, CURLUPART_HOST, hosts);
    curl_url_cleanup(u);
    return trusted;
}

bool url_may_redirect(const char *from, const char *to) {
    return begins(to, "https://") || (begins(from, "http://") && begins(to, "http://"));
}
