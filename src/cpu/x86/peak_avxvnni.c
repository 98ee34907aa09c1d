/* The most products of bytes that vpdpbusd in 256 bits makes. */
#include <immintrin.h>

#define PEAK_NAME          peak_avxvnni
#define PEAK_VECTOR        __m256i
#define PEAK_OF            _mm256_set1_epi8
#define PEAK_STEP(s, x, y) _mm256_dpbusd_avx_epi32(s, x, y)
#define PEAK_REGISTER      "+v"
#define PEAK_MACS          32
#include "cpu/tmpl/peak.h"
