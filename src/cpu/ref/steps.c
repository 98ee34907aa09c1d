/* The float steps between products, in plain C: the definition (docs/contract.md has each as a formula). */
#include <math.h>

#include "base/scalar_math.h"
#include "cpu/registry.h"

static float add_tree(float lanes[CPU_LANES]) {
    for (int step = CPU_LANES / 2; step > 0; step /= 2) {
        for (int j = 0; j < step; j++) lanes[j] += lanes[j + step];
    }
    return lanes[0];
}

/* 1 / sqrt(mean square + eps) */
static float inverse_rms(const float *x, float eps, size_t n) {
    float lanes[CPU_LANES] = {0};
    for (size_t i = 0; i < n; i++) lanes[i % CPU_LANES] = fmaf(x[i], x[i], lanes[i % CPU_LANES]);
    return 1.0f / sqrtf(add_tree(lanes) / (float)n + eps);
}

void rms_norm_ref(const float *x, const float *w, float eps, size_t n, float *out) {
    float s = inverse_rms(x, eps, n);
    for (size_t i = 0; i < n; i++) out[i] = w ? (x[i] * s) * w[i] : x[i] * s;
}

void rms_norm_add_ref(const float *x, const float *w, float eps, size_t n, float *residual) {
    float s = inverse_rms(x, eps, n);
    for (size_t i = 0; i < n; i++) residual[i] += w ? (x[i] * s) * w[i] : x[i] * s;
}

void scale_ref(float *x, float s, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] *= s;
}

void add_ref(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}

void add_scaled_ref(float *x, const float *y, float s, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = fmaf(s, y[i], x[i]);
}

/* x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) */
static float gelu(float x) {
    float inner = (0x1.988454p-1f * x) * fmaf(0.044715f, x * x, 1.0f);
    return (0.5f * x) * (1.0f + math_tanh(inner));
}

void gelu_mul_ref(const float *gate, const float *up, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = gelu(gate[i]) * up[i];
}

void soft_cap_ref(float *x, float cap, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = cap * math_tanh(x[i] / cap);
}

void softmax_ref(float *x, size_t n) {
    float max = -INFINITY, lanes[CPU_LANES] = {0};
    for (size_t i = 0; i < n; i++) max = math_max(x[i], max);
    for (size_t i = 0; i < n; i++) {
        x[i] = math_exp(x[i] - max);
        lanes[i % CPU_LANES] += x[i];
    }
    float sum = add_tree(lanes);
    for (size_t i = 0; i < n; i++) x[i] /= sum;
}

void rope_angles_ref(int32_t position, const float *inv_freq, size_t n, float *cosine, float *sine) {
    for (size_t i = 0; i < n; i++) math_sincos((float)position * inv_freq[i], sine + i, cosine + i);
}

/* x0' = x0 cos - x1 sin, x1' = x1 cos + x0 sin */
void rope_ref(float *x, const float *cosine, const float *sine, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float a = x[i], b = x[i + n];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + n] = b * cosine[i] + a * sine[i];
    }
}
