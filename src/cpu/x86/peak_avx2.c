/* The most products of bytes that AVX2 makes. */
#include <immintrin.h>

#define PEAK_NAME          peak_avx2
#define PEAK_VECTOR        __m256i
#define PEAK_OF            _mm256_set1_epi8
#define PEAK_STEP(s, x, y) _mm256_add_epi16(s, _mm256_maddubs_epi16(x, y))
#define PEAK_REGISTER      "+v"
#define PEAK_MACS          32
#include "cpu/tmpl/peak.h"
