/* The table of all block formats that facet reads. Owns: names, sizes, and the plain C that turns blocks to floats
 * and back: the truth for everything else. Knows nothing of instruction sets. Layouts: the ggml block formats. */
#ifndef FACET_QUANT_FORMAT_H
#define FACET_QUANT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* facet's own dense numbering, for tables; the file's numbers are quant_format.file_id. */
typedef enum quant_type {
    QUANT_F32,
    QUANT_F16,
    QUANT_BF16,
    QUANT_Q4_0,
    QUANT_Q4_1,
    QUANT_Q5_0,
    QUANT_Q5_1,
    QUANT_Q8_0,
    QUANT_Q2_K,
    QUANT_Q3_K,
    QUANT_Q4_K,
    QUANT_Q5_K,
    QUANT_Q6_K,
    QUANT_IQ1_S,
    QUANT_IQ1_M,
    QUANT_IQ2_XXS,
    QUANT_IQ2_XS,
    QUANT_IQ2_S,
    QUANT_IQ3_XXS,
    QUANT_IQ3_S,
    QUANT_IQ4_NL,
    QUANT_IQ4_XS,
    QUANT_TQ1_0,
    QUANT_TQ2_0,
    QUANT_MXFP4,
    QUANT_NVFP4,
    QUANT_N_TYPES
} quant_type;

typedef struct quant_format {
    quant_type type;
    uint32_t file_id;     /* the number that GGUF files use */
    const char *name;     /* "Q4_K" */
    uint32_t block;       /* weights in a block */
    uint32_t block_bytes; /* bytes of a block */
    /* n_blocks blocks to n_blocks * block floats. Any alignment of `blocks`. */
    void (*dequantise)(const void *blocks, float *out, size_t n_blocks);
    /* The reverse, by the plain rule of the reference quantiser; NULL where facet does not write the format yet. */
    void (*quantise)(const float *x, void *blocks, size_t n_blocks);
} quant_format;

const quant_format *quant_format_of(quant_type type);
const quant_format *quant_format_by_id(uint32_t file_id);   /* NULL: not readable */
const quant_format *quant_format_by_name(const char *name); /* any case; NULL: unknown */
/* The same name but for the case of ASCII letters, whatever the locale. */
bool quant_same_name(const char *a, const char *b);
/* The name of a type id that facet cannot read but knows of ("Q1_0"), or NULL. For error messages. */
const char *quant_foreign_name(uint32_t file_id);

/* Bytes of a row of n weights; 0 when n is no multiple of the block. n is at most 2^40. */
static inline uint64_t quant_row_bytes(const quant_format *f, uint64_t n) {
    return n % f->block ? 0 : n / f->block * f->block_bytes;
}

#endif
