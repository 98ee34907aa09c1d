/* Links the text of the kernels into read-only data. The build sets GPU_TEXT_... to the files' names. */
#define TEXT(name, file)                                                                                             \
    .global gpu_text_##name;                                                                                         \
    .hidden gpu_text_##name;                                                                                         \
    gpu_text_##name:;                                                                                                \
    .incbin file;                                                                                                    \
    .global gpu_text_##name##_end;                                                                                   \
    .hidden gpu_text_##name##_end;                                                                                   \
    gpu_text_##name##_end:;                                                                                          \
    .byte 0

    .section .rodata
    TEXT(dialect, GPU_TEXT_DIALECT)
    TEXT(steps, GPU_TEXT_STEPS)
    TEXT(attention, GPU_TEXT_ATTENTION)
    TEXT(product, GPU_TEXT_PRODUCT)
    TEXT(product_float, GPU_TEXT_PRODUCT_FLOAT)
#if defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
