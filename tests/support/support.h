/* What many tests need: reading files, golden GGUF files, comparing floats. Includes cmocka in the order it wants. */
#ifndef FACET_TESTS_SUPPORT_H
#define FACET_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "facet.h"
#include "gguf/gguf.h"

/* The bytes of a file of the test data, malloc'ed and terminated. Fails the test when it cannot be read. */
char *test_read(const char *name, size_t *n_bytes);

/* A golden file: opened whole, with its tensors by name. */
typedef struct golden {
    char *bytes;
    size_t n_bytes;
    gguf_file *file;
} golden;
golden golden_open(const char *name);
void golden_close(golden *g);
/* The data of a tensor, which must exist; *n gets its number of elements. */
const gguf_tensor *golden_tensor(const golden *g, const char *name);
const void *golden_data(const golden *g, const char *name, size_t *n);

/* Whether a process of its own comes to the end of fn. There are drivers that end the program that asks them. */
bool test_survives(void (*fn)(void));

/* KL(p || q) of two rows of logits, in double. */
double test_kl(const float *p, const float *q, size_t n);

/* The largest |a - b|; NaN anywhere counts as infinite. */
double test_max_difference(const float *a, const float *b, size_t n);

/* Fails the test with the library's message. */
#define assert_ok(call, error)                                                                                       \
    do {                                                                                                             \
        facet_status assert_ok_status = (call);                                                                      \
        if (assert_ok_status != FACET_OK)                                                                            \
            fail_msg("%s: %s: %s", #call, facet_status_name(assert_ok_status), (error)->message);                    \
    } while (0)

#endif
