/* The counter-based generator: published known answers, range, uniformity, independence of its three keys. */
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "support.h"

/* From the authors' Random123 distribution, tests/kat_vectors, "philox4x32 10". */
static void known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } want[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        uint32_t out[4];
        rng_philox4x32(want[i].counter, want[i].key, out);
        assert_memory_equal(out, want[i].out, sizeof out);
    }
}

/* Seed, stream and index zero: the first 53 bits of the first known answer. */
static void unit_is_the_first_bits(void **state) {
    (void)state;
    uint64_t bits = (uint64_t)0xe169c58d << 32 | 0x6627e8d5;
    assert_true(rng_unit(0, 0, 0) == ldexp((double)(bits >> 11), -53));
    bits = (uint64_t)0x41c83b0e << 32 | 0x408f276d;
    assert_true(rng_unit(UINT64_MAX, UINT64_MAX, UINT64_MAX) == ldexp((double)(bits >> 11), -53));
}

/* Chi-square over 64 cells, along each of the three arguments. With 63 degrees of freedom 130 is passed by chance
 * once in 500000. */
static void uniform_along_each_argument(void **state) {
    (void)state;
    enum { N = 64000, CELLS = 64 };
    for (int axis = 0; axis < 3; axis++) {
        size_t cells[CELLS] = {0};
        double chi = 0;
        for (uint64_t i = 0; i < N; i++) {
            double u = rng_unit(axis == 0 ? i : 7, axis == 1 ? i : 8, axis == 2 ? i : 9);
            assert_true(u >= 0 && u < 1);
            cells[(size_t)(u * CELLS)]++;
        }
        for (int c = 0; c < CELLS; c++) chi += pow((double)cells[c] - N / CELLS, 2) / (N / CELLS);
        assert_true(chi < 130);
        assert_true(chi > 20); /* too even is not random either */
    }
}

static void every_bit_of_every_argument_counts(void **state) {
    (void)state;
    double u = rng_unit(1, 2, 3);
    for (int bit = 0; bit < 64; bit++) {
        uint64_t flip = (uint64_t)1 << bit;
        assert_true(rng_unit(1 ^ flip, 2, 3) != u);
        assert_true(rng_unit(1, 2 ^ flip, 3) != u);
        assert_true(rng_unit(1, 2, 3 ^ flip) != u);
    }
    assert_true(rng_unit(1, 2, 3) == u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(unit_is_the_first_bits),
        cmocka_unit_test(uniform_along_each_argument),
        cmocka_unit_test(every_bit_of_every_argument_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
