/* The searches' inner loops and what they work on. Sixteen groups of up to 32 weights stand side by side, each in a
 * lane of its own, so that a vector instruction works on as many groups as it has lanes and nothing is summed across
 * lanes: every build of the loops, whatever its width, makes the same bits. Private to src/quant. */
#ifndef FACET_QUANT_SEARCH_H
#define FACET_QUANT_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEARCH_LANES = 16, SEARCH_LONGEST = 32 };

typedef float search_row[SEARCH_LANES];

/* Weight i of group g is x[i][g], and its error counts w[i][g]. All finite. */
typedef struct search_problem {
    search_row x[SEARCH_LONGEST], w[SEARCH_LONGEST];
    int n; /* weights in a group */
} search_problem;

/* weight = scale * code - minimum, minimum >= 0, codes 0..top. */
typedef struct search_offset {
    search_row scale, minimum;
} search_offset;

/* What the least squares of a given choice of codes need, with the weights w in every sum. */
typedef struct search_sums {
    search_row w, x, q, qq, xq;
} search_sums;

/* weight = scale * value of the code. */
typedef enum search_values {
    SEARCH_SIGNED8, /* -4..3 */
    SEARCH_SIGNED16,
    SEARCH_SIGNED32,
    SEARCH_SIGNED64,
    SEARCH_IQ4, /* quant_codes_iq4 */
    SEARCH_FP4, /* quant_codes_fp4 */
    SEARCH_N_VALUES
} search_values;

/* First guesses: the codes of the largest value that are tried, from `from` in steps of `step`. */
typedef struct search_grid {
    float from, step;
    int n;
} search_grid;

typedef struct search_kernels {
    /* The best scale and minimum of each group: every guess of the grid gives codes, these give scale and minimum by
     * least squares, and the best goes round a few times more. */
    void (*fit_offset)(const search_problem *p, float top, const search_grid *grid, search_offset *out);
    /* For each group the best of the nine neighbours of the multiples in `at`, where weight = d * scale * code -
     * dmin * minimum, and its weighted squared error. Multiples stay within 0..highest. */
    void (*near_offset)(const search_problem *p, float top, float highest, const search_offset *d, search_offset *at,
                        search_row error);
    void (*sums_offset)(const search_problem *p, float top, const search_offset *at, search_sums *out);
    void (*codes_offset)(const search_problem *p, float top, const search_offset *at, uint8_t (*codes)[SEARCH_LANES]);

    void (*fit_values[SEARCH_N_VALUES])(const search_problem *p, const search_grid *grid, search_row scale);
    /* The best of a multiple and its two neighbours, within low..high, where weight = d * scale * value. */
    void (*near_values[SEARCH_N_VALUES])(const search_problem *p, float low, float high, const search_row d,
                                         search_row scale, search_row error);
    void (*error_values[SEARCH_N_VALUES])(const search_problem *p, const search_row scale, search_row error);
    void (*sums_values[SEARCH_N_VALUES])(const search_problem *p, const search_row scale, search_sums *out);
    /* Codes from the lowest value upwards: 0 stands for the lowest. */
    void (*codes_values[SEARCH_N_VALUES])(const search_problem *p, const search_row scale,
                                          uint8_t (*codes)[SEARCH_LANES]);
} search_kernels;

extern const search_kernels search_kernels_plain;
#if defined(__x86_64__)
extern const search_kernels search_kernels_avx2, search_kernels_avx512;
#endif
/* The fastest that this machine runs. */
const search_kernels *search_choose(void);

#endif
