/* Any bytes as a safetensors file. What opens is walked in full: every tensor must lie inside the bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    safetensors s = {0};
    facet_error error = {0};
    facet_status status = safetensors_parse(&s, data, n, &error);
    volatile uint64_t sum = 0;
    if (status != FACET_OK && (!error.status || !error.message[0])) abort();
    for (size_t i = 0; status == FACET_OK && i < s.n; i++) {
        const safetensor *t = &s.tensors[i];
        if (safetensors_find(&s, t->name) != t) abort();
        for (uint64_t k = 0; k < t->n_bytes; k++) sum += t->data[k];
    }
    (void)sum;
    safetensors_free(&s);
    return 0;
}
