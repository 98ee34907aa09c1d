/* One token, or up to CPU_ROWS_TOKENS, times rows of 256 blocks, AVX-512 with VNNI (contract, rule 1). Decoding is
 * bound by memory, so what counts is to need fewer instructions a byte than memory needs time; with some tokens codes
 * and scales are still unpacked once. Four rows go side by side: the activations of a block are loaded once for all,
 * the rows' scales are unpacked together in the four lanes of a register, and the contract's float steps serve four
 * rows at once. Each row is still read in its own layout, front to back; the four of the next round are prefetched.
 *
 * A product of four codes with activations fits 16 bits (at most 4 * 63 * 127), so that vpdpwssd multiplies it by a
 * scale, whose pair is zero, and adds it up. Offsets of codes come off at the start: the sums begin at
 * -offset * (sum of four activations). */
#include <immintrin.h>
#include <string.h>

#include "cpu/registry.h"
#include "cpu/x86/rows_avx512.h"
#include "cpu/x86/unpack_256_avx2.h"

INLINE __m512i load64(const void *p) { return _mm512_loadu_si512(p); }
INLINE __m512i twice32(const void *p) { return _mm512_broadcast_i64x4(_mm256_loadu_si256(p)); }
INLINE __m512i bytes(int v) { return _mm512_set1_epi8((char)v); }
/* One number for the lower half of a register, one for the upper. */
INLINE __m512i halves_32(int low, int high) {
    return _mm512_inserti64x4(_mm512_set1_epi32(low), _mm256_set1_epi32(high), 1);
}

INLINE void load_all(const cpu_group *const *g, int n, order how, int offset, inputs *in) {
    UNROLL
    for (int t = 0; t < n; t++) in[t] = rows_inputs(g[t], how, offset);
}

/* isum += scale * (codes . x_j) */
INLINE __m512i add_dots(__m512i isum, __m512i codes, const inputs *in, int j, __m512i scale) {
    return _mm512_dpwssd_epi32(isum, _mm512_dpbusd_epi32(in->start[j], codes, in->x[j]), scale);
}

/* The same for row r and n tokens */
INLINE void add_all(__m512i isum[MANY][ROWS], int n, int r, __m512i codes, const inputs *in, int j, __m512i scale) {
    UNROLL
    for (int t = 0; t < n; t++) isum[t][r] = add_dots(isum[t][r], codes, in + t, j, scale);
}
INLINE void clear(__m512i isum[MANY][ROWS], int n, int r) {
    UNROLL
    for (int t = 0; t < n; t++) isum[t][r] = _mm512_setzero_si512();
}

/* Lane r is the sum of v[r]. */
INLINE __m128i sum_rows(const __m512i v[ROWS]) {
    __m512i c = rows_columns(v);
    __m256i d = _mm256_add_epi32(_mm512_castsi512_si256(c), _mm512_extracti64x4_epi64(c, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(d), _mm256_extracti128_si256(d, 1));
}

/* acc = fmaf(d * d_x, isum, acc) for four rows */
INLINE __m128 add_block(__m128 d, const cpu_group *x, __m128i isum, __m128 acc) {
    return _mm_fmadd_ps(_mm_mul_ps(d, _mm_set1_ps(x->d[0])), _mm_cvtepi32_ps(isum), acc);
}
/* acc = fmaf(-(dmin * d_x), msum, acc) */
INLINE __m128 take_minima(__m128 dmin, const cpu_group *x, __m128i msum, __m128 acc) {
    return _mm_fnmadd_ps(_mm_mul_ps(dmin, _mm_set1_ps(x->d[0])), _mm_cvtepi32_ps(msum), acc);
}

/* 16 bytes of each of four rows */
INLINE __m512i four_rows(const uint8_t *const p[ROWS], size_t at) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)(p[0] + at)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p[1] + at)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p[2] + at)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p[3] + at)), 3);
}
/* The halves at `at` of each row as floats */
INLINE __m128 four_halves(const uint8_t *const p[ROWS], size_t at) {
    __m128i h = _mm_loadu_si16(p[0] + at);
    h = _mm_insert_epi16(h, block_u16(p[1] + at), 1);
    h = _mm_insert_epi16(h, block_u16(p[2] + at), 2);
    return _mm_cvtph_ps(_mm_insert_epi16(h, block_u16(p[3] + at), 3));
}
/* Dword 0 of the four lanes */
INLINE __m128i first_of_lanes(__m512i v) {
    const __m512i first = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
    return _mm512_castsi512_si128(_mm512_permutexvar_epi32(first, v));
}
/* The sum of each lane */
INLINE __m128i sum_lanes(__m512i v) {
    v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_BADC));
    return first_of_lanes(_mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_CDAB)));
}

/* ---- Q4_K and Q5_K: eight scales and eight minima of six bits */

/* Each lane: a row's eight scales, then its eight minima. `headers`: d, dmin and the twelve packed bytes. */
INLINE __m512i k_scales_of_four(__m512i headers) {
    const __m512i low = _mm512_broadcast_i32x4(_mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
    const __m512i high = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
    const __m512i shift = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0, 4));
    __m512i a = _mm512_srlv_epi32(_mm512_shuffle_epi32(headers, _MM_PERM_DCDB), shift);
    __m512i b = _mm512_srli_epi32(_mm512_shuffle_epi32(headers, _MM_PERM_CCBB), 2);
    return _mm512_or_si512(_mm512_and_si512(a, low), _mm512_and_si512(b, high));
}

/* Scales 2j and 2j + 1 of a row, in the lower and the upper half, each beside a zero */
INLINE __m512i k_scale_pair(__m512i row_scales, int j) {
    return _mm512_shuffle_epi8(
        row_scales, halves_32((int)(0x80808000u + 2u * (unsigned)j), (int)(0x80808001u + 2u * (unsigned)j)));
}

INLINE __m512i k_row_scales(__m512i scales, int r) {
    switch (r) {
    case 0: return _mm512_shuffle_i32x4(scales, scales, 0x00);
    case 1: return _mm512_shuffle_i32x4(scales, scales, 0x55);
    case 2: return _mm512_shuffle_i32x4(scales, scales, 0xaa);
    default: return _mm512_shuffle_i32x4(scales, scales, 0xff);
    }
}

INLINE __m512i codes_q4_k(const uint8_t *block, int j) {
    __m512i q = twice32(block + offsetof(block_q4_k, qs) + 32 * j);
    return _mm512_and_si512(_mm512_srlv_epi32(q, halves_32(0, 4)), bytes(15));
}
INLINE __m512i codes_q5_k(const uint8_t *block, int j) {
    __m512i q = twice32(block + offsetof(block_q5_k, qs) + 32 * j), qh = twice32(block + offsetof(block_q5_k, qh));
    q = _mm512_and_si512(_mm512_srlv_epi32(q, halves_32(0, 4)), bytes(15));
    __m512i bits = halves_32(0x01010101 << 2 * j, (int)(0x02020202u << 2 * j));
    return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(qh, bits), q, bytes(16));
}

typedef __m512i codes_fn(const uint8_t *block, int j);

/* `n` tokens: their activations of this block, and what they have added up so far, four rows each */
INLINE void k_block(const uint8_t *const p[ROWS], const cpu_group *const *x, int n, codes_fn *codes, __m128 *acc) {
    inputs in[MANY];
    __m512i headers = four_rows(p, 0), scales = k_scales_of_four(headers), isum[MANY][ROWS];
    load_all(x, n, IN_ORDER, 0, in);
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        __m512i own = k_row_scales(scales, r);
        clear(isum, n, r);
        UNROLL
        for (int j = 0; j < 4; j++) add_all(isum, n, r, codes(p[r], j), in, j, k_scale_pair(own, j));
    }
    __m512i minima = _mm512_unpackhi_epi8(scales, _mm512_setzero_si512());
    const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m256 d = _mm256_cvtph_ps(_mm_shuffle_epi8(first_of_lanes(headers), apart));
    UNROLL
    for (int t = 0; t < n; t++) {
        __m512i sums = _mm512_broadcast_i32x4(_mm_load_si128((const void *)x[t]->s32));
        acc[t] = add_block(_mm256_castps256_ps128(d), x[t], sum_rows(isum[t]), acc[t]);
        acc[t] = take_minima(_mm256_extractf128_ps(d, 1), x[t], sum_lanes(_mm512_madd_epi16(minima, sums)), acc[t]);
    }
}

/* ---- Q6_K, Q3_K, Q2_K: sixteen scales, each for one lane of a register of codes */

/* Scales of the four lanes of register j, each beside a zero */
INLINE __m512i scales_of_lanes(__m512i scales_16_bits, order how, int j) {
    const __m256i in_order = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    __m512i index = how == IN_ORDER ? _mm512_inserti64x4(_mm512_castsi256_si512(in_order),
                                                         _mm256_add_epi32(in_order, _mm256_set1_epi32(2)), 1)
                                    : _mm512_inserti64x4(_mm512_castsi256_si512(in_order),
                                                         _mm256_add_epi32(in_order, _mm256_set1_epi32(8)), 1);
    index = _mm512_add_epi32(index, _mm512_set1_epi32(how == IN_ORDER ? 4 * j : 2 * j));
    return _mm512_maskz_permutexvar_epi16(0x55555555, index, scales_16_bits);
}

INLINE __m512i codes_q6_k(const uint8_t *block, int j) {
    __m512i q = load64(block + offsetof(block_q6_k, ql) + 64 * (j / 2));
    __m512i h = twice32(block + offsetof(block_q6_k, qh) + 32 * (j / 2));
    if (j % 2 == 0)
        h = _mm512_sllv_epi32(h, halves_32(4, 2));
    else
        h = _mm512_srlv_epi32(h, halves_32(0, 2)), q = _mm512_srli_epi32(q, 4);
    h = _mm512_and_si512(h, bytes(0x30));
    return _mm512_ternarylogic_epi32(q, bytes(15), h, 0xea); /* (q & 15) | h */
}
INLINE __m512i two_bits(const uint8_t *qs, int j) {
    return _mm512_and_si512(_mm512_srli_epi32(load64(qs), 2 * (unsigned)j), bytes(3));
}
INLINE __m512i codes_q3_k(const uint8_t *block, int j) {
    __m512i mask = twice32(block + offsetof(block_q3_k, hmask)), q = two_bits(block + offsetof(block_q3_k, qs), j);
    __m512i bits = halves_32(0x01010101 << j, (int)(0x10101010u << j));
    return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(mask, bits), q, bytes(4));
}
INLINE __m512i codes_q2_k(const uint8_t *block, int j) { return two_bits(block + offsetof(block_q2_k, qs), j); }

INLINE __m512i widen(__m128i scales) { return _mm512_castsi256_si512(_mm256_cvtepi8_epi16(scales)); }

INLINE __m512i scales_q6_k(const uint8_t *block) {
    return widen(_mm_loadu_si128((const void *)(block + offsetof(block_q6_k, scales))));
}
INLINE __m512i scales_q2_k(const uint8_t *block) {
    return widen(
        _mm_and_si128(_mm_loadu_si128((const void *)(block + offsetof(block_q2_k, scales))), _mm_set1_epi8(15)));
}
INLINE __m512i scales_q3_k(const uint8_t *block) {
    uint32_t u[3];
    memcpy(u, block + offsetof(block_q3_k, scales), sizeof u);
    const __m128i low = _mm_set1_epi8(15), high = _mm_set1_epi8(0x30);
    __m128i ab = _mm_setr_epi32((int)u[0], (int)u[1], (int)(u[0] >> 4), (int)(u[1] >> 4));
    __m128i c = _mm_setr_epi32((int)(u[2] << 4), (int)(u[2] << 2), (int)u[2], (int)(u[2] >> 2));
    __m128i s = _mm_or_si128(_mm_and_si128(ab, low), _mm_and_si128(c, high));
    return widen(_mm_sub_epi8(s, _mm_set1_epi8(32)));
}

typedef __m512i scales_fn(const uint8_t *block);

INLINE void lane_sums(const uint8_t *const p[ROWS], const inputs *in, int n, codes_fn *codes, scales_fn *scales,
                      order how, __m512i isum[MANY][ROWS]) {
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        __m512i own = scales(p[r]);
        clear(isum, n, r);
        UNROLL
        for (int j = 0; j < 4; j++) add_all(isum, n, r, codes(p[r], j), in, j, scales_of_lanes(own, how, j));
    }
}

/* The end of a block without minima; `offsets[t]` comes off all rows. */
INLINE void end_blocks(const uint8_t *const p[ROWS], size_t d, const cpu_group *const *x, int n,
                       __m512i isum[MANY][ROWS], const __m128i *offsets, __m128 *acc) {
    __m128 scale = four_halves(p, d);
    UNROLL
    for (int t = 0; t < n; t++) {
        __m128i sum = sum_rows(isum[t]);
        acc[t] = add_block(scale, x[t], offsets ? _mm_sub_epi32(sum, offsets[t]) : sum, acc[t]);
    }
}

#define SIXTEEN_SCALES(name, how, offset)                                                                            \
    INLINE void block_##name##_(const uint8_t *const p[ROWS], const cpu_group *const *x, int n, __m128 *acc) {       \
        inputs in[MANY];                                                                                             \
        __m512i isum[MANY][ROWS];                                                                                    \
        load_all(x, n, how, offset, in);                                                                             \
        lane_sums(p, in, n, codes_##name, scales_##name, how, isum);                                                 \
        end_blocks(p, offsetof(block_##name, d), x, n, isum, NULL, acc);                                             \
    }
SIXTEEN_SCALES(q6_k, IN_ORDER, 32)
SIXTEEN_SCALES(q3_k, HALVES, 4)

INLINE void block_q2_k_(const uint8_t *const p[ROWS], const cpu_group *const *x, int n, __m128 *acc) {
    inputs in[MANY];
    __m512i isum[MANY][ROWS], zero = _mm512_setzero_si512();
    load_all(x, n, HALVES, 0, in);
    lane_sums(p, in, n, codes_q2_k, scales_q2_k, HALVES, isum);
    end_blocks(p, offsetof(block_q2_k, d), x, n, isum, NULL, acc);
    __m512i m = _mm512_and_si512(_mm512_srli_epi16(four_rows(p, offsetof(block_q2_k, scales)), 4), bytes(15));
    __m128 dmin = four_halves(p, offsetof(block_q2_k, dmin));
    UNROLL
    for (int t = 0; t < n; t++) {
        __m512i low = _mm512_broadcast_i32x4(_mm_load_si128((const void *)x[t]->s16));
        __m512i high = _mm512_broadcast_i32x4(_mm_load_si128((const void *)(x[t]->s16 + 8)));
        __m512i msum = _mm512_madd_epi16(_mm512_unpacklo_epi8(m, zero), low);
        msum = _mm512_dpwssd_epi32(msum, _mm512_unpackhi_epi8(m, zero), high);
        acc[t] = take_minima(dmin, x[t], sum_lanes(msum), acc[t]);
    }
}
INLINE void block_q4_k_(const uint8_t *const p[ROWS], const cpu_group *const *x, int n, __m128 *acc) {
    k_block(p, x, n, codes_q4_k, acc);
}
INLINE void block_q5_k_(const uint8_t *const p[ROWS], const cpu_group *const *x, int n, __m128 *acc) {
    k_block(p, x, n, codes_q5_k, acc);
}

/* ---- TQ2_0: no scales inside of a block */

INLINE void block_tq2_0_(const uint8_t *const p[ROWS], const cpu_group *const *x, int n, __m128 *acc) {
    inputs in[MANY];
    __m512i isum[MANY][ROWS], start[MANY];
    load_all(x, n, HALVES, 1, in);
    UNROLL
    for (int t = 0; t < n; t++)
        start[t] = _mm512_add_epi32(_mm512_add_epi32(in[t].start[0], in[t].start[1]),
                                    _mm512_add_epi32(in[t].start[2], in[t].start[3]));
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int t = 0; t < n; t++) isum[t][r] = start[t];
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m512i codes = two_bits(p[r], j);
            UNROLL
            for (int t = 0; t < n; t++) isum[t][r] = _mm512_dpbusd_epi32(isum[t][r], codes, in[t].x[j]);
        }
    }
    end_blocks(p, offsetof(block_tq2_0, d), x, n, isum, NULL, acc);
}

/* ---- IQ4_XS: codes by a table, up to 127, so that products with scales need 32 bits */

INLINE __m512i codes_iq4_xs(const uint8_t *block, int j) {
    const __m512i shift = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    __m128i t = _mm_add_epi8(_mm_loadu_si128((const void *)quant_codes_iq4), _mm_set1_epi8((char)128));
    const uint8_t *qs = block + offsetof(block_iq4_xs, qs) + 32 * j;
    __m512i q = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)qs));
    q = _mm512_mask_broadcast_i32x4(q, 0xff00, _mm_loadu_si128((const void *)(qs + 16)));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), _mm512_and_si512(_mm512_srlv_epi64(q, shift), bytes(15)));
}

INLINE void block_iq4_xs_(const uint8_t *const p[ROWS], const cpu_group *const *x, int n, __m128 *acc) {
    const __m512i pair = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(1), 1);
    inputs in[MANY];
    __m512i isum[MANY][ROWS];
    load_all(x, n, IN_ORDER, 128, in);
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        __m256i each = _mm256_cvtepi8_epi32(iq4_xs_scales((const void *)p[r]));
        clear(isum, n, r);
        UNROLL
        for (int j = 0; j < 4; j++) {
            __m512i index = _mm512_add_epi32(pair, _mm512_set1_epi32(2 * j)), codes = codes_iq4_xs(p[r], j);
            __m512i scale = _mm512_permutexvar_epi32(index, _mm512_castsi256_si512(each));
            UNROLL
            for (int t = 0; t < n; t++) {
                __m512i dots = _mm512_dpbusd_epi32(in[t].start[j], codes, in[t].x[j]);
                isum[t][r] = _mm512_add_epi32(isum[t][r], _mm512_mullo_epi32(dots, scale));
            }
        }
    }
    end_blocks(p, offsetof(block_iq4_xs, d), x, n, isum, NULL, acc);
}

/* ---- TQ1_0: five ternary digits a byte, the first on top. b * 3^k >> 8 is the number D_k that the first k digits
 * make, so digit k is D_k - 3 D_(k-1), and
 *   sum over k of digit k * x_k = sum over k of D_k * (x_k - 3 x_(k+1)), x_6 = 0:
 * one multiplication a digit, and activations that are prepared once for four rows. In 16 bits: D_k <= 242,
 * |x_k - 3 x_(k+1)| <= 508. The four bytes at the end hold four digits each; their fifth counts nothing. */

enum { TQ1_BYTES = 52 }; /* with digits */

/* [k]: what digit k + 1 of the bytes of a block is multiplied with; even columns of bytes, then odd ones */
typedef struct ternary_inputs {
    __m512i even[5], odd[5];
} ternary_inputs;

/* x of digit k of each byte */
INLINE __m512i digit_inputs(const cpu_group *g, int k) {
    __m512i x = _mm512_castsi256_si512(_mm256_load_si256((const void *)(g->q + 32 * k)));
    x = _mm512_inserti32x4(x, _mm_load_si128((const void *)(g->q + 160 + 16 * k)), 2);
    return k == 4 ? x : _mm512_inserti32x4(x, _mm_loadu_si32(g->q + 240 + 4 * k), 3);
}

INLINE ternary_inputs load_ternary(const cpu_group *g) {
    ternary_inputs in;
    __m512i next_even = _mm512_setzero_si512(), next_odd = next_even;
#pragma GCC unroll 5
    for (int k = 4; k >= 0; k--) {
        __m512i x = digit_inputs(g, k);
        __m512i even = _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8), odd = _mm512_srai_epi16(x, 8);
        const __m512i three = _mm512_set1_epi16(3);
        in.even[k] = _mm512_sub_epi16(even, _mm512_mullo_epi16(next_even, three));
        in.odd[k] = _mm512_sub_epi16(odd, _mm512_mullo_epi16(next_odd, three));
        next_even = even;
        next_odd = odd;
    }
    return in;
}

/* codes are digits less one */
INLINE __m128i ternary_offset(const cpu_group *x) {
    __m128i total = _mm_madd_epi16(_mm_load_si128((const void *)x->s32), _mm_set1_epi16(1));
    total = _mm_add_epi32(total, _mm_shuffle_epi32(total, 0x4e));
    return _mm_add_epi32(total, _mm_shuffle_epi32(total, 0xb1));
}

INLINE void block_tq1_0_(const uint8_t *const p[ROWS], const cpu_group *const *x, int n, __m128 *acc) {
    ternary_inputs in[MANY];
    __m512i isum[MANY][ROWS];
    __m128i offsets[MANY];
    UNROLL
    for (int t = 0; t < n; t++) {
        in[t] = load_ternary(x[t]);
        offsets[t] = ternary_offset(x[t]);
    }
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        __m512i b = _mm512_maskz_loadu_epi8(((__mmask64)1 << TQ1_BYTES) - 1, p[r]);
        __m512i even = _mm512_slli_epi16(b, 8), odd = _mm512_maskz_mov_epi8(0xaaaaaaaaaaaaaaaa, b);
        clear(isum, n, r);
#pragma GCC unroll 5
        for (int k = 0, power = 3; k < 5; k++, power *= 3) {
            const __m512i factor = _mm512_set1_epi16((short)power);
            __m512i even_k = _mm512_mulhi_epu16(even, factor), odd_k = _mm512_mulhi_epu16(odd, factor);
            UNROLL
            for (int t = 0; t < n; t++) {
                isum[t][r] = _mm512_dpwssd_epi32(isum[t][r], even_k, in[t].even[k]);
                isum[t][r] = _mm512_dpwssd_epi32(isum[t][r], odd_k, in[t].odd[k]);
            }
        }
    }
    end_blocks(p, offsetof(block_tq1_0, d), x, n, isum, offsets, acc);
}

/* ---- rows */

/* The last row stands in for rows that there are not. */
#define GEMV(name)                                                                                                   \
    INLINE void times_##name(const matrix *w, size_t row, size_t n_rows, const uint8_t *x, size_t stride, int n,     \
                             float *out, size_t ldo) {                                                               \
        size_t n_blocks = w->n_cols / 256;                                                                           \
        for (size_t r = 0; r < n_rows; r += ROWS) {                                                                  \
            const uint8_t *p[ROWS];                                                                                  \
            const cpu_group *groups[MANY];                                                                           \
            __m128 acc[MANY];                                                                                        \
            size_t left = n_rows - r < ROWS ? n_rows - r : ROWS;                                                     \
            for (size_t k = 0; k < ROWS; k++) p[k] = w->data + (row + r + (k < left ? k : left - 1)) * w->row_bytes; \
            UNROLL for (int t = 0; t < n; t++) {                                                                     \
                groups[t] = (const void *)(x + (size_t)t * stride);                                                  \
                acc[t] = _mm_setzero_ps();                                                                           \
            }                                                                                                        \
            for (size_t i = 0; i < n_blocks; i++) {                                                                  \
                for (int k = 0; k < ROWS; k++) rows_prefetch(p[k], ROWS * w->row_bytes, sizeof(block_##name));       \
                block_##name##_(p, groups, n, acc);                                                                  \
                for (int k = 0; k < ROWS; k++) p[k] += sizeof(block_##name);                                         \
                UNROLL for (int t = 0; t < n; t++) groups[t]++;                                                      \
            }                                                                                                        \
            UNROLL for (int t = 0; t < n; t++) {                                                                     \
                float four[ROWS];                                                                                    \
                _mm_storeu_ps(four, acc[t]);                                                                         \
                memcpy(out + (size_t)t * ldo + r, four, left * sizeof *out);                                         \
            }                                                                                                        \
        }                                                                                                            \
    }                                                                                                                \
    ROWS_FOR_ONE(name)                                                                                               \
    ROWS_FOR_FEW(name)
GEMV(q2_k)
GEMV(q3_k)
GEMV(q4_k)
GEMV(q5_k)
GEMV(q6_k)
GEMV(iq4_xs)
GEMV(tq1_0)
GEMV(tq2_0)
