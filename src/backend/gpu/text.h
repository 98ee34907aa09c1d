/* The text of the kernels, linked into the library from kernels/ of gpu/ and cuda/. */
#ifndef FACET_BACKEND_GPU_TEXT_H
#define FACET_BACKEND_GPU_TEXT_H

#include <stddef.h>

/* Defined in text.S; each ends where its _end begins. */
/* clang-format off */
#define GPU_TEXTS(X) \
    X(dialect) X(steps) X(pages) X(attention) X(attention_cuda) X(attention_tiles) \
    X(blocks) X(product) X(product_float) X(decode_begin) X(decode_unit) X(decode) \
    X(matrix) X(tiles) X(experts)
/* clang-format on */
#define X(name) extern const char gpu_text_##name[], gpu_text_##name##_end[];
GPU_TEXTS(X)
#undef X

/* One of them, to be handed on. */
typedef struct gpu_text {
    const char *begin;
    size_t n_bytes;
} gpu_text;
#define GPU_TEXT(name) ((gpu_text){gpu_text_##name, (size_t)(gpu_text_##name##_end - gpu_text_##name)})

#endif
