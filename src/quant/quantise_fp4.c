/* Writing MXFP4 and NVFP4: groups whose scale is one of few, a power of two or an eight-bit float. Owns: the choice
 * of the scale, by trying those around the one that maps the group's largest weight to the largest code, and the
 * packing. Layouts: blocks.h. */
#include <math.h>

#include "base/half.h"
#include "quant/blocks.h"
#include "quant/chunk.h"
#include "quant/families.h"
#include "quant/quantise_k.h"

/* Codes from the lowest value upwards, as the format numbers them. */
static const uint8_t by_rank[16] = {15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7};

/* A group of 2 * half weights: low four bits the first half, high four the other. */
static void pack(const uint8_t (*codes)[SEARCH_LANES], int lane, int half, uint8_t *qs) {
    for (int i = 0; i < half; i++) qs[i] = (uint8_t)(by_rank[codes[i][lane]] | by_rank[codes[half + i][lane]] << 4);
}

/* Powers of two: the one that maps the largest weight below 8 (4 to 8 are 8 to 12 of the doubled codes), the ones
 * around it. */
static void mxfp4_chunk(const quant_chunk *c, const void *rule, void *blocks) {
    (void)rule;
    block_mxfp4 *out = blocks;
    const search_kernels *k = search_choose();
    uint8_t codes[SEARCH_LONGEST][SEARCH_LANES];
    search_row scale = {0}, best = {0}, error, least;
    uint8_t e[SEARCH_LANES] = {0};
    for (int l = 0; l < SEARCH_LANES; l++) least[l] = INFINITY;
    for (int step = -1; step <= 2; step++) {
        uint8_t trial[SEARCH_LANES] = {0};
        for (int b = 0; b < c->n_blocks; b++) {
            /* weights are below 1 times the unit, a power of two */
            int exponent = (int)(bits_of_float(c->unit[b]) >> 23) - 3 - step;
            trial[b] = (uint8_t)(exponent < 0 ? 0 : exponent > 254 ? 254 : exponent);
            scale[b] = block_e8m0_half(trial[b]) / c->unit[b];
        }
        k->error_values[SEARCH_FP4](&c->p, scale, error);
        for (int b = 0; b < c->n_blocks; b++) {
            if (!(error[b] < least[b])) continue;
            least[b] = error[b];
            best[b] = scale[b];
            e[b] = trial[b];
        }
    }
    k->codes_values[SEARCH_FP4](&c->p, best, codes);
    for (int b = 0; b < c->n_blocks; b++) {
        out[b].e = e[b];
        pack((const uint8_t(*)[SEARCH_LANES])codes, b, 16, out[b].qs);
    }
}

/* The largest scale that is not above v, as it is stored: 0 to 126. */
static int ue4m3_below(float v) {
    int low = 0, high = 126;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (block_ue4m3_half((uint8_t)middle) <= v)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Scales of eight bits: the ones around a twelfth of the group's largest weight. */
static void nvfp4_chunk(const quant_chunk *c, const void *rule, void *blocks) {
    enum { BELOW = 4, ABOVE = 9 }; /* eight steps double a scale: then the largest weight gets the value 6 */
    block_nvfp4 *out = blocks;
    const search_kernels *k = search_choose();
    uint8_t codes[SEARCH_LONGEST][SEARCH_LANES], d[SEARCH_LANES] = {0};
    search_row scale = {0}, best = {0}, error, least;
    int first[SEARCH_LANES], n = c->n_blocks * c->groups;
    (void)rule;
    for (int l = 0; l < n; l++) {
        float largest = 0;
        for (int i = 0; i < c->p.n; i++) largest = fmaxf(largest, fabsf(c->p.x[i][l]));
        first[l] = ue4m3_below(largest * c->unit[l / c->groups] / 12);
        least[l] = INFINITY;
    }
    for (int step = -BELOW; step <= ABOVE; step++) {
        uint8_t trial[SEARCH_LANES] = {0};
        for (int l = 0; l < n; l++) {
            int code = first[l] + step;
            trial[l] = (uint8_t)(code < 0 ? 0 : code > 126 ? 126 : code);
            scale[l] = block_ue4m3_half(trial[l]) / c->unit[l / c->groups];
        }
        k->error_values[SEARCH_FP4](&c->p, scale, error);
        for (int l = 0; l < n; l++) {
            if (!(error[l] < least[l])) continue;
            least[l] = error[l];
            best[l] = scale[l];
            d[l] = trial[l];
        }
    }
    k->codes_values[SEARCH_FP4](&c->p, best, codes);
    for (int l = 0; l < n; l++) {
        out[l / 4].d[l % 4] = d[l];
        pack((const uint8_t(*)[SEARCH_LANES])codes, l, 8, out[l / 4].qs[l % 4]);
    }
}

void quant_weigh_mxfp4(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quant_chunks(quant_format_of(QUANT_MXFP4), 32, x, weights, blocks, n_blocks, mxfp4_chunk, NULL);
}
void quant_weigh_nvfp4(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quant_chunks(quant_format_of(QUANT_NVFP4), 16, x, weights, blocks, n_blocks, nvfp4_chunk, NULL);
}
