/* Products of four rows' codes with a few tokens by vpdpbusd, for few_256.h and few_32.h: four products at once go
 * into 32 bits, whatever the codes. Included after a vnni_ISA.h. */
#include "cpu/x86/panels_avx2.h"
#include "cpu/x86/unpack_32_avx2.h"

#define FEW_INLINE         PANEL_INLINE
#define FEW_UNROLL(n)      PANEL_UNROLL(n)
#define FEW_NAME(name)     VNNI_NAME(name)
#define FEW_PLANES(planes) ((planes) ? 1 : 1)
enum { FEW_ROWS = 4 };

/* Codes of a row's group. */
typedef struct few_codes {
    _Alignas(32) uint8_t of[1][CPU_GROUP];
} few_codes;

PANEL_INLINE void few_split(few_codes *c) { (void)c; }

PANEL_INLINE void few_put_scales(__m256i scale, int sub, int32_t *each) {
    _mm256_store_si256((__m256i *)(void *)each, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(scale)));
    if (sub == 16)
        _mm256_store_si256((__m256i *)(void *)(each + 8), _mm256_cvtepi16_epi32(_mm256_extracti128_si256(scale, 1)));
}

PANEL_INLINE __m256i few_code(const few_codes *c, int step) {
    int32_t four;
    memcpy(&four, c->of[0] + 4 * step, sizeof four);
    return _mm256_set1_epi32(four);
}

/* isum[r] += scale[r] (NULL: 1) * (codes of row r . activations) over `steps` steps of four columns from `first` on
 */
PANEL_INLINE void few_dots(const few_codes *code, int first, tile_group x, size_t w, const __m256i *scale, int planes,
                           int chunk, int steps, int n, __m256i *isum) {
    (void)planes, (void)chunk;
    __m256i c[FEW_ROWS];
    PANEL_UNROLL(4)
    for (int r = 0; r < n; r++) c[r] = _mm256_setzero_si256();
    PANEL_UNROLL(8)
    for (int k = first; k < first + steps; k++) {
        __m256i q = _mm256_loadu_si256((const void *)(x.q + (size_t)k * w));
        PANEL_UNROLL(4)
        for (int r = 0; r < n; r++) c[r] = vnni_dot_256(c[r], few_code(code + r, k), q);
    }
    PANEL_UNROLL(4)
    for (int r = 0; r < n; r++)
        isum[r] = _mm256_add_epi32(isum[r], scale ? _mm256_mullo_epi32(c[r], scale[r]) : c[r]);
}
