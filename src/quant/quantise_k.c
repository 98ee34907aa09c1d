/* Writing Q2_K, Q4_K and Q5_K: groups with a scale and a minimum, which are whole multiples of the block's two f16
 * numbers. Owns: the choice of these multiples and numbers, and the packing. The search: every group's best scale and
 * minimum for itself (search.h); the largest of them set the block's numbers; then for each group all neighbouring
 * multiples are tried; then the block's numbers are fitted to the codes by least squares, and the neighbours tried
 * again. Layouts: blocks.h. */
#include <string.h>

#include "quant/blocks.h"
#include "quant/chunk.h"
#include "quant/families.h"
#include "quant/quantise_k.h"

typedef struct offset_rule {
    quant_type type;
    float top;     /* of the codes */
    float highest; /* of the multiples */
    int n;         /* weights in a group */
    int rounds;    /* of fitting the block's numbers */
    search_grid grid;
} offset_rule;

/* What a chunk becomes. */
typedef struct offset_result {
    search_offset at; /* whole multiples of */
    search_offset d;  /* the block's numbers, in the chunk's range, the same for all its groups */
    search_row error;
    uint16_t d_f16[SEARCH_LANES], dmin_f16[SEARCH_LANES]; /* of each block, as stored */
} offset_result;

static float multiple(float v, float of, float top) {
    float q = of > 0.0f ? v / of : 0.0f;
    return q > 0.0f ? (float)(int)((q < top ? q : top) + 0.5f) : 0.0f;
}

static void set_numbers(const quant_chunk *c, offset_result *r, int b, float d, float dmin) {
    r->d_f16[b] = quant_chunk_f16(c->unit[b], &d);
    r->dmin_f16[b] = quant_chunk_f16(c->unit[b], &dmin);
    for (int l = b * c->groups; l < (b + 1) * c->groups; l++) {
        r->d.scale[l] = d;
        r->d.minimum[l] = dmin;
    }
}

static void scales_at(const offset_result *r, search_offset *out) {
    for (int l = 0; l < SEARCH_LANES; l++) {
        out->scale[l] = r->d.scale[l] * r->at.scale[l];
        out->minimum[l] = r->d.minimum[l] * r->at.minimum[l];
    }
}

/* The block's two numbers that fit the codes best; as they were where that has no good answer. */
static void fit_numbers(const quant_chunk *c, const search_sums *s, offset_result *r, int b) {
    double qq = 0, qm = 0, mm = 0, xq = 0, xm = 0;
    for (int l = b * c->groups; l < (b + 1) * c->groups; l++) {
        double scale = r->at.scale[l], minimum = r->at.minimum[l];
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
    size_t first = (size_t)(b * c->groups), n_bytes = (size_t)c->groups * sizeof(float);
    if (!(block_error(c, from, b) < block_error(c, r, b))) return;
    r->d_f16[b] = from->d_f16[b];
    r->dmin_f16[b] = from->dmin_f16[b];
    memcpy(r->d.scale + first, from->d.scale + first, n_bytes);
    memcpy(r->d.minimum + first, from->d.minimum + first, n_bytes);
    memcpy(r->at.scale + first, from->at.scale + first, n_bytes);
    memcpy(r->at.minimum + first, from->at.minimum + first, n_bytes);
    memcpy(r->error + first, from->error + first, n_bytes);
}

static void first_numbers(const quant_chunk *c, const offset_rule *rule, const search_offset *fit, offset_result *r) {
    memset(r, 0, sizeof *r);
    for (int b = 0; b < c->n_blocks; b++) {
        float scale = 0, minimum = 0;
        for (int l = b * c->groups; l < (b + 1) * c->groups; l++) {
            scale = fit->scale[l] > scale ? fit->scale[l] : scale;
            minimum = fit->minimum[l] > minimum ? fit->minimum[l] : minimum;
        }
        set_numbers(c, r, b, scale / rule->highest, minimum / rule->highest);
    }
    for (int l = 0; l < SEARCH_LANES; l++) {
        r->at.scale[l] = multiple(fit->scale[l], r->d.scale[l], rule->highest);
        r->at.minimum[l] = multiple(fit->minimum[l], r->d.minimum[l], rule->highest);
    }
}

static void quantise_offset(const quant_chunk *c, const offset_rule *rule, offset_result *r,
                            uint8_t (*codes)[SEARCH_LANES]) {
    const search_kernels *k = search_choose();
    search_offset at;
    search_sums sums;
    k->fit_offset(&c->p, rule->top, &rule->grid, &at);
    first_numbers(c, rule, &at, r);
    k->near_offset(&c->p, rule->top, rule->highest, &r->d, &r->at, r->error);
    for (int round = 0; round < rule->rounds; round++) {
        offset_result next = *r;
        scales_at(r, &at);
        k->sums_offset(&c->p, rule->top, &at, &sums);
        for (int b = 0; b < c->n_blocks; b++) fit_numbers(c, &sums, &next, b);
        k->near_offset(&c->p, rule->top, rule->highest, &next.d, &next.at, next.error);
        for (int b = 0; b < c->n_blocks; b++) keep_better(c, &next, r, b);
    }
    scales_at(r, &at);
    k->codes_offset(&c->p, rule->top, &at, codes);
}

static void pack_k_scales(const float *scale, const float *minimum, uint8_t out[12]) {
    for (int j = 0; j < 4; j++) {
        int s = (int)scale[j], m = (int)minimum[j], s4 = (int)scale[4 + j], m4 = (int)minimum[4 + j];
        out[j] = (uint8_t)(s | s4 >> 4 << 6);
        out[4 + j] = (uint8_t)(m | m4 >> 4 << 6);
        out[8 + j] = (uint8_t)((s4 & 15) | (m4 & 15) << 4);
    }
}

static void pack_q4_k(const offset_result *r, const uint8_t codes[256], int b, block_q4_k *out) {
    block_put_u16(out->d, r->d_f16[b]);
    block_put_u16(out->dmin, r->dmin_f16[b]);
    pack_k_scales(r->at.scale + 8 * b, r->at.minimum + 8 * b, out->scales);
    quant_pack_four_bits(codes, 64, out->qs);
}

static void pack_q5_k(const offset_result *r, const uint8_t codes[256], int b, block_q5_k *out) {
    block_put_u16(out->d, r->d_f16[b]);
    block_put_u16(out->dmin, r->dmin_f16[b]);
    pack_k_scales(r->at.scale + 8 * b, r->at.minimum + 8 * b, out->scales);
    quant_pack_four_bits(codes, 64, out->qs);
    memset(out->qh, 0, sizeof out->qh);
    for (int j = 0; j < 8; j++) {
        for (int i = 0; i < 32; i++) out->qh[i] |= (uint8_t)(codes[32 * j + i] >> 4 << j);
    }
}

static void pack_q2_k(const offset_result *r, const uint8_t codes[256], int b, block_q2_k *out) {
    block_put_u16(out->d, r->d_f16[b]);
    block_put_u16(out->dmin, r->dmin_f16[b]);
    for (int j = 0; j < 16; j++) {
        out->scales[j] = (uint8_t)((int)r->at.scale[16 * b + j] | (int)r->at.minimum[16 * b + j] << 4);
    }
    quant_pack_two_bits(codes, 0, out->qs);
}

static void offset_chunk(const quant_chunk *c, const void *ctx, void *blocks) {
    const offset_rule *rule = ctx;
    offset_result r;
    uint8_t lanes[SEARCH_LONGEST][SEARCH_LANES], codes[256];
    quantise_offset(c, rule, &r, lanes);
    for (int b = 0; b < c->n_blocks; b++) {
        quant_chunk_codes(c, (const uint8_t(*)[SEARCH_LANES])lanes, b, codes);
        if (rule->type == QUANT_Q2_K) pack_q2_k(&r, codes, b, (block_q2_k *)blocks + b);
        if (rule->type == QUANT_Q4_K) pack_q4_k(&r, codes, b, (block_q4_k *)blocks + b);
        if (rule->type == QUANT_Q5_K) pack_q5_k(&r, codes, b, (block_q5_k *)blocks + b);
    }
}

static void quantise(const offset_rule *rule, const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quant_chunks(quant_format_of(rule->type), rule->n, x, weights, blocks, n_blocks, offset_chunk, rule);
}

static const offset_rule q2_k_rule = {QUANT_Q2_K, 3, 15, 16, 2, {1.8f, 0.15f, 14}};
static const offset_rule q4_k_rule = {QUANT_Q4_K, 15, 63, 32, 2, {13.4f, 0.2f, 14}};
static const offset_rule q5_k_rule = {QUANT_Q5_K, 31, 63, 32, 2, {29.4f, 0.2f, 14}};

void quant_weigh_q2_k(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise(&q2_k_rule, x, weights, blocks, n_blocks);
}
void quant_weigh_q4_k(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise(&q4_k_rule, x, weights, blocks, n_blocks);
}
void quant_weigh_q5_k(const float *x, const float *weights, void *blocks, size_t n_blocks) {
    quantise(&q5_k_rule, x, weights, blocks, n_blocks);
}
