/* The most products of bytes that the dot product of NEON makes. */
#include <arm_neon.h>

#define PEAK_NAME          peak_neon
#define PEAK_VECTOR        int32x4_t
#define PEAK_OF            vdupq_n_s32
#define PEAK_STEP(s, x, y) vdotq_s32(s, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(y))
#define PEAK_REGISTER      "+w"
#define PEAK_MACS          16
#include "cpu/tmpl/peak.h"
