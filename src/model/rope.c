/* Rotary position embedding: the frequencies, and the angles of the rows of a step, once for all layers.
 * inv_freq[i] = base^(-2i/h) / f_i, computed in double and rounded to float; the angle is (float)position * inv_freq.
 */
#include <math.h>

#include "model/pass.h"

/* Natural logarithm of x >= 1 and exp(-x) of x >= 0 to about 1e-15 by their series: the C library's last bits differ
 * between versions, and these reach every result. */
static double log_series(double x) {
    const double ln2 = 0x1.62e42fefa39efp-1;
    int exponent;
    double m = frexp(x, &exponent), z = (m - 1) / (m + 1), term = z, sum = 0;
    for (int k = 1; k < 60; k += 2, term *= z * z) sum += term / k;
    return 2 * sum + exponent * ln2;
}

static double exp_minus(double x) {
    const double ln2 = 0x1.62e42fefa39efp-1;
    double n = floor(x / ln2 + 0.5), r = n * ln2 - x, term = 1, sum = 1;
    for (int k = 1; k < 24; k++) {
        term *= r / k;
        sum += term;
    }
    return ldexp(sum, -(int)n);
}

void rope_frequencies(const hparams *h, const float *rope_freqs, bool sliding, float *inv_freq) {
    for (uint32_t l = 0; l < h->n_layer; l++) {
        if (h->layers[l].sliding != sliding) continue;
        uint32_t dim = h->layers[l].head_dim;
        double base_log = log_series((double)(sliding ? h->rope_base_sliding : h->rope_base));
        for (uint32_t i = 0; i < dim / 2; i++) {
            double f = !sliding && rope_freqs ? (double)rope_freqs[i] : 1.0;
            inv_freq[i] = (float)(exp_minus(base_log * (2.0 * i / dim)) / f);
        }
        return;
    }
}

void rope_prepare(const pool_worker *t, forward *f) {
    size_t begin, end;
    while (pool_next(t, f->n_rows, 8, &begin, &end)) {
        for (size_t i = begin; i < end; i++) {
            for (int kind = 0; kind < 2; kind++) {
                size_t n = f->pairs[kind];
                if (n == 0) continue;
                cpu_rope_angles(f->cpu, f->rows[i].position, f->inv_freq[kind], n, f->cosine[kind] + i * n,
                                f->sine[kind] + i * n);
            }
        }
    }
    pool_sync(t);
}
