/* The text of the kernels, linked into the library from kernels/. */
#ifndef FACET_BACKEND_GPU_TEXT_H
#define FACET_BACKEND_GPU_TEXT_H

/* Defined in text.S; each ends where its _end begins. */
extern const char gpu_text_dialect[], gpu_text_dialect_end[];
extern const char gpu_text_steps[], gpu_text_steps_end[];
extern const char gpu_text_attention[], gpu_text_attention_end[];
extern const char gpu_text_product[], gpu_text_product_end[];
extern const char gpu_text_product_float[], gpu_text_product_float_end[];

#endif
