/* SHA-256 of bytes that come piece by piece. Source: FIPS 180-4. Knows nothing of files. */
#ifndef FACET_BASE_SHA256_H
#define FACET_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32 };

typedef struct sha256 {
    uint32_t h[8];
    uint64_t n_bytes; /* so far */
    uint8_t block[64];
} sha256;

void sha256_begin(sha256 *s);
void sha256_add(sha256 *s, const void *data, size_t n);
void sha256_end(sha256 *s, uint8_t out[SHA256_BYTES]);
/* Lower-case hexadecimal, terminated. */
void sha256_text(const uint8_t digest[SHA256_BYTES], char out[2 * SHA256_BYTES + 1]);

#endif
