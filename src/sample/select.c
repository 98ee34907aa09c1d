/* Finding the best logits without sorting all of them. See select.h. */
#include "sample/select.h"

#include <math.h>
#include <stdbool.h>

/* The ids between two suppressed ones. */
typedef struct range {
    size_t begin, end;
} range;

/* Range i of n_suppressed + 1. */
static inline range range_at(const logit_view *v, size_t i) {
    return (range){.begin = i ? (size_t)v->suppressed[i - 1] + 1 : 0,
                   .end = i < v->n_suppressed ? (size_t)v->suppressed[i] : v->n_vocab};
}

/* The maximum, -infinity for nothing. Lanes, so that the compiler can use vectors: a maximum has no rounding. */
static float maximum(const float *x, size_t n) {
    float lanes[16], max = -INFINITY;
    for (int j = 0; j < 16; j++) lanes[j] = -INFINITY;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (size_t j = 0; j < 16; j++) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    }
    for (int j = 0; j < 16; j++) max = lanes[j] > max ? lanes[j] : max;
    for (; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

int32_t select_best(const logit_view *v) {
    float best = -INFINITY;
    range where = {0, 0};
    for (size_t k = 0; k <= v->n_suppressed; k++) {
        range r = range_at(v, k);
        float max = maximum(v->logits + r.begin, r.end - r.begin);
        if (max > best) {
            best = max;
            where = r;
        }
    }
    for (size_t i = where.begin; i < where.end; i++) {
        if (v->logits[i] == best) return (int32_t)i;
    }
    return -1;
}

static inline bool better(const candidate *a, const candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* Whether a belongs above b in a heap whose root is the best, or the worst. */
static inline bool above(const candidate *a, const candidate *b, bool worst_at_root) {
    return worst_at_root ? better(b, a) : better(a, b);
}

static inline void sift_down(candidate *c, size_t n, size_t i, bool worst_at_root) {
    candidate moving = c[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && above(&c[child + 1], &c[child], worst_at_root)) child++;
        if (!above(&c[child], &moving, worst_at_root)) break;
        c[i] = c[child];
    }
    c[i] = moving;
}

static inline void heapify(candidate *c, size_t n, bool worst_at_root) {
    for (size_t i = n / 2; i-- > 0;) sift_down(c, n, i, worst_at_root);
}

static inline void pop(candidate *c, size_t n, bool worst_at_root) {
    candidate root = c[0];
    c[0] = c[n - 1];
    c[n - 1] = root;
    sift_down(c, n - 1, 0, worst_at_root);
}

void select_heap(candidate *c, size_t n) { heapify(c, n, false); }
void select_pop(candidate *c, size_t n) { pop(c, n, false); }

/* A heap of the k best so far with the worst at its root. Ids ascend, so an equal logit never replaces it, and nearly
 * every logit costs one comparison. */
size_t select_top_k(const logit_view *v, size_t k, candidate *out) {
    size_t n = 0;
    for (size_t part = 0; part <= v->n_suppressed; part++) {
        range r = range_at(v, part);
        size_t i = r.begin;
        for (; i < r.end && n < k; i++) {
            if (!(v->logits[i] > -INFINITY)) continue;
            out[n++] = (candidate){.logit = v->logits[i], .id = (int32_t)i};
            if (n == k) heapify(out, n, true);
        }
        for (; i < r.end; i++) {
            if (!(v->logits[i] > out[0].logit)) continue;
            out[0] = (candidate){.logit = v->logits[i], .id = (int32_t)i};
            sift_down(out, n, 0, true);
        }
    }
    if (n < k) heapify(out, n, true);
    for (size_t left = n; left > 1; left--) pop(out, left, true);
    return n;
}

size_t select_all(const logit_view *v, candidate *out) {
    size_t n = 0;
    for (size_t part = 0; part <= v->n_suppressed; part++) {
        range r = range_at(v, part);
        for (size_t i = r.begin; i < r.end; i++) {
            if (v->logits[i] > -INFINITY) out[n++] = (candidate){.logit = v->logits[i], .id = (int32_t)i};
        }
    }
    return n;
}
