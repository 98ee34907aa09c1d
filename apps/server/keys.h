/* Who may ask: API keys, origins of web pages, names of hosts. Owns the keys. A comparison takes the same time
 * whatever of the key is right. */
#ifndef FACET_SERVER_KEYS_H
#define FACET_SERVER_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct key_ring {
    char **keys;
    size_t n;
} key_ring;

/* False: `why` says what is wrong with a key or the file. An empty ring asks for no key. */
bool key_ring_load(key_ring *ring, const char *const *keys, size_t n, const char *file, char *why, size_t why_bytes);
void key_ring_free(key_ring *ring);
/* The number of the key, from 1; 0: it is none. */
/* Warns on the standard error where others than its owner can read a file of secrets. */
void warn_if_shared(const char *path, FILE *file);
size_t key_ring_find(const key_ring *ring, const char *key);
/* The key in the headers "Authorization: Bearer KEY" or "x-api-key: KEY" (either may be NULL); NULL: none. */
const char *key_of_headers(const char *authorization, const char *x_api_key);

/* Whether the header Host (NULL: none) names this machine: an address, localhost, or `host`. A page whose own name
 * was made to point here names something else. */
bool host_is_local(const char *header, const char *host);

#endif
