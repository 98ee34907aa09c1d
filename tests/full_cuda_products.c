/* Products on CUDA of every format that devices know. */
#include "quant/format.h"

static const quant_type types[] = {QUANT_F32,   QUANT_F16,   QUANT_BF16,  QUANT_Q4_0,   QUANT_Q4_1,
                                   QUANT_Q5_0,  QUANT_Q5_1,  QUANT_Q8_0,  QUANT_Q2_K,   QUANT_Q3_K,
                                   QUANT_Q4_K,  QUANT_Q5_K,  QUANT_Q6_K,  QUANT_IQ4_NL, QUANT_IQ4_XS,
                                   QUANT_TQ1_0, QUANT_TQ2_0, QUANT_MXFP4, QUANT_NVFP4};
enum { N_TYPES = sizeof types / sizeof types[0] };

#include "cuda_products.h"

int main(void) {
    const struct CMUnitTest tests[] = {CUDA_PRODUCTS_TESTS};
    return cmocka_run_group_tests(tests, open_group, close_group);
}
