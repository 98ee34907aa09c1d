/* Writing Q3_K, Q6_K and IQ4_XS: groups with a scale that is a whole multiple of the block's f16 number, and codes
 * that stand for values around zero; IQ4_NL, Q4_0 and Q5_0, whose groups have a scale of
 * their own. Owns: the choice of
 * scales, and the packing. The search is that of quantise_k.c with one number instead of two. Layouts: blocks.h. */
#include <math.h>
#include <string.h>

#include "quant/blocks.h"
#include "quant/chunk.h"
#include "quant/families.h"
#include "quant/quantise_k.h"

typedef struct values_rule {
    quant_type type;
    search_values values;
    float low, high; /* of the multiples */
    int n;           /* weights in a group */
    int rounds;      /* of fitting the block's number */
    search_grid grid;
} values_rule;

typedef struct values_result {
    search_row scale; /* whole multiples of */
    search_row d;     /* the block's number, in the chunk's range, the same for all its groups */
    search_row error;
    uint16_t d_f16[SEARCH_LANES]; /* of each block, as stored */
} values_result;

static void set_number(const quant_chunk *c, values_result *r, int b, float d) {
    r->d_f16[b] = quant_chunk_f16(c->unit[b], &d);
    for (int l = b * c->groups; l < (b + 1) * c->groups; l++) r->d[l] = d;
}

static float multiple(float v, float of, float low, float high) {
    float q = of != 0.0f ? v / of : 0.0f;
    q = q < low ? low : q > high ? high : q;
    return (float)(int)(q + (q < 0 ? -0.5f : 0.5f));
}

/* `largest_as`: the multiple that the largest scale gets. */
static void first_numbers(const quant_chunk *c, const values_rule *rule, const search_row fit, float largest_as,
                          values_result *r) {
    memset(r, 0, sizeof *r);
    for (int b = 0; b < c->n_blocks; b++) {
        float largest = 0;
        for (int l = b * c->groups; l < (b + 1) * c->groups; l++) {
            if (fabsf(fit[l]) > fabsf(largest)) largest = fit[l];
        }
        set_number(c, r, b, largest / largest_as);
    }
    for (int l = 0; l < SEARCH_LANES; l++) r->scale[l] = multiple(fit[l], r->d[l], rule->low, rule->high);
}

static void scales_at(const values_result *r, search_row out) {
    for (int l = 0; l < SEARCH_LANES; l++) out[l] = r->d[l] * r->scale[l];
}

static void fit_number(const quant_chunk *c, const search_sums *s, values_result *r, int b) {
    double qq = 0, xq = 0;
    for (int l = b * c->groups; l < (b + 1) * c->groups; l++) {
        qq += (double)r->scale[l] * r->scale[l] * s->qq[l];
        xq += (double)r->scale[l] * s->xq[l];
    }
    if (qq > 0 && fabs(xq / qq) < 1e6) set_number(c, r, b, (float)(xq / qq));
}

static float block_error(const quant_chunk *c, const values_result *r, int b) {
    float sum = 0;
    for (int l = b * c->groups; l < (b + 1) * c->groups; l++) sum += r->error[l];
    return sum;
}

static void keep_better(const quant_chunk *c, const values_result *from, values_result *r, int b) {
    size_t first = (size_t)(b * c->groups), n_bytes = (size_t)c->groups * sizeof(float);
    if (!(block_error(c, from, b) < block_error(c, r, b))) return;
    r->d_f16[b] = from->d_f16[b];
    memcpy(r->d + first, from->d + first, n_bytes);
    memcpy(r->scale + first, from->scale + first, n_bytes);
    memcpy(r->error + first, from->error + first, n_bytes);
}

static void polish(const search_kernels *k, const quant_chunk *c, const values_rule *rule, values_result *r) {
    search_row at;
    search_sums sums;
    values_result next = *r;
    scales_at(r, at);
    k->sums_values[rule->values](&c->p, at, &sums);
    for (int b = 0; b < c->n_blocks; b++) fit_number(c, &sums, &next, b);
    k->near_values[rule->values](&c->p, rule->low, rule->high, next.d, next.scale, next.error);
    for (int b = 0; b < c->n_blocks; b++) keep_better(c, &next, r, b);
}

static void quantise_values(const quant_chunk *c, const values_rule *rule, values_result *r,
                            uint8_t (*codes)[SEARCH_LANES]) {
    const search_kernels *k = search_choose();
    search_row at;
    k->fit_values[rule->values](&c->p, &rule->grid, at);
    first_numbers(c, rule, at, rule->low, r);
    k->near_values[rule->values](&c->p, rule->low, rule->high, r->d, r->scale, r->error);
    for (int round = 0; round < rule->rounds; round++) polish(k, c, rule, r);
    scales_at(r, at);
    k->codes_values[rule->values](&c->p, at, codes);
}

static void pack_q3_k(const values_result *r, const uint8_t codes[256], int b, block_q3_k *out) {
    memset(out, 0, sizeof *out);
    block_put_u16(out->d, r->d_f16[b]);
    for (int j = 0; j < 16; j++) {
        int s = (int)r->scale[16 * b + j] + 32;
        out->scales[j & 7] |= (uint8_t)((s & 15) << (j < 8 ? 0 : 4));
        out->scales[8 + (j & 3)] |= (uint8_t)(s >> 4 << (j >> 2) * 2);
    }
    quant_pack_two_bits(codes, 0, out->qs);
    for (int j = 0; j < 8; j++) {
        for (int i = 0; i < 32; i++) out->hmask[i] |= (uint8_t)(codes[32 * j + i] >> 2 << j);
    }
}

static void pack_q6_k(const values_result *r, const uint8_t codes[256], int b, block_q6_k *out) {
    block_put_u16(out->d, r->d_f16[b]);
    for (int j = 0; j < 16; j++) out->scales[j] = (int8_t)r->scale[16 * b + j];
    quant_pack_four_bits(codes, 128, out->ql);
    quant_pack_two_bits(codes, 4, out->qh);
}

static void pack_iq4_xs(const values_result *r, const uint8_t codes[256], int b, block_iq4_xs *out) {
    unsigned upper = 0;
    memset(out, 0, sizeof *out);
    block_put_u16(out->d, r->d_f16[b]);
    for (int j = 0; j < 8; j++) {
        unsigned s = (unsigned)((int)r->scale[8 * b + j] + 32);
        out->scales_l[j / 2] |= (uint8_t)((s & 15) << (j & 1) * 4);
        upper |= s >> 4 << 2 * j;
        for (int i = 0; i < 16; i++) out->qs[j][i] = (uint8_t)(codes[32 * j + i] | codes[32 * j + 16 + i] << 4);
    }
    block_put_u16(out->scales_h, (uint16_t)upper);
}

static void values_chunk(const quant_chunk *c, const void *ctx, void *blocks) {
    const values_rule *rule = ctx;
    values_result r;
    uint8_t lanes[SEARCH_LONGEST][SEARCH_LANES], codes[256];
    quantise_values(c, rule, &r, lanes);
    for (int b = 0; b < c->n_blocks; b++) {
        quant_chunk_codes(c, (const uint8_t(*)[SEARCH_LANES])lanes, b, codes);
        if (rule->type == QUANT_Q3_K) pack_q3_k(&r, codes, b, (block_q3_k *)blocks + b);
        if (rule->type == QUANT_Q6_K) pack_q6_k(&r, codes, b, (block_q6_k *)blocks + b);
        if (rule->type == QUANT_IQ4_XS) pack_iq4_xs(&r, codes, b, (block_iq4_xs *)blocks + b);
    }
}

static void quantise(const values_rule *rule, const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quant_chunks(quant_format_of(rule->type), rule->n, x, weights, blocks, n_blocks, values_chunk, rule);
}

static const values_rule q3_k_rule = {QUANT_Q3_K, SEARCH_SIGNED8, -32, 31, 16, 2, {2.8f, 0.2f, 10}};
static const values_rule q6_k_rule = {QUANT_Q6_K, SEARCH_SIGNED64, -128, 127, 16, 2, {30.2f, 0.3f, 9}};
static const values_rule iq4_xs_rule = {QUANT_IQ4_XS, SEARCH_IQ4, -32, 31, 32, 2, {100, 4, 10}};

void quant_weigh_q3_k(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise(&q3_k_rule, x, weights, blocks, n_blocks);
}
void quant_weigh_q6_k(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise(&q6_k_rule, x, weights, blocks, n_blocks);
}
void quant_weigh_iq4_xs(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise(&iq4_xs_rule, x, weights, blocks, n_blocks);
}

/* ---- groups of 32 with a scale of their own */

static void pack_nibbles(const uint8_t (*codes)[SEARCH_LANES], int lane, const uint8_t map[16], uint8_t qs[16]) {
    for (int i = 0; i < 16; i++) qs[i] = (uint8_t)(map[codes[i][lane]] | map[codes[16 + i][lane]] << 4);
}

/* An f16 scale and codes of `values` for each group. */
static void fit_groups(const quant_chunk *c, search_values values, const search_grid *grid, uint16_t d[SEARCH_LANES],
                       uint8_t (*codes)[SEARCH_LANES]) {
    const search_kernels *k = search_choose();
    search_row scale;
    k->fit_values[values](&c->p, grid, scale);
    for (int b = 0; b < c->n_blocks; b++) d[b] = quant_chunk_f16(c->unit[b], &scale[b]);
    k->codes_values[values](&c->p, scale, codes);
}

static void iq4_nl_chunk(const quant_chunk *c, const void *rule, void *blocks) {
    (void)rule;
    static const uint8_t same[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const search_grid grid = {100, 4, 10};
    block_iq4_nl *out = blocks;
    uint16_t d[SEARCH_LANES];
    uint8_t codes[SEARCH_LONGEST][SEARCH_LANES];
    fit_groups(c, SEARCH_IQ4, &grid, d, codes);
    for (int b = 0; b < c->n_blocks; b++) {
        block_put_u16(out[b].d, d[b]);
        pack_nibbles((const uint8_t(*)[SEARCH_LANES])codes, b, same, out[b].qs);
    }
}

static void q4_0_chunk(const quant_chunk *c, const void *rule, void *blocks) {
    (void)rule;
    static const uint8_t same[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const search_grid grid = {6.4f, 0.2f, 12};
    block_q4_0 *out = blocks;
    uint16_t d[SEARCH_LANES];
    uint8_t codes[SEARCH_LONGEST][SEARCH_LANES];
    fit_groups(c, SEARCH_SIGNED16, &grid, d, codes);
    for (int b = 0; b < c->n_blocks; b++) {
        block_put_u16(out[b].d, d[b]);
        pack_nibbles((const uint8_t(*)[SEARCH_LANES])codes, b, same, out[b].qs);
    }
}

static void q5_0_chunk(const quant_chunk *c, const void *rule, void *blocks) {
    (void)rule;
    static const search_grid grid = {14, 0.25f, 12};
    block_q5_0 *out = blocks;
    uint16_t d[SEARCH_LANES];
    uint8_t codes[SEARCH_LONGEST][SEARCH_LANES];
    fit_groups(c, SEARCH_SIGNED32, &grid, d, codes);
    for (int b = 0; b < c->n_blocks; b++) {
        uint32_t fifth = 0;
        for (int i = 0; i < 16; i++) out[b].qs[i] = (uint8_t)((codes[i][b] & 15) | (codes[16 + i][b] & 15) << 4);
        for (int i = 0; i < 32; i++) fifth |= (uint32_t)(codes[i][b] >> 4) << i;
        block_put_u16(out[b].d, d[b]);
        block_put_u16(out[b].qh, (uint16_t)fifth);
        block_put_u16(out[b].qh + 2, (uint16_t)(fifth >> 16));
    }
}

/* The formats of 32 weights have no rule beyond their function. */
static void quantise_groups(quant_type type, const float *x, const float *weights, void *blocks, size_t n_blocks,
                            quant_chunk_fn write) {
    quant_chunks(quant_format_of(type), 32, x, weights, blocks, n_blocks, write, NULL);
}

void quant_weigh_iq4_nl(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise_groups(QUANT_IQ4_NL, x, weights, blocks, n_blocks, iq4_nl_chunk);
}
/* Without weights these two follow the reference's plain rule, bit for bit. */
void quant_weigh_q4_0(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    if (!weights) {
        quant_quantise_q4_0(x, blocks, n_blocks);
    } else {
        quantise_groups(QUANT_Q4_0, x, weights, blocks, n_blocks, q4_0_chunk);
    }
}
void quant_weigh_q5_0(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    if (!weights) {
        quant_quantise_q5_0(x, blocks, n_blocks);
    } else {
        quantise_groups(QUANT_Q5_0, x, weights, blocks, n_blocks, q5_0_chunk);
    }
}
