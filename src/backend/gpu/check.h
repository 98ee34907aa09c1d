/* What the parts of the self-test share: numbers of the CPU beside those of the device. Private to backend/gpu. */
#ifndef FACET_BACKEND_GPU_CHECK_H
#define FACET_BACKEND_GPU_CHECK_H

#include "backend/gpu/parts.h"

typedef struct check {
    gpu *g;
    size_t n_tokens;
    gpu_buffer in, out;
    float *x, *want, *got; /* rows of the widest thing there is, three more than tokens */
    size_t floats;         /* of each */
    facet_error *err;
} check;

enum { CHECK_FEW = 9, CHECK_TOKENS = 72, CHECK_ROWS = 70 };

/* n floats between -2.5 and 2.5, the same in every run. */
void check_fill(float *x, size_t n, uint64_t stream);
/* Reads n floats and compares them with `want`; the device's failures come first. */
facet_status check_read(check *c, const char *what, const gpu_buffer *from, size_t n);
/* Of `got` and `want`: the largest difference, relative to the largest number. */
facet_status check_compare(const check *c, const char *what, size_t n);
facet_status check_wrong(const check *c, const char *what, double difference);
/* The failure of a launch, once: the next check begins anew. */
facet_status check_device(const check *c);

/* ---- check_product.c */
facet_status check_products(check *c);
/* ---- check_steps.c */
facet_status check_steps(check *c);
/* ---- check_attention.c */
facet_status check_attention(check *c);
/* ---- check_decode.c */
facet_status check_decode(check *c);
/* In the place of products that share their input, in a run without launches. */
void check_join(check *c, const gpu_join *j);

#endif
