/* The loops of search.h for vectors of SEARCH_WIDTH floats, a divisor of 16. A file of one instruction set defines
 * SEARCH_WIDTH and SEARCH_TABLE and includes this. Only additions, multiplications, divisions and comparisons that
 * every machine rounds alike. Codes are found by rounding to the nearest; scales by least squares over the codes:
 * with sums over a group, weighted by w, the scale s and the minimum m of x ~ s q - m solve a system of two
 * equations, and where m would be negative it is zero and s = sum(xq) / sum(qq). */
#include <string.h>

#include "quant/search.h"

typedef float lanes __attribute__((vector_size(4 * SEARCH_WIDTH)));
typedef int32_t lane_mask __attribute__((vector_size(4 * SEARCH_WIDTH)));

static inline lanes load(const float *row) {
    lanes v;
    memcpy(&v, row, sizeof v);
    return v;
}
static inline void store(float *row, lanes v) { memcpy(row, &v, sizeof v); }
static inline lanes all(float f) { return f - (lanes){0}; }
static inline lanes pick(lane_mask m, lanes yes, lanes no) {
    return (lanes)((m & (lane_mask)yes) | (~m & (lane_mask)no));
}
/* A compare and a select: compilers make the one instruction of it where there is one. */
static inline lanes smaller(lanes a, lanes b) { return pick(a < b, a, b); }
static inline lanes larger(lanes a, lanes b) { return pick(a > b, a, b); }
/* To the nearest whole number, for |v| < 2^22. */
static inline lanes nearest(lanes v) { return (v + 12582912.0f) - 12582912.0f; }
/* a / b, or 0 where b is not above 0. */
static inline lanes ratio(lanes a, lanes b) {
    lane_mask ok = b > 0.0f;
    return pick(ok, a / pick(ok, b, all(1.0f)), all(0.0f));
}

/* ---- scale and minimum */

typedef struct offset_fit {
    lanes scale, minimum, error;
} offset_fit;

/* What does not depend on the codes. */
typedef struct offset_still {
    lanes w, x, xx;
} offset_still;

/* Sums for the codes nearest to (x + minimum) * inverse. */
static inline void offset_sums(const search_problem *p, int g, float top, lanes inverse, lanes minimum, lanes *q,
                               lanes *qq, lanes *xq) {
    lanes sum_q = all(0), sum_qq = all(0), sum_xq = all(0), shift = minimum * inverse, highest = all(top);
    for (int i = 0; i < p->n; i++) {
        lanes x = load(p->x[i] + g);
        lanes code = nearest(larger(smaller(x * inverse + shift, highest), all(0))), wq = load(p->w[i] + g) * code;
        sum_q += wq;
        sum_qq += wq * code;
        sum_xq += wq * x;
    }
    *q = sum_q;
    *qq = sum_qq;
    *xq = sum_xq;
}

static inline void try_offset(const search_problem *p, int g, float top, const offset_still *still, lanes inverse,
                              lanes minimum, offset_fit *best) {
    lanes q, qq, xq;
    offset_sums(p, g, top, inverse, minimum, &q, &qq, &xq);
    lanes determinant = still->w * qq - q * q;
    lanes s = ratio(still->w * xq - still->x * q, determinant), m = ratio(q * xq - qq * still->x, determinant);
    lane_mask at_zero = (m < 0.0f) | (determinant <= 0.0f);
    m = pick(at_zero, all(0), m);
    s = pick(at_zero, ratio(xq, qq), s);
    lanes error = still->xx - s * xq + m * still->x;
    lane_mask better = (error < best->error) & (s > 0.0f);
    best->scale = pick(better, s, best->scale);
    best->minimum = pick(better, m, best->minimum);
    best->error = pick(better, error, best->error);
}

static void fit_offset(const search_problem *p, float top, const search_grid *grid, search_offset *out) {
    for (int g = 0; g < SEARCH_LANES; g += SEARCH_WIDTH) {
        offset_still still = {all(0), all(0), all(0)};
        lanes low = all(0), high = load(p->x[0] + g);
        for (int i = 0; i < p->n; i++) {
            lanes x = load(p->x[i] + g), w = load(p->w[i] + g);
            still.w += w;
            still.x += w * x;
            still.xx += w * x * x;
            low = smaller(low, x);
            high = larger(high, x);
        }
        offset_fit best = {all(0), -low, still.xx};
        lanes per_range = ratio(all(1), high - low);
        for (int k = 0; k < grid->n; k++) {
            float code = grid->from + grid->step * (float)k;
            try_offset(p, g, top, &still, code * per_range, -low, &best);
        }
        for (int k = 0; k < 3; k++) {
            lanes inverse = ratio(all(1), best.scale);
            try_offset(p, g, top, &still, inverse, best.minimum, &best);
        }
        store(out->scale + g, best.scale);
        store(out->minimum + g, best.minimum);
    }
}

static inline lanes offset_code(lanes x, lanes inverse, lanes shift, float top) {
    return nearest(larger(smaller(x * inverse + shift, all(top)), all(0)));
}

static inline lanes offset_error(const search_problem *p, int g, float top, lanes s, lanes m) {
    lanes inverse = ratio(all(1), s), shift = m * inverse, sum = all(0);
    for (int i = 0; i < p->n; i++) {
        lanes x = load(p->x[i] + g), rest = x + m - s * offset_code(x, inverse, shift, top);
        sum += load(p->w[i] + g) * rest * rest;
    }
    return sum;
}

static inline lanes within(lanes v, float low, float high) { return larger(smaller(v, all(high)), all(low)); }

static void near_offset(const search_problem *p, float top, float highest, const search_offset *d, search_offset *at,
                        search_row error) {
    for (int g = 0; g < SEARCH_LANES; g += SEARCH_WIDTH) {
        lanes s = load(at->scale + g), m = load(at->minimum + g), per_s = load(d->scale + g);
        lanes per_m = load(d->minimum + g), best_s = s, best_m = m,
              least = offset_error(p, g, top, per_s * s, per_m * m);
        for (int step = 0; step < 9; step++) {
            if (step == 4) continue;
            lanes s2 = within(s + (float)(step % 3 - 1), 0, highest),
                  m2 = within(m + (float)(step / 3 - 1), 0, highest);
            lanes e = offset_error(p, g, top, per_s * s2, per_m * m2);
            lane_mask better = e < least;
            best_s = pick(better, s2, best_s);
            best_m = pick(better, m2, best_m);
            least = pick(better, e, least);
        }
        store(at->scale + g, best_s);
        store(at->minimum + g, best_m);
        store(error + g, least);
    }
}

static void sums_offset(const search_problem *p, float top, const search_offset *at, search_sums *out) {
    for (int g = 0; g < SEARCH_LANES; g += SEARCH_WIDTH) {
        lanes sum_w = all(0), sum_x = all(0), q, qq, xq, m = load(at->minimum + g);
        for (int i = 0; i < p->n; i++) {
            lanes w = load(p->w[i] + g);
            sum_w += w;
            sum_x += w * load(p->x[i] + g);
        }
        offset_sums(p, g, top, ratio(all(1), load(at->scale + g)), m, &q, &qq, &xq);
        store(out->w + g, sum_w);
        store(out->x + g, sum_x);
        store(out->q + g, q);
        store(out->qq + g, qq);
        store(out->xq + g, xq);
    }
}

static inline void store_codes(uint8_t *out, lanes code) {
    for (int k = 0; k < SEARCH_WIDTH; k++) out[k] = (uint8_t)(int)code[k];
}

static void codes_offset(const search_problem *p, float top, const search_offset *at,
                         uint8_t (*codes)[SEARCH_LANES]) {
    for (int g = 0; g < SEARCH_LANES; g += SEARCH_WIDTH) {
        lanes m = load(at->minimum + g), inverse = ratio(all(1), load(at->scale + g)), shift = m * inverse;
        for (int i = 0; i < p->n; i++) store_codes(codes[i] + g, offset_code(load(p->x[i] + g), inverse, shift, top));
    }
}

/* ---- values times a scale */

/* The value nearest to t, and its place among them, for values that are whole numbers in a row. */
static inline lanes row_value(lanes t, float lowest, float highest) {
    return nearest(larger(smaller(t, all(highest)), all(lowest)));
}

/* The same for any values, in rising order: every border between neighbours that t passes adds their distance. */
static inline lanes list_value(lanes t, const float *values, int n) {
    lanes v = all(values[0]);
    for (int k = 1; k < n; k++) {
        lane_mask above = t > 0.5f * (values[k - 1] + values[k]);
        v += (lanes)(above & (lane_mask)all(values[k] - values[k - 1]));
    }
    return v;
}
static inline lanes list_code(lanes t, const float *values, int n) {
    lanes c = all(0);
    for (int k = 1; k < n; k++) {
        lane_mask above = t > 0.5f * (values[k - 1] + values[k]);
        c += (lanes)(above & (lane_mask)all(1.0f));
    }
    return c;
}

static const float iq4_list[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const float fp4_list[15] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};

static inline lanes value_signed8(lanes t) { return row_value(t, -4, 3); }
static inline lanes code_signed8(lanes t) { return value_signed8(t) + 4.0f; }
static inline lanes value_signed16(lanes t) { return row_value(t, -8, 7); }
static inline lanes code_signed16(lanes t) { return value_signed16(t) + 8.0f; }
static inline lanes value_signed32(lanes t) { return row_value(t, -16, 15); }
static inline lanes code_signed32(lanes t) { return value_signed32(t) + 16.0f; }
static inline lanes value_signed64(lanes t) { return row_value(t, -32, 31); }
static inline lanes code_signed64(lanes t) { return value_signed64(t) + 32.0f; }
static inline lanes value_iq4(lanes t) { return list_value(t, iq4_list, 16); }
static inline lanes code_iq4(lanes t) { return list_code(t, iq4_list, 16); }
static inline lanes value_fp4(lanes t) { return list_value(t, fp4_list, 15); }
static inline lanes code_fp4(lanes t) { return list_code(t, fp4_list, 15); }

static inline lanes inverse_of(lanes s) {
    lane_mask zero = s == 0.0f;
    return pick(zero, all(0), 1.0f / pick(zero, all(1), s));
}

#define SEARCH_VALUES_KIND signed8
#include "quant/tmpl/search_values.h"
#define SEARCH_VALUES_KIND signed16
#include "quant/tmpl/search_values.h"
#define SEARCH_VALUES_KIND signed32
#include "quant/tmpl/search_values.h"
#define SEARCH_VALUES_KIND signed64
#include "quant/tmpl/search_values.h"
#define SEARCH_VALUES_KIND iq4
#include "quant/tmpl/search_values.h"
#define SEARCH_VALUES_KIND fp4
#include "quant/tmpl/search_values.h"

const search_kernels SEARCH_TABLE = {
    .fit_offset = fit_offset,
    .near_offset = near_offset,
    .sums_offset = sums_offset,
    .codes_offset = codes_offset,
    .fit_values = {fit_signed8, fit_signed16, fit_signed32, fit_signed64, fit_iq4, fit_fp4},
    .near_values = {near_signed8, near_signed16, near_signed32, near_signed64, near_iq4, near_fp4},
    .error_values = {error_signed8, error_signed16, error_signed32, error_signed64, error_iq4, error_fp4},
    .sums_values = {sums_signed8, sums_signed16, sums_signed32, sums_signed64, sums_iq4, sums_fp4},
    .codes_values = {codes_signed8, codes_signed16, codes_signed32, codes_signed64, codes_iq4, codes_fp4},
};
