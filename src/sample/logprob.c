/* Log probabilities of the logits as the model gave them. Owns: the log softmax. The sum is in double, 16 partial
 * sums by index mod 16, so that the result is the same however the loop is compiled. */
#include <math.h>

#include "base/scalar_math.h"
#include "sample/sampler.h"
#include "sample/weight.h"

enum { LANES = 16 };

static float maximum(const float *x, size_t n) {
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* The sum of exp(x - max), over what is not NaN. An infinite maximum is not subtracted from itself. */
static double sum_of_weights(const float *x, size_t n, double max) {
    double lanes[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            double w = weight_exp((double)x[i + j] - max);
            lanes[j] += (double)x[i + j] == max ? 1.0 : w;
        }
    }
    for (size_t j = 0; i + j < n; j++) lanes[j] += (double)x[i + j] == max ? 1.0 : weight_exp((double)x[i + j] - max);
    for (int j = 0; j < LANES; j++) sum += lanes[j];
    return sum;
}

float sampler_logprob(const float *logits, size_t n, int32_t id) {
    double max = (double)maximum(logits, n), x = (double)logits[id];
    if (!(x > -INFINITY)) return -INFINITY;
    return (float)((x == max ? 0.0 : x - max) - math_log_double(sum_of_weights(logits, n, max)));
}

/* Puts (id, x) into the list of the best n_out so far, which has room for k. */
static size_t keep_best(facet_token_logprob *best, size_t n_best, size_t k, int32_t id, float x) {
    if (n_best == k && !(x > best[k - 1].logprob)) return n_best;
    size_t at = n_best < k ? n_best : k - 1;
    for (; at > 0 && best[at - 1].logprob < x; at--) best[at] = best[at - 1];
    best[at] = (facet_token_logprob){.id = id, .logprob = x};
    return n_best < k ? n_best + 1 : k;
}

size_t sampler_top_logprobs(const float *logits, size_t n, facet_token_logprob *out, size_t k) {
    size_t n_best = 0;
    if (k == 0) return 0;
    for (size_t i = 0; i < n; i++) {
        float x = logits[i] > -INFINITY ? logits[i] : -INFINITY;
        n_best = keep_best(out, n_best, k, (int32_t)i, x);
    }
    double max = n_best ? (double)out[0].logprob : 0, log_sum = math_log_double(sum_of_weights(logits, n, max));
    for (size_t i = 0; i < n_best; i++) {
        double x = (double)out[i].logprob;
        out[i].logprob = x > -INFINITY ? (float)((x == max ? 0.0 : x - max) - log_sum) : -INFINITY;
    }
    return n_best;
}
