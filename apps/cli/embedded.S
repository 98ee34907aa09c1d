/* Links the file EMBEDDED_MODEL (set by the build) into read-only data. */
    .section .rodata
    .balign 64
    .global embedded_model
    .hidden embedded_model
embedded_model:
    .incbin EMBEDDED_MODEL
    .global embedded_model_end
    .hidden embedded_model_end
embedded_model_end:
    .byte 0
#if defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
