/* Matrices for devices. See rows.h. Layouts of the blocks: quant/blocks.h. */
#include "backend/gpu/rows.h"

#include <string.h>

static const rows_format formats[QUANT_N_TYPES] = {
    [QUANT_F32] = {"FORMAT_F32", ROWS_FLOAT, 0, 4, 0, 0, false},
    [QUANT_F16] = {"FORMAT_F16", ROWS_FLOAT, 0, 2, 0, 0, false},
    [QUANT_BF16] = {"FORMAT_BF16", ROWS_FLOAT, 0, 2, 0, 0, false},
    [QUANT_Q4_0] = {"FORMAT_Q4_0", ROWS_CODES_32, 2, 16, 0, 2, false},
    [QUANT_Q4_1] = {"FORMAT_Q4_1", ROWS_CODES_32, 0, 20, 0, 0, true},
    [QUANT_Q5_0] = {"FORMAT_Q5_0", ROWS_CODES_32, 2, 20, 0, 2, false},
    [QUANT_Q5_1] = {"FORMAT_Q5_1", ROWS_CODES_32, 0, 24, 0, 0, true},
    [QUANT_Q8_0] = {"FORMAT_Q8_0", ROWS_CODES_32, 2, 32, 0, 2, false},
    [QUANT_Q2_K] = {"FORMAT_Q2_K", ROWS_CODES_256, 0, 84, 0, 0, true},
    [QUANT_Q3_K] = {"FORMAT_Q3_K", ROWS_CODES_256, 0, 108, 108, 2, false},
    [QUANT_Q4_K] = {"FORMAT_Q4_K", ROWS_CODES_256, 0, 144, 0, 0, true},
    [QUANT_Q5_K] = {"FORMAT_Q5_K", ROWS_CODES_256, 0, 176, 0, 0, true},
    [QUANT_Q6_K] = {"FORMAT_Q6_K", ROWS_CODES_256, 0, 208, 208, 2, false},
    [QUANT_IQ4_NL] = {"FORMAT_IQ4_NL", ROWS_CODES_32, 2, 16, 0, 2, false},
    [QUANT_IQ4_XS] = {"FORMAT_IQ4_XS", ROWS_CODES_256, 0, 136, 0, 0, false},
    [QUANT_TQ1_0] = {"FORMAT_TQ1_0", ROWS_CODES_256, 0, 52, 52, 2, false},
    [QUANT_TQ2_0] = {"FORMAT_TQ2_0", ROWS_CODES_256, 0, 64, 64, 2, false},
    [QUANT_MXFP4] = {"FORMAT_MXFP4", ROWS_CODES_32, 1, 16, 0, 1, false},
    [QUANT_NVFP4] = {"FORMAT_NVFP4", ROWS_CODES_32, 0, 36, 0, 0, false},
};

const rows_format *rows_format_of(quant_type type) { return formats[type].define ? &formats[type] : NULL; }

size_t rows_words(const matrix *m) {
    const rows_format *f = &formats[m->format->type];
    size_t n_blocks = m->n_cols / m->format->block;
    size_t words = (n_blocks * f->main_bytes + 3) / 4 + (n_blocks * f->tail_bytes + 3) / 4;
    return words <= (size_t)1 << 24 ? words : 0;
}

static void row_words(const matrix *m, const rows_format *f, const uint8_t *row, uint8_t *out) {
    size_t n_blocks = m->n_cols / m->format->block, size = m->format->block_bytes;
    uint8_t *tail = out + (n_blocks * f->main_bytes + 3) / 4 * 4;
    if (f->input == ROWS_FLOAT) {
        memcpy(out, row, n_blocks * size);
        return;
    }
    for (size_t b = 0; b < n_blocks; b++, row += size) {
        memcpy(out + b * f->main_bytes, row + f->main_at, f->main_bytes);
        memcpy(tail + b * f->tail_bytes, row + f->tail_at, f->tail_bytes);
    }
}

void rows_pack(const matrix *m, size_t first, uint32_t *work, uint32_t *out) {
    const rows_format *f = &formats[m->format->type];
    size_t words = rows_words(m);
    for (size_t lane = 0; lane < ROWS_GROUP; lane++) {
        memset(work, 0, words * sizeof *work);
        if (first + lane < m->n_rows) row_words(m, f, m->data + (first + lane) * m->row_bytes, (uint8_t *)work);
        for (size_t i = 0; i < words; i++) out[i * ROWS_GROUP + lane] = work[i];
    }
}
