/* Checksums for the programs. See facet_tools.h. */
#include <string.h>

#include "base/sha256.h"
#include "facet_tools.h"

_Static_assert(sizeof(facet_sha256) >= sizeof(sha256) && _Alignof(facet_sha256) >= _Alignof(sha256),
               "facet_sha256 must hold a sha256");

void facet_sha256_begin(facet_sha256 *sum) {
    sha256 s;
    sha256_begin(&s);
    memcpy(sum, &s, sizeof s);
}

void facet_sha256_add(facet_sha256 *sum, const void *data, size_t n_bytes) {
    sha256 s;
    memcpy(&s, sum, sizeof s);
    sha256_add(&s, data, n_bytes);
    memcpy(sum, &s, sizeof s);
}

void facet_sha256_end(facet_sha256 *sum, uint8_t digest[32]) {
    sha256 s;
    memcpy(&s, sum, sizeof s);
    sha256_end(&s, digest);
}
