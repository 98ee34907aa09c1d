/* Activations to codes by the contract's rule 1, in plain C: the definition. A block that holds an infinity or a NaN
 * gets codes 0 and a NaN for its scale, so that every product with it is NaN. */
#include <math.h>

#include "base/half.h"
#include "cpu/registry.h"

/* Returns the block's scale. */
static float quantise_block(const float *x, size_t n, int8_t *q) {
    uint32_t bits = 0; /* of the largest magnitude; a NaN's are larger than any number's */
    for (size_t i = 0; i < n; i++) {
        uint32_t u = bits_of_float(x[i]) & 0x7fffffffu;
        if (u > bits) bits = u;
    }
    float largest = float_of_bits(bits), d = largest / 127.0f, inverse = 127.0f / largest;
    bool zero = largest <= 127.0f * 0x1p-126f, wrong = bits >= 0x7f800000u;
    for (size_t i = 0; i < n; i++) q[i] = zero || wrong ? 0 : (int8_t)rintf(x[i] * inverse);
    return wrong ? NAN : zero ? 0.0f : d;
}

static void add_sums(cpu_group *g) {
    for (int j = 0; j < 16; j++) {
        g->s16[j] = 0;
        for (int i = 0; i < 16; i++) g->s16[j] = (int16_t)(g->s16[j] + g->q[16 * j + i]);
    }
    for (int j = 0; j < 8; j++) g->s32[j] = (int16_t)(g->s16[2 * j] + g->s16[2 * j + 1]);
}

void quantise_256_ref(const float x[CPU_GROUP], cpu_group *out) {
    float d = quantise_block(x, 256, out->q);
    for (int j = 0; j < 8; j++) out->d[j] = d;
    add_sums(out);
}

void quantise_32_ref(const float x[CPU_GROUP], cpu_group *out) {
    for (int j = 0; j < 8; j++) out->d[j] = quantise_block(x + 32 * j, 32, out->q + 32 * j);
    add_sums(out);
}
