/* Four rows side by side with one token or a few, AVX-512 with VNNI: what gemv_256_avx512.c and gemv_32_avx512.c
 * share.
 */
#ifndef FACET_CPU_X86_ROWS_AVX512_H
#define FACET_CPU_X86_ROWS_AVX512_H

#include <immintrin.h>

#include "cpu/table.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 4")
enum { ROWS = 4, MANY = CPU_ROWS_TOKENS };

/* The activations of a block, four registers in the order in which a format's codes come, and where their sums of
 * products begin. */
typedef struct inputs {
    __m512i x[4], start[4];
} inputs;

/* HALVES: columns 32 j.. and 128 + 32 j.. together. */
typedef enum order { IN_ORDER, HALVES } order;

INLINE inputs rows_inputs(const cpu_group *g, order how, int offset) {
    inputs in;
    UNROLL
    for (int j = 0; j < 4; j++) {
        if (how == IN_ORDER)
            in.x[j] = _mm512_loadu_si512(g->q + 64 * j);
        else
            in.x[j] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_load_si256((const void *)(g->q + 32 * j))),
                                         _mm256_load_si256((const void *)(g->q + 128 + 32 * j)), 1);
        in.start[j] = _mm512_setzero_si512();
        if (offset)
            in.start[j] = _mm512_sub_epi32(in.start[j],
                                           _mm512_dpbusd_epi32(in.start[j], _mm512_set1_epi8((char)offset), in.x[j]));
    }
    return in;
}

/* Lane l of each 128 bits: what v[l] has there, added up. */
INLINE __m512i rows_columns(const __m512i v[4]) {
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* n bytes that are read some rows later: `ahead` bytes from p; crossing the end of the matrix is harmless. */
INLINE void rows_prefetch(const uint8_t *p, size_t ahead, size_t n) {
    for (size_t k = 0; k < n; k += 64) _mm_prefetch((const char *)((uintptr_t)p + ahead + k), _MM_HINT_T0);
}

/* The registered functions of a format, from its times_NAME, whose number of tokens is to be a constant. */
#define ROWS_FOR_ONE(name)                                                                                           \
    void gemv_##name##_avx512(const matrix *w, size_t row, size_t n_rows, const void *x, float *out) {               \
        times_##name(w, row, n_rows, x, 0, 1, out, 0);                                                               \
    }
#define ROWS_FOR_FEW(name)                                                                                           \
    void rows_##name##_avx512(const matrix *w, size_t row, size_t n_rows, const void *x, size_t stride,              \
                              size_t n_tokens, float *out, size_t ldo) {                                             \
        if (n_tokens == 2)                                                                                           \
            times_##name(w, row, n_rows, x, stride, 2, out, ldo);                                                    \
        else if (n_tokens == 3)                                                                                      \
            times_##name(w, row, n_rows, x, stride, 3, out, ldo);                                                    \
        else                                                                                                         \
            times_##name(w, row, n_rows, x, stride, 4, out, ldo);                                                    \
    }

#endif
