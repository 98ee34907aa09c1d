/* exp, tanh, sin, cos and log over every float of their range, pow over many pairs, against libm's double precision:
 * at most 2 ulp. quick_math.c is the same with a stride. */
#include "math_checks.h"

static void test_exp(void **state) {
    (void)state;
    check_range(math_exp, exp, -INFINITY, INFINITY, 1);
}
static void test_tanh(void **state) {
    (void)state;
    check_range(math_tanh, tanh, -INFINITY, INFINITY, 1);
}
static void test_sin(void **state) {
    (void)state;
    check_range(math_sin, sin, -0x1p18f, 0x1p18f, 1);
}
static void test_cos(void **state) {
    (void)state;
    check_range(math_cos, cos, -0x1p18f, 0x1p18f, 1);
}
static void test_log(void **state) {
    (void)state;
    check_range(math_log, log, 0.0f, INFINITY, 1);
}
static void test_pow(void **state) {
    (void)state;
    check_pow(20000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp), cmocka_unit_test(test_tanh), cmocka_unit_test(test_sin),
        cmocka_unit_test(test_cos), cmocka_unit_test(test_log),  cmocka_unit_test(test_pow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
