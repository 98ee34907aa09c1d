/* Reading untrusted bytes. A cursor that never leaves its range: a read past the end gives zero and marks the cursor
 * as failed, so that a parser can read a whole header and check once. Little-endian, any alignment. */
#ifndef FACET_BASE_BYTES_H
#define FACET_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct bytes {
    const uint8_t *data;
    size_t n;
    size_t at;   /* next byte to read, <= n */
    bool failed; /* a read went past the end */
} bytes;

static inline bytes bytes_of(const void *data, size_t n) { return (bytes){.data = data, .n = n}; }
static inline size_t bytes_left(const bytes *b) { return b->n - b->at; }

/* The next n bytes, or NULL (and failed) if there are fewer. */
static inline const uint8_t *bytes_take(bytes *b, size_t n) {
    if (b->failed || n > bytes_left(b)) {
        b->failed = true;
        return NULL;
    }
    const uint8_t *p = b->data + b->at;
    b->at += n;
    return p;
}

static inline uint64_t bytes_le(bytes *b, size_t n) {
    const uint8_t *p = bytes_take(b, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}
static inline uint8_t bytes_u8(bytes *b) { return (uint8_t)bytes_le(b, 1); }
static inline uint16_t bytes_u16(bytes *b) { return (uint16_t)bytes_le(b, 2); }
static inline uint32_t bytes_u32(bytes *b) { return (uint32_t)bytes_le(b, 4); }
static inline uint64_t bytes_u64(bytes *b) { return bytes_le(b, 8); }
static inline float bytes_f32(bytes *b) {
    uint32_t u = bytes_u32(b);
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

#endif
