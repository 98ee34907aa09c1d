/* What few_256.h and few_32.h share: a tile's parts as registers with a token in each lane, and results to their
 * places. */
#ifndef FACET_CPU_X86_FEW_H
#define FACET_CPU_X86_FEW_H

/* Activations of four columns, or sums of two sub-blocks, of up to eight tokens. With w = 4 the upper half is what
 * follows in the tile; the sums' last step must not read beyond it. */
FEW_INLINE __m256i few_load(const int32_t *p) { return _mm256_loadu_si256((const void *)p); }
FEW_INLINE __m256i few_sums(const int32_t *p, size_t w) {
    return w == 4 ? _mm256_zextsi128_si256(_mm_loadu_si128((const void *)p)) : few_load(p);
}
FEW_INLINE __m256 few_scale(const float *d, size_t w) {
    return w == 4 ? _mm256_zextps128_ps256(_mm_loadu_ps(d)) : _mm256_loadu_ps(d);
}

/* n bytes that are read some rows later: `ahead` bytes from p; crossing the end of the matrix is harmless. */
FEW_INLINE void few_prefetch(const uint8_t *p, size_t ahead, size_t n) {
    for (size_t k = 0; k < n; k += 64) _mm_prefetch((const char *)((uintptr_t)p + ahead + k), _MM_HINT_T0);
}

/* A row's result of every token. */
FEW_INLINE void few_put(__m256 acc, size_t n_tokens, float *out, size_t ldo) {
    _Alignas(32) float each[8];
    _mm256_store_ps(each, acc);
    for (size_t t = 0; t < n_tokens; t++) out[t * ldo] = each[t];
}

#endif
