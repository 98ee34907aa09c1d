/* Panels for AVX2: 8 rows of weights unpacked to unsigned bytes, [column / 4][row][4], so that the rows stand in the
 * eight lanes of a register and one token's four activations are broadcast against them (vpmaddubsw). For
 * gemm_256_avx2.c and gemm_32_avx2.c.
 *
 * Products gather in 16 bits as long as that cannot overflow (a `chunk` of steps of 4 columns: 2 * 127 * largest code
 * * chunk < 32768), then a multiplication by the sub-scale moves them to 32. Codes of eight bits are two planes of
 * four: code = 16 * high + low. Six tokens at a time: their six sums of each kind, one register of weights and one
 * for the product fit the sixteen registers. */
#ifndef FACET_CPU_X86_PANELS_AVX2_H
#define FACET_CPU_X86_PANELS_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "cpu/registry.h"

#define PANEL_INLINE static inline __attribute__((always_inline))

/* Loops whose arrays must become registers. With sanitizers, whose checks would multiply with them and take compilers
 * minutes, they stay loops. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PANEL_UNROLL(n)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define PANEL_UNROLL(n)
#endif
#endif
#ifndef PANEL_UNROLL
#define PANEL_PRAGMA(text) _Pragma(#text)
#define PANEL_UNROLL(n)    PANEL_PRAGMA(GCC unroll n)
#endif

enum { PLANE_BYTES = CPU_PANEL * CPU_GROUP, MAX_TOKENS = 6 };

/* One group of a tile of w tokens (table.h). */
typedef struct tile_group {
    const int32_t *q, *s16, *s32; /* [64][w], [8][w], [4][w] */
    const float *d;               /* [8][w] */
} tile_group;

PANEL_INLINE tile_group tile_at(const void *tile, size_t w, size_t g) {
    const uint8_t *p = (const uint8_t *)tile + g * w * CPU_GROUP_BYTES;
    return (tile_group){(const void *)p, (const void *)(p + 256 * w), (const void *)(p + 288 * w),
                        (const void *)(p + 304 * w)};
}

PANEL_INLINE __m256i load_panel(const void *p) { return _mm256_load_si256(p); }

/* c[t] = sum of codes times activations over `chunk` steps of four columns */
PANEL_INLINE void dot_chunk(const uint8_t *codes, const int32_t *q, size_t w, int chunk, int n_tokens, __m256i *c) {
    __m256i v = load_panel(codes);
    PANEL_UNROLL(6)
    for (int t = 0; t < n_tokens; t++) c[t] = _mm256_maddubs_epi16(v, _mm256_set1_epi32(q[t]));
    PANEL_UNROLL(8)
    for (int k = 1; k < chunk; k++) {
        v = load_panel(codes + 32 * k);
        PANEL_UNROLL(6)
        for (int t = 0; t < n_tokens; t++)
            c[t] = _mm256_add_epi16(c[t], _mm256_maddubs_epi16(v, _mm256_set1_epi32(q[(size_t)k * w + (size_t)t])));
    }
}

/* isum[t] += scale * (codes . activations) over `steps` steps of four columns. */
PANEL_INLINE void add_dots(const uint8_t *codes, const int32_t *q, size_t w, __m256i scale, int planes, int chunk,
                           int steps, int n_tokens, __m256i *isum) {
    __m256i c[MAX_TOKENS];
    PANEL_UNROLL(2)
    for (int p = 0; p < planes; p++) {
        __m256i s = p ? _mm256_slli_epi16(scale, 4) : scale;
        PANEL_UNROLL(8)
        for (int k = 0; k < steps; k += chunk) {
            dot_chunk(codes + p * PLANE_BYTES + 32 * k, q + (size_t)k * w, w, chunk, n_tokens, c);
            PANEL_UNROLL(6)
            for (int t = 0; t < n_tokens; t++) isum[t] = _mm256_add_epi32(isum[t], _mm256_madd_epi16(c[t], s));
        }
    }
}

/* codes[row][256] to [column / 4][row][4], a step of `stride` bytes for each four columns: an 8 x 8 transposition of
 * 32-bit units at a time. */
PANEL_INLINE void transpose_codes(const uint8_t codes[CPU_PANEL][CPU_GROUP], uint8_t *out, size_t stride) {
    for (size_t i = 0; i < CPU_GROUP / 32; i++, out += 8 * stride) {
        __m256i r[8], s[8], u[8];
        for (int k = 0; k < 8; k++) r[k] = load_panel(codes[k] + 32 * i);
        for (int k = 0; k < 8; k += 2) {
            s[k] = _mm256_unpacklo_epi32(r[k], r[k + 1]);
            s[k + 1] = _mm256_unpackhi_epi32(r[k], r[k + 1]);
        }
        for (int k = 0; k < 8; k += 4) {
            u[k] = _mm256_unpacklo_epi64(s[k], s[k + 2]);
            u[k + 1] = _mm256_unpackhi_epi64(s[k], s[k + 2]);
            u[k + 2] = _mm256_unpacklo_epi64(s[k + 1], s[k + 3]);
            u[k + 3] = _mm256_unpackhi_epi64(s[k + 1], s[k + 3]);
        }
        for (size_t k = 0; k < 4; k++) {
            _mm256_store_si256((__m256i *)(void *)(out + k * stride),
                               _mm256_permute2x128_si256(u[k], u[k + 4], 0x20));
            _mm256_store_si256((__m256i *)(void *)(out + (k + 4) * stride),
                               _mm256_permute2x128_si256(u[k], u[k + 4], 0x31));
        }
    }
}

/* Codes of eight bits to two planes of four. */
PANEL_INLINE void split_planes(uint8_t *codes) {
    const __m256i low = _mm256_set1_epi8(15);
    for (int i = 0; i < PLANE_BYTES; i += 32) {
        __m256i v = load_panel(codes + i), high = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
        _mm256_store_si256((__m256i *)(void *)(codes + i), _mm256_and_si256(v, low));
        _mm256_store_si256((__m256i *)(void *)(codes + PLANE_BYTES + i), high);
    }
}

#endif
