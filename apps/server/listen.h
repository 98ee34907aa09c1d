/* The socket the server listens on. */
#ifndef FACET_SERVER_LISTEN_H
#define FACET_SERVER_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct listener {
    int fd;
    bool loopback;  /* only this machine can reach it */
    char name[160]; /* "127.0.0.1:8080", "[::1]:8080", "unix:/path" */
} listener;

/* False: `why` says what went wrong. */
bool listen_tcp(listener *out, const char *host, int port, char *why, size_t why_bytes);
bool listen_unix(listener *out, const char *path, char *why, size_t why_bytes);

#endif
