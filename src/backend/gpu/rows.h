/* How a matrix lies in a device's memory. Owns: that layout, for which kernels/product.cl is written. The blocks keep
 * their formats: their bytes only change places, so that neighbouring work items, which compute neighbouring rows,
 * read neighbouring words.
 *
 * A row becomes words of 32 bits: the main parts of its blocks, whole words each, then what the blocks have beside
 * them (a scale of two bytes, or one), one behind the other. 32 rows make a group: word 0 of all of them, word 1, ...
 * The last group of a matrix is filled up with zeros. */
#ifndef FACET_BACKEND_GPU_ROWS_H
#define FACET_BACKEND_GPU_ROWS_H

#include "cpu/cpu.h"

enum { ROWS_GROUP = 32 };

/* How activations come to a product. */
typedef enum rows_input { ROWS_FLOAT, ROWS_CODES_256, ROWS_CODES_32, ROWS_N_INPUTS } rows_input;

typedef struct rows_format {
    const char *define; /* "FORMAT_Q4_K"; NULL: not on devices */
    rows_input input;
    uint8_t main_at, main_bytes; /* of a block */
    uint8_t tail_at, tail_bytes;
    bool minima; /* blocks have minima beside their scales */
} rows_format;

/* NULL: devices have no kernel for the format. */
const rows_format *rows_format_of(quant_type type);
/* Words of a row; 0 when that is more than devices count. */
size_t rows_words(const matrix *m);
/* Rows [first, first + ROWS_GROUP) of a matrix, as far as there are: out[words][ROWS_GROUP]. `work`: words. */
void rows_pack(const matrix *m, size_t first, uint32_t *work, uint32_t *out);

#endif
