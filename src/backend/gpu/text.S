/* Links the text of the kernels into read-only data. The build tells the assembler where the files are. */
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
    TEXT(dialect, "dialect.cl")
    TEXT(steps, "steps.cl")
    TEXT(pages, "pages.cl")
    TEXT(attention, "attention.cl")
    TEXT(attention_cuda, "attention.cu")
    TEXT(attention_tiles, "attention_tiles.cu")
    TEXT(blocks, "blocks.cl")
    TEXT(product, "product.cl")
    TEXT(product_float, "product_float.cl")
    TEXT(decode_begin, "decode_begin.cu")
    TEXT(decode_unit, "decode_unit.cu")
    TEXT(decode, "decode.cu")
    TEXT(matrix, "matrix.cu")
    TEXT(tiles, "tiles.cu")
    TEXT(experts, "experts.cu")
#if defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
