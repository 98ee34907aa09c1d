/* exp, tanh, sin, cos, log, pow and the conversions of half.h: a sample of what full_math.c checks in full, the
 * special values, and RoPE's angles at the far end of the contexts. */
#include "math_checks.h"

enum { STRIDE = 4099 };

static void test_samples(void **state) {
    (void)state;
    check_range(math_exp, exp, -INFINITY, INFINITY, STRIDE);
    check_range(math_tanh, tanh, -INFINITY, INFINITY, STRIDE);
    check_range(math_sin, sin, -0x1p18f, 0x1p18f, STRIDE);
    check_range(math_cos, cos, -0x1p18f, 0x1p18f, STRIDE);
    check_range(math_log, log, 0.0f, INFINITY, STRIDE);
    check_pow(100000);
}

/* exp where it leaves the range of normal floats, at every float. */
static void test_exp_edges(void **state) {
    (void)state;
    for (float x = -105.0f; x < -86.0f; x = nextafterf(x, INFINITY)) assert_true(ulps(math_exp(x), exp(x)) <= 2);
    for (float x = 88.0f; x < 90.0f; x = nextafterf(x, INFINITY)) assert_true(ulps(math_exp(x), exp(x)) <= 2);
}

static void test_special(void **state) {
    (void)state;
    assert_true(math_exp(0.0f) == 1.0f && math_exp(-0.0f) == 1.0f);
    assert_true(math_exp(-INFINITY) == 0.0f && !signbit(math_exp(-INFINITY)));
    assert_true(math_exp(INFINITY) == INFINITY && math_exp(1000.0f) == INFINITY);
    assert_true(math_tanh(INFINITY) == 1.0f && math_tanh(-INFINITY) == -1.0f && math_tanh(20.0f) == 1.0f);
    assert_true(math_tanh(0.0f) == 0.0f && signbit(math_tanh(-0.0f)));
    assert_true(math_cos(0.0f) == 1.0f && math_sin(0.0f) == 0.0f);
    assert_true(math_log(1.0f) == 0.0f && math_log(0.0f) == -INFINITY && math_log(INFINITY) == INFINITY);
    assert_true(isnan(math_log(-1.0f)) && isnan(math_log(NAN)));
    float (*const f[])(float) = {math_exp, math_tanh, math_sin, math_cos, math_log};
    for (size_t i = 0; i < sizeof f / sizeof f[0]; i++) assert_true(isnan(f[i](NAN)) && isnan(f[i](-NAN)));
}

static void test_pow_special(void **state) {
    (void)state;
    static const float v[] = {0.0f, -0.0f, 1.0f,     -1.0f,     2.0f, -2.0f,   0.5f,      -0.5f,
                              3.0f, -3.0f, INFINITY, -INFINITY, NAN,  0x1p24f, 0x1p-149f, 3.4e38f};
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        for (size_t j = 0; j < sizeof v / sizeof v[0]; j++) {
            float got = math_pow(v[i], v[j]);
            double want = pow(v[i], v[j]);
            if (ulps(got, want) > 2 || (!isnan(want) && !signbit(got) != !signbit(want)))
                fail_msg("pow(%g, %g) = %g, not %g", (double)v[i], (double)v[j], (double)got, want);
        }
    }
}

/* The angle is a float product; its sine and cosine are those of that float. */
static void test_rope_angles(void **state) {
    (void)state;
    static const int32_t positions[] = {0, 1, 511, 512, 8191, 131008, 131071, 131072, 262080, 262143};
    for (size_t p = 0; p < sizeof positions / sizeof positions[0]; p++) {
        for (int base = 10000; base <= 1000000; base *= 100) {
            for (int i = 0; i < 256; i++) {
                float inv_freq = (float)pow(base, -2.0 * i / 512), angle = (float)positions[p] * inv_freq;
                assert_true(fabs((double)math_sin(angle) - sin(angle)) < 0x1p-23);
                assert_true(fabs((double)math_cos(angle) - cos(angle)) < 0x1p-23);
            }
        }
    }
}

/* Every half through float and back; floats between two halves go to the nearer, ties to even. */
static void test_half(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = f16_to_f32((uint16_t)h);
        if (isnan(f)) {
            assert_true((h & 0x7c00) == 0x7c00 && (h & 0x3ff));
            continue;
        }
        assert_int_equal(f32_to_f16(f), h);
        if ((h & 0x7fff) >= 0x7bff) continue;
        float next = f16_to_f32((uint16_t)(h + 1)), middle = (f + next) / 2;
        assert_int_equal(f32_to_f16(middle), h + (h & 1));
        assert_int_equal(f32_to_f16(nextafterf(middle, f)), h);
        assert_int_equal(f32_to_f16(nextafterf(middle, next)), h + 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),     cmocka_unit_test(test_exp_edges),   cmocka_unit_test(test_special),
        cmocka_unit_test(test_pow_special), cmocka_unit_test(test_rope_angles), cmocka_unit_test(test_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
