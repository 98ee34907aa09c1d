/* Q4_0 of a model that was trained to be Q4_0. Its weights are d * (q - 8) already, as float32 or rounded to
 * bfloat16, but the plain rule takes the largest weight for -8 d and so finds another d wherever no weight of the
 * block is at the end of the range. Here d is looked for: the largest weight is k d with k in 1..8, and d is an f16
 * number near its k-th part. */
#include <math.h>

#include "quant/blocks.h"
#include "quant/quantise.h"

static float largest_of(const float x[32]) {
    float largest = 0.0f;
    for (int i = 0; i < 32; i++) {
        if (!(fabsf(x[i]) <= 3e38f)) return NAN;
        if (fabsf(x[i]) > fabsf(largest)) largest = x[i];
    }
    return largest;
}

/* True when d gives back every weight; the codes are then in q. */
static bool on_lattice(const float x[32], float d, uint8_t q[32]) {
    float inverse = 1.0f / d;
    for (int i = 0; i < 32; i++) {
        float t = x[i] * inverse;
        int code = (int)(t + (t < 0 ? -0.5f : 0.5f));
        if (!(fabsf(t) < 8.6f) || code < -8 || code > 7) return false;
        float back = d * (float)code;
        if (back != x[i] && bf16_to_f32(f32_to_bf16(back)) != x[i]) return false;
        q[i] = (uint8_t)(code + 8);
    }
    return true;
}

/* Near v, within the rounding of bfloat16: 2^-8 of it, eight steps of f16, and one for v's own rounding. The nearest
 * first. */
static bool find_near(const float x[32], float v, uint16_t *d, uint8_t q[32]) {
    int nearest = f32_to_f16(v);
    for (int s = 0; s < 19; s++) {
        int h = nearest + (s % 2 ? (s + 1) / 2 : -s / 2);
        if ((h & 0x7c00) == 0x7c00 || (h & 0x7fff) == 0 || h < 0 || h > 0xffff) continue;
        if (!on_lattice(x, f16_to_f32((uint16_t)h), q)) continue;
        *d = (uint16_t)h;
        return true;
    }
    return false;
}

bool quant_q4_0_lattice(const float x[32], void *block) {
    block_q4_0 *out = block;
    uint8_t q[32];
    uint16_t d = 0;
    float largest = largest_of(x);
    bool found = largest == 0.0f;
    if (isnan(largest)) return false;
    for (int i = 0; found && i < 32; i++) q[i] = 8;
    /* -8 d first, as the plain rule does; then either sign of smaller multiples */
    for (int k = 8; !found && k > 0; k--) {
        found = find_near(x, largest / (float)-k, &d, q) || (k < 8 && find_near(x, largest / (float)k, &d, q));
    }
    if (!found) return false;
    block_put_u16(out->d, d);
    for (int i = 0; i < 16; i++) out->qs[i] = (uint8_t)(q[i] | q[16 + i] << 4);
    return true;
}
