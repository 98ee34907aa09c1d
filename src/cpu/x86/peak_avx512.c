/* The most products of bytes that vpdpbusd in 512 bits makes. */
#include <immintrin.h>

#define PEAK_NAME          peak_avx512
#define PEAK_VECTOR        __m512i
#define PEAK_OF            _mm512_set1_epi8
#define PEAK_STEP(s, x, y) _mm512_dpbusd_epi32(s, x, y)
#define PEAK_REGISTER      "+v"
#define PEAK_MACS          64
#include "cpu/tmpl/peak.h"
