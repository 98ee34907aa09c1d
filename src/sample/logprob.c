/* Log probabilities of the logits as the model gave them. Owns: the log softmax, sums in double in index order mod 16
 * so that the result does not depend on the compiler's mood. */
#include <math.h>

#include "base/scalar_math.h"
#include "sample/sampler.h"

enum { LANES = 16 };

static float maximum(const float *x, size_t n) {
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* exp(x - max); a NaN is as -infinity, and an infinite maximum is not subtracted from itself. */
static double weight(float x, float max) {
    if (!(x > -INFINITY)) return 0.0;
    return x == max ? 1.0 : (double)math_exp(x - max);
}

float sampler_logprob(const float *logits, size_t n, int32_t id) {
    float max = maximum(logits, n), x = logits[id];
    double lanes[LANES] = {0}, sum = 0;
    if (!(x > -INFINITY)) return -INFINITY;
    for (size_t i = 0; i < n; i++) lanes[i % LANES] += weight(logits[i], max);
    for (int j = 0; j < LANES; j++) sum += lanes[j];
    return (float)((x == max ? 0.0 : (double)(x - max)) - math_log_double(sum));
}
