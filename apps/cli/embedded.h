/* The demonstration model, linked into the program: a GGUF image, aligned to 64 bytes. */
#ifndef FACET_CLI_EMBEDDED_H
#define FACET_CLI_EMBEDDED_H

extern const unsigned char embedded_model[];
extern const unsigned char embedded_model_end[];

#endif
