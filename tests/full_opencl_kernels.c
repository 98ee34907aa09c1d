/* Every kernel is planted wrong once: the self-test finds it, and says what it is. See fake_opencl/. */
#include "opencl_layer.h"

#define GOLDEN(name) FACET_TEST_DATA "/models/" name ".gguf"
#define TINY         FACET_TEST_DATA "/tiny/tiny-q4_k_m.gguf"

static void test_every_kernel(void **state) {
    (void)state;
    static const struct {
        const char *model, *from, *to, *what;
    } cases[] = {
        {TINY, "result = fma(part_d[i", "result = fma(-part_d[i", "Q6_K"},
        {GOLDEN("ple-gqa"), "(int)rint(a * inverse)", "(int)floor(a * inverse)", "codes"},
        {GOLDEN("ple-gqa"), "if (w1 >= 0) v += (y[i] * s)", "if (w1 >= 0) v += (y[i])", "sum of norms"},
        {GOLDEN("ple-gqa"), "out[i] = (x[i] * s) * vectors[w2 + i]", "out[i] = x[i] * s", "RMSNorm"},
        {GOLDEN("ple-gqa"), "0.044715f", "0.054715f", "GELU"},
        {GOLDEN("ple-gqa"), "cap * exact_tanh(", "exact_tanh(", "tanh"},
        {GOLDEN("ple-gqa"), "index[first + GROUP_Y]", "index[first]", "choice of rows"},
        {GOLDEN("ple-gqa"), "* 0x1.6a09e6p-1f", "", "per-layer embeddings"},
        {GOLDEN("moe-keqv"), "(v * factor) * vectors[w + i]", "v * vectors[w + i]", "router's input"},
        {GOLDEN("moe-keqv"), "v * vectors[w2 + i];", "v;", "experts' input"},
        {GOLDEN("moe-keqv"), "f[k] = f[k] / sum;", "", "experts' shares"},
        {GOLDEN("moe-keqv"), "acc = fma(factor[slot],", "acc = fma(1.0f,", "mixture"},
        {GOLDEN("ple-gqa"), "sum[k] = fma(a[i + k],", "sum[k] = fma(-a[i + k],", "adapters"},
        {GOLDEN("ple-gqa"), "acc = fma(b[i], low[i], acc)", "acc = fma(b[i], low[i], 0.0f)", "adapters"},
        {GOLDEN("ple-gqa"), "b * cosine[i] + a * cosine[pairs + i]", "b * cosine[i]", "attention"},
        {GOLDEN("ple-gqa"), "acc[i] = fma(w, stored(", "acc[i] = fma(1.0f, stored(", "attention"},
        {GOLDEN("ple-gqa"), "out = fma(out, old, of[j] * fresh)", "out = of[j]", "attention"},
    };
    fake_opencl_control *layer = layer_or_skip();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_given_up(layer, cases[i].model, cases[i].from, cases[i].to, cases[i].what);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_kernel)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
