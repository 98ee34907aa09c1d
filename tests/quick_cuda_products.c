/* Products on CUDA: one format of each kind that the kernels tell apart. All of them: full_cuda_products.c. */
#include "quant/format.h"

static const quant_type types[] = {QUANT_F16, QUANT_Q4_0, QUANT_Q4_1, QUANT_Q4_K, QUANT_Q6_K, QUANT_NVFP4};
enum { N_TYPES = sizeof types / sizeof types[0] };

#include "cuda_products.h"

int main(void) {
    const struct CMUnitTest tests[] = {CUDA_PRODUCTS_TESTS};
    return cmocka_run_group_tests(tests, open_group, close_group);
}
