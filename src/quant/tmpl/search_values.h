/* The loops of search_loops.h for one set of values, SEARCH_VALUES_KIND; included there once for each. The scale may
 * have either sign: which end of the values the largest weight gets is part of the guess. */
#define SEARCH_JOIN2(a, b) a##_##b
#define SEARCH_JOIN(a, b)  SEARCH_JOIN2(a, b)
#define SEARCH_NAME(verb)  SEARCH_JOIN(verb, SEARCH_VALUES_KIND)

static inline void SEARCH_NAME(add)(const search_problem *p, int g, lanes inverse, lanes *qq, lanes *xq) {
    lanes sum_qq = all(0), sum_xq = all(0);
    for (int i = 0; i < p->n; i++) {
        lanes x = load(p->x[i] + g), q = SEARCH_NAME(value)(x * inverse), wq = load(p->w[i] + g) * q;
        sum_qq += wq * q;
        sum_xq += wq * x;
    }
    *qq = sum_qq;
    *xq = sum_xq;
}

static inline void SEARCH_NAME(try)(const search_problem *p, int g, lanes inverse, lanes *scale, lanes *gain) {
    lanes qq, xq;
    SEARCH_NAME(add)(p, g, inverse, &qq, &xq);
    lanes s = ratio(xq, qq), saved = s * xq;
    lane_mask better = saved > *gain;
    *scale = pick(better, s, *scale);
    *gain = pick(better, saved, *gain);
}

static void SEARCH_NAME(fit)(const search_problem *p, const search_grid *grid, search_row scale) {
    for (int g = 0; g < SEARCH_LANES; g += SEARCH_WIDTH) {
        lanes largest = load(p->x[0] + g), best = all(0), gain = all(0);
        for (int i = 1; i < p->n; i++) {
            lanes x = load(p->x[i] + g);
            largest = pick(larger(x, -x) > larger(largest, -largest), x, largest);
        }
        lanes per_largest = inverse_of(largest);
        for (int k = 0; k < grid->n; k++) {
            float value = grid->from + grid->step * (float)k;
            SEARCH_NAME(try)(p, g, value * per_largest, &best, &gain);
            SEARCH_NAME(try)(p, g, -value * per_largest, &best, &gain);
        }
        for (int k = 0; k < 2; k++) SEARCH_NAME(try)(p, g, inverse_of(best), &best, &gain);
        store(scale + g, best);
    }
}

static inline lanes SEARCH_NAME(lane_error)(const search_problem *p, int g, lanes s) {
    lanes inverse = inverse_of(s), sum = all(0);
    for (int i = 0; i < p->n; i++) {
        lanes x = load(p->x[i] + g), rest = x - s * SEARCH_NAME(value)(x * inverse);
        sum += load(p->w[i] + g) * rest * rest;
    }
    return sum;
}

static void SEARCH_NAME(error)(const search_problem *p, const search_row scale, search_row error) {
    for (int g = 0; g < SEARCH_LANES; g += SEARCH_WIDTH) {
        store(error + g, SEARCH_NAME(lane_error)(p, g, load(scale + g)));
    }
}

static void SEARCH_NAME(near)(const search_problem *p, float low, float high, const search_row d, search_row scale,
                              search_row error) {
    for (int g = 0; g < SEARCH_LANES; g += SEARCH_WIDTH) {
        lanes s = load(scale + g), per = load(d + g), best = s, least = SEARCH_NAME(lane_error)(p, g, per * s);
        for (int step = -1; step <= 1; step += 2) {
            lanes s2 = within(s + (float)step, low, high), e = SEARCH_NAME(lane_error)(p, g, per * s2);
            lane_mask better = e < least;
            best = pick(better, s2, best);
            least = pick(better, e, least);
        }
        store(scale + g, best);
        store(error + g, least);
    }
}

static void SEARCH_NAME(sums)(const search_problem *p, const search_row scale, search_sums *out) {
    for (int g = 0; g < SEARCH_LANES; g += SEARCH_WIDTH) {
        lanes qq, xq;
        SEARCH_NAME(add)(p, g, inverse_of(load(scale + g)), &qq, &xq);
        store(out->qq + g, qq);
        store(out->xq + g, xq);
    }
}

static void SEARCH_NAME(codes)(const search_problem *p, const search_row scale, uint8_t (*codes)[SEARCH_LANES]) {
    for (int g = 0; g < SEARCH_LANES; g += SEARCH_WIDTH) {
        lanes inverse = inverse_of(load(scale + g));
        for (int i = 0; i < p->n; i++) store_codes(codes[i] + g, SEARCH_NAME(code)(load(p->x[i] + g) * inverse));
    }
}

#undef SEARCH_NAME
#undef SEARCH_JOIN
#undef SEARCH_JOIN2
#undef SEARCH_VALUES_KIND
