/* Size arithmetic that cannot wrap. Each returns false where the result does not fit. */
#ifndef FACET_BASE_CHECKED_H
#define FACET_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool checked_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool checked_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool checked_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* Rounds up to a multiple of `align`, a power of two. */
static inline bool checked_align(size_t n, size_t align, size_t *out) {
    if (!checked_add(n, align - 1, out)) return false;
    *out &= ~(align - 1);
    return true;
}

#endif
