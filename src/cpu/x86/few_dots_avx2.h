/* Products of four rows' codes with a few tokens for AVX2, for few_256.h and few_32.h: as in panels_avx2.h, with the
 * parts of weights and activations exchanged. */
#include "cpu/x86/panels_avx2.h"
#include "cpu/x86/unpack_32_avx2.h"

#define FEW_INLINE         PANEL_INLINE
#define FEW_UNROLL(n)      PANEL_UNROLL(n)
#define FEW_NAME(name)     name##_avx2
#define FEW_PLANES(planes) (planes)
enum { FEW_ROWS = 4 };

/* Codes of a row's group: one plane, or two of four bits. */
typedef struct few_codes {
    _Alignas(32) uint8_t of[2][CPU_GROUP];
} few_codes;

PANEL_INLINE void few_split(few_codes *c) {
    for (int i = 0; i < CPU_GROUP; i += 32) {
        __m256i v = load_panel(c->of[0] + i);
        unpack_store(c->of[1] + i, low_bits(v, 4, 15));
        unpack_store(c->of[0] + i, low_bits(v, 0, 15));
    }
}

/* Sub-scales twice in 16 bits each. */
PANEL_INLINE void few_put_scales(__m256i scale, int sub, int32_t *each) {
    __m256i low = _mm256_unpacklo_epi16(scale, scale), high = _mm256_unpackhi_epi16(scale, scale);
    _mm256_store_si256((__m256i *)(void *)each, _mm256_permute2x128_si256(low, high, 0x20));
    if (sub == 16) _mm256_store_si256((__m256i *)(void *)(each + 8), _mm256_permute2x128_si256(low, high, 0x31));
}

PANEL_INLINE __m256i few_code(const few_codes *c, int plane, int step) {
    int32_t four;
    memcpy(&four, c->of[plane] + 4 * step, sizeof four);
    return _mm256_set1_epi32(four);
}

/* isum[r] += scale[r] (NULL: 1) * (codes of row r . activations) over `steps` steps of four columns from step k on */
PANEL_INLINE void few_dots(const few_codes *code, int first, tile_group x, size_t w, const __m256i *scale, int planes,
                           int chunk, int steps, int n, __m256i *isum) {
    __m256i c[FEW_ROWS];
    PANEL_UNROLL(2)
    for (int p = 0; p < planes; p++) {
        PANEL_UNROLL(8)
        for (int k = first; k < first + steps; k += chunk) {
            __m256i q = _mm256_loadu_si256((const void *)(x.q + (size_t)k * w));
            PANEL_UNROLL(4)
            for (int r = 0; r < n; r++) c[r] = _mm256_maddubs_epi16(few_code(code + r, p, k), q);
            PANEL_UNROLL(8)
            for (int i = k + 1; i < k + chunk; i++) {
                q = _mm256_loadu_si256((const void *)(x.q + (size_t)i * w));
                PANEL_UNROLL(4)
                for (int r = 0; r < n; r++)
                    c[r] = _mm256_add_epi16(c[r], _mm256_maddubs_epi16(few_code(code + r, p, i), q));
            }
            PANEL_UNROLL(4)
            for (int r = 0; r < n; r++) {
                __m256i one = scale ? scale[r] : _mm256_set1_epi16(1), s = p ? _mm256_slli_epi16(one, 4) : one;
                isum[r] = _mm256_add_epi32(isum[r], _mm256_madd_epi16(c[r], s));
            }
        }
    }
}
