/* The float steps between products in sixteen lanes: ref/steps.c with the loop over lanes written as one. Included
 * after a lanes_ISA.h. */
#include "cpu/registry.h"
#include "cpu/tmpl/lanes_math.h"

LANES_INLINE lanes load_some(const float *p, size_t n) {
    return n >= CPU_LANES ? lanes_load(p) : lanes_load_part(p, n);
}
LANES_INLINE void store_some(float *p, lanes v, size_t n) {
    if (n >= CPU_LANES)
        lanes_store(p, v);
    else
        lanes_store_part(p, v, n);
}
#define EACH(i, n) for (size_t i = 0; i < (n); i += CPU_LANES)

static float inverse_rms(const float *x, float eps, size_t n) {
    lanes sum = lanes_of(0.0f);
    EACH(i, n) {
        lanes v = load_some(x + i, n - i);
        sum = lanes_fma(v, v, sum);
    }
    return 1.0f / sqrtf(lanes_sum(sum) / (float)n + eps);
}

/* (x * s) * w */
LANES_INLINE lanes normalised(const float *x, const float *w, lanes s, size_t i, size_t n) {
    lanes v = lanes_mul(load_some(x + i, n - i), s);
    return w ? lanes_mul(v, load_some(w + i, n - i)) : v;
}

void LANES_NAME(rms_norm)(const float *x, const float *w, float eps, size_t n, float *out) {
    lanes s = lanes_of(inverse_rms(x, eps, n));
    EACH(i, n) store_some(out + i, normalised(x, w, s, i, n), n - i);
}

void LANES_NAME(rms_norm_add)(const float *x, const float *w, float eps, size_t n, float *residual) {
    lanes s = lanes_of(inverse_rms(x, eps, n));
    EACH(i, n) {
        lanes r = load_some(residual + i, n - i);
        store_some(residual + i, lanes_add(r, normalised(x, w, s, i, n)), n - i);
    }
}

void LANES_NAME(scale)(float *x, float s, size_t n) {
    EACH(i, n) store_some(x + i, lanes_mul(load_some(x + i, n - i), lanes_of(s)), n - i);
}

void LANES_NAME(add)(float *x, const float *y, size_t n) {
    EACH(i, n) store_some(x + i, lanes_add(load_some(x + i, n - i), load_some(y + i, n - i)), n - i);
}

void LANES_NAME(add_scaled)(float *x, const float *y, float s, size_t n) {
    EACH(i, n) {
        lanes v = lanes_fma(lanes_of(s), load_some(y + i, n - i), load_some(x + i, n - i));
        store_some(x + i, v, n - i);
    }
}

LANES_INLINE lanes gelu(lanes x) {
    lanes cubic = lanes_fma(lanes_of(0.044715f), lanes_mul(x, x), lanes_of(1.0f));
    lanes inner = lanes_mul(lanes_mul(lanes_of(0x1.988454p-1f), x), cubic);
    return lanes_mul(lanes_mul(lanes_of(0.5f), x), lanes_add(lanes_of(1.0f), lanes_tanh(inner)));
}

void LANES_NAME(gelu_mul)(const float *gate, const float *up, size_t n, float *out) {
    EACH(i, n) {
        lanes v = lanes_mul(gelu(load_some(gate + i, n - i)), load_some(up + i, n - i));
        store_some(out + i, v, n - i);
    }
}

void LANES_NAME(soft_cap)(float *x, float cap, size_t n) {
    lanes c = lanes_of(cap);
    EACH(i, n) store_some(x + i, lanes_mul(c, lanes_tanh(lanes_div(load_some(x + i, n - i), c))), n - i);
}

void LANES_NAME(softmax)(float *x, size_t n) {
    lanes max = lanes_of(-INFINITY), sum = lanes_of(0.0f);
    size_t whole = n / CPU_LANES * CPU_LANES;
    for (size_t i = 0; i < whole; i += CPU_LANES) max = lanes_max(lanes_load(x + i), max);
    float largest = lanes_largest(max);
    for (size_t i = whole; i < n; i++) largest = math_max(x[i], largest);
    for (size_t i = 0; i < whole; i += CPU_LANES) {
        lanes p = lanes_exp(lanes_sub(lanes_load(x + i), lanes_of(largest)));
        sum = lanes_add(sum, p);
        lanes_store(x + i, p);
    }
    float tail[CPU_LANES] = {0};
    for (size_t i = whole; i < n; i++) tail[i - whole] = x[i] = math_exp(x[i] - largest);
    float total = lanes_sum(lanes_add(sum, lanes_load(tail)));
    EACH(i, n) store_some(x + i, lanes_div(load_some(x + i, n - i), lanes_of(total)), n - i);
}

/* Once per token for all layers: left to the compiler. */
void LANES_NAME(rope_angles)(int32_t position, const float *inv_freq, size_t n, float *cosine, float *sine) {
    for (size_t i = 0; i < n; i++) math_sincos((float)position * inv_freq[i], sine + i, cosine + i);
}

void LANES_NAME(rope)(float *x, const float *cosine, const float *sine, size_t n) {
    EACH(i, n) {
        lanes a = load_some(x + i, n - i), b = load_some(x + n + i, n - i);
        lanes c = load_some(cosine + i, n - i), s = load_some(sine + i, n - i);
        store_some(x + i, lanes_sub(lanes_mul(a, c), lanes_mul(b, s)), n - i);
        store_some(x + n + i, lanes_add(lanes_mul(b, c), lanes_mul(a, s)), n - i);
    }
}

void LANES_NAME(attend_merge)(float *max, float *sum, float *out, float span_max, float span_sum,
                              const float *span_out, size_t head_dim) {
    float m = math_max(span_max, *max);
    float old = math_exp(*max - m), new = math_exp(span_max - m);
    *max = m;
    *sum = fmaf(*sum, old, span_sum * new);
    lanes o = lanes_of(old), w = lanes_of(new);
    EACH(i, head_dim) {
        lanes v = lanes_mul(load_some(span_out + i, head_dim - i), w);
        store_some(out + i, lanes_fma(load_some(out + i, head_dim - i), o, v), head_dim - i);
    }
}

void LANES_NAME(attend_finish)(float sum, float *out, size_t head_dim) {
    lanes s = lanes_of(sum);
    EACH(i, head_dim) store_some(out + i, lanes_div(load_some(out + i, head_dim - i), s), head_dim - i);
}
