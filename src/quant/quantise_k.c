/* Writing Q2_K, Q4_K and Q5_K: groups with a scale and a minimum, which are whole multiples of the block's two f16
 * numbers. Owns: the choice of these multiples and numbers, and the packing. The search: every group's best scale and
 * minimum for itself (search.h); the largest of them set the block's numbers; then for each group all neighbouring
 * multiples are tried; then the block's numbers are fitted to the codes by least squares, and the neighbours tried
 * again. Layouts: blocks.h. */
#include <math.h>
#include <string.h>

#include "quant/blocks.h"
#include "quant/chunk.h"
#include "quant/families.h"
#include "quant/quantise_k.h"

typedef struct offset_rule {
    float top;     /* of the codes */
    int scale_top; /* of the multiples */
    int n;         /* weights in a group */
    search_grid grid;
} offset_rule;

/* What a chunk becomes. */
typedef struct offset_result {
    uint8_t codes[SEARCH_LONGEST][SEARCH_LANES];
    float scale[SEARCH_LANES], minimum[SEARCH_LANES]; /* whole multiples */
    float error[SEARCH_LANES];
    uint16_t d[SEARCH_LANES], dmin[SEARCH_LANES];          /* of each block, f16 */
    float d_value[SEARCH_LANES], dmin_value[SEARCH_LANES]; /* the same in the chunk's range */
} offset_result;

static float multiple(float v, float of, int top) {
    float q = of > 0.0f ? rintf(v / of) : 0.0f;
    return q > 0.0f ? fminf(q, (float)top) : 0.0f;
}

/* The best of the nine neighbours of each group's multiples, for the block numbers in r. */
static void try_neighbours(const search_kernels *k, const quant_chunk *c, const offset_rule *rule, offset_result *r) {
    search_offset at = {{0}, {0}};
    float scale[SEARCH_LANES], minimum[SEARCH_LANES];
    search_row error;
    memcpy(scale, r->scale, sizeof scale);
    memcpy(minimum, r->minimum, sizeof minimum);
    for (int l = 0; l < SEARCH_LANES; l++) r->error[l] = INFINITY;
    for (int step = 0; step < 9; step++) {
        float try_scale[SEARCH_LANES] = {0}, try_minimum[SEARCH_LANES] = {0};
        for (int l = 0; l < c->n_blocks * c->groups; l++) {
            int b = l / c->groups;
            try_scale[l] = fminf(fmaxf(scale[l] + (float)(step % 3 - 1), 0), (float)rule->scale_top);
            try_minimum[l] = fminf(fmaxf(minimum[l] + (float)(step / 3 - 1), 0), (float)rule->scale_top);
            at.scale[l] = r->d_value[b] * try_scale[l];
            at.minimum[l] = r->dmin_value[b] * try_minimum[l];
        }
        k->error_offset(&c->p, rule->top, &at, error);
        for (int l = 0; l < SEARCH_LANES; l++) {
            bool better = error[l] < r->error[l];
            r->error[l] = better ? error[l] : r->error[l];
            r->scale[l] = better ? try_scale[l] : r->scale[l];
            r->minimum[l] = better ? try_minimum[l] : r->minimum[l];
        }
    }
}

static void scales_at(const quant_chunk *c, const offset_result *r, search_offset *at) {
    memset(at, 0, sizeof *at);
    for (int l = 0; l < c->n_blocks * c->groups; l++) {
        at->scale[l] = r->d_value[l / c->groups] * r->scale[l];
        at->minimum[l] = r->dmin_value[l / c->groups] * r->minimum[l];
    }
}

static void set_numbers(const quant_chunk *c, offset_result *r, int b, float d, float dmin) {
    r->d_value[b] = d;
    r->dmin_value[b] = dmin;
    r->d[b] = quant_chunk_f16(c->unit[b], &r->d_value[b]);
    r->dmin[b] = quant_chunk_f16(c->unit[b], &r->dmin_value[b]);
}

/* The block's two numbers that fit the codes best; as they were where that has no good answer. */
static void fit_numbers(const quant_chunk *c, const search_sums *s, offset_result *r, int b) {
    double qq = 0, qm = 0, mm = 0, xq = 0, xm = 0;
    for (int l = b * c->groups; l < (b + 1) * c->groups; l++) {
        double scale = r->scale[l], minimum = r->minimum[l];
        qq += scale * scale * s->qq[l];
        qm += scale * minimum * s->q[l];
        mm += minimum * minimum * s->w[l];
        xq += scale * s->xq[l];
        xm += minimum * s->x[l];
    }
    double determinant = qq * mm - qm * qm;
    double d = (xq * mm - qm * xm) / determinant, dmin = (qm * xq - qq * xm) / determinant;
    if (mm <= 0 && qq > 0) {
        d = xq / qq;
        dmin = 0;
    }
    if (d > 0 && dmin >= 0 && d < 1e6 && dmin < 1e6) set_numbers(c, r, b, (float)d, (float)dmin);
}

static float block_error(const quant_chunk *c, const offset_result *r, int b) {
    float sum = 0;
    for (int l = b * c->groups; l < (b + 1) * c->groups; l++) sum += r->error[l];
    return sum;
}

/* Takes block b of `from` where it is better. */
static void keep_better(const quant_chunk *c, const offset_result *from, offset_result *r, int b) {
    if (!(block_error(c, from, b) < block_error(c, r, b))) return;
    r->d[b] = from->d[b];
    r->dmin[b] = from->dmin[b];
    r->d_value[b] = from->d_value[b];
    r->dmin_value[b] = from->dmin_value[b];
    for (int l = b * c->groups; l < (b + 1) * c->groups; l++) {
        r->scale[l] = from->scale[l];
        r->minimum[l] = from->minimum[l];
        r->error[l] = from->error[l];
    }
}

static void first_numbers(const quant_chunk *c, const offset_rule *rule, const search_offset *fit, offset_result *r) {
    for (int b = 0; b < c->n_blocks; b++) {
        float scale = 0, minimum = 0;
        for (int l = b * c->groups; l < (b + 1) * c->groups; l++) {
            scale = fmaxf(scale, fit->scale[l]);
            minimum = fmaxf(minimum, fit->minimum[l]);
        }
        set_numbers(c, r, b, scale / (float)rule->scale_top, minimum / (float)rule->scale_top);
        for (int l = b * c->groups; l < (b + 1) * c->groups; l++) {
            r->scale[l] = multiple(fit->scale[l], r->d_value[b], rule->scale_top);
            r->minimum[l] = multiple(fit->minimum[l], r->dmin_value[b], rule->scale_top);
        }
    }
}

static void quantise_offset(const quant_chunk *c, const offset_rule *rule, offset_result *r) {
    const search_kernels *k = search_choose();
    search_offset at;
    search_sums sums;
    k->fit_offset(&c->p, rule->top, &rule->grid, &at);
    first_numbers(c, rule, &at, r);
    try_neighbours(k, c, rule, r);
    for (int round = 0; round < 2; round++) {
        offset_result next = *r;
        scales_at(c, r, &at);
        k->sums_offset(&c->p, rule->top, &at, &sums);
        for (int b = 0; b < c->n_blocks; b++) fit_numbers(c, &sums, &next, b);
        try_neighbours(k, c, rule, &next);
        for (int b = 0; b < c->n_blocks; b++) keep_better(c, &next, r, b);
    }
    scales_at(c, r, &at);
    k->codes_offset(&c->p, rule->top, &at, r->codes);
}

/* The 256 codes of block b in the order of the weights. */
static void codes_of(const quant_chunk *c, const uint8_t (*codes)[SEARCH_LANES], int b, uint8_t out[256]) {
    for (int i = 0; i < 256; i++) out[i] = codes[i % c->p.n][b * c->groups + i / c->p.n];
}

static void pack_k_scales(const float *scale, const float *minimum, uint8_t out[12]) {
    for (int j = 0; j < 4; j++) {
        int s = (int)scale[j], m = (int)minimum[j], s4 = (int)scale[4 + j], m4 = (int)minimum[4 + j];
        out[j] = (uint8_t)(s | s4 >> 4 << 6);
        out[4 + j] = (uint8_t)(m | m4 >> 4 << 6);
        out[8 + j] = (uint8_t)((s4 & 15) | (m4 & 15) << 4);
    }
}

static void pack_four_bits(const uint8_t codes[256], uint8_t qs[128]) {
    for (int i = 0; i < 128; i++) {
        const uint8_t *at = codes + i / 32 * 64 + i % 32;
        qs[i] = (uint8_t)((at[0] & 15) | (at[32] & 15) << 4);
    }
}

static void pack_two_bits(const uint8_t codes[256], uint8_t qs[64]) {
    for (int i = 0; i < 64; i++) {
        const uint8_t *at = codes + i / 32 * 128 + i % 32;
        qs[i] = (uint8_t)((at[0] & 3) | (at[32] & 3) << 2 | (at[64] & 3) << 4 | (at[96] & 3) << 6);
    }
}

static void pack_q4_k(const offset_result *r, const uint8_t codes[256], int b, block_q4_k *out) {
    block_put_u16(out->d, r->d[b]);
    block_put_u16(out->dmin, r->dmin[b]);
    pack_k_scales(r->scale + 8 * b, r->minimum + 8 * b, out->scales);
    pack_four_bits(codes, out->qs);
}

static void pack_q5_k(const offset_result *r, const uint8_t codes[256], int b, block_q5_k *out) {
    block_put_u16(out->d, r->d[b]);
    block_put_u16(out->dmin, r->dmin[b]);
    pack_k_scales(r->scale + 8 * b, r->minimum + 8 * b, out->scales);
    pack_four_bits(codes, out->qs);
    memset(out->qh, 0, sizeof out->qh);
    for (int i = 0; i < 256; i++) out->qh[i % 32] |= (uint8_t)(codes[i] >> 4 << i / 32);
}

static void pack_q2_k(const offset_result *r, const uint8_t codes[256], int b, block_q2_k *out) {
    block_put_u16(out->d, r->d[b]);
    block_put_u16(out->dmin, r->dmin[b]);
    for (int j = 0; j < 16; j++) {
        out->scales[j] = (uint8_t)((int)r->scale[16 * b + j] | (int)r->minimum[16 * b + j] << 4);
    }
    pack_two_bits(codes, out->qs);
}

static void quantise(const float *x, const float *weights, uint8_t *out, size_t n_blocks, const offset_rule *rule,
                     quant_type type) {
    int groups = 256 / rule->n, step = SEARCH_LANES / groups;
    size_t block_bytes = quant_format_of(type)->block_bytes;
    for (size_t k = 0; k < n_blocks; k += (size_t)step) {
        quant_chunk c;
        offset_result r;
        uint8_t codes[256];
        int n = n_blocks - k < (size_t)step ? (int)(n_blocks - k) : step;
        quant_chunk_load(&c, x + 256 * k, weights ? weights + 256 * k : NULL, n, groups, rule->n);
        quantise_offset(&c, rule, &r);
        for (int b = 0; b < n; b++, out += block_bytes) {
            codes_of(&c, r.codes, b, codes);
            if (type == QUANT_Q2_K) pack_q2_k(&r, codes, b, (block_q2_k *)out);
            if (type == QUANT_Q4_K) pack_q4_k(&r, codes, b, (block_q4_k *)out);
            if (type == QUANT_Q5_K) pack_q5_k(&r, codes, b, (block_q5_k *)out);
        }
    }
}

static const offset_rule q2_k_rule = {3, 15, 16, {1.8f, 0.15f, 14}};
static const offset_rule q4_k_rule = {15, 63, 32, {13.4f, 0.2f, 14}};
static const offset_rule q5_k_rule = {31, 63, 32, {29.4f, 0.2f, 14}};

void quant_weigh_q2_k(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise(x, weights, blocks, n_blocks, &q2_k_rule, QUANT_Q2_K);
}
void quant_weigh_q4_k(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise(x, weights, blocks, n_blocks, &q4_k_rule, QUANT_Q4_K);
}
void quant_weigh_q5_k(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise(x, weights, blocks, n_blocks, &q5_k_rule, QUANT_Q5_K);
}
