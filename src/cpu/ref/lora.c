/* The second half of an adapter's product (contract, rule 5), in plain C: the definition. */
#include <math.h>

#include "cpu/registry.h"

void lora_add_ref(const matrix *b, size_t row, size_t n_rows, const float *t, size_t n_tokens, float s, float *y,
                  size_t ldy) {
    enum { PIECE = 64 };
    size_t rank = b->n_cols;
    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *data = b->data + (row + r) * b->row_bytes;
        for (size_t i = 0; i < n_tokens; i++) {
            float acc = 0.0f, piece[PIECE];
            for (size_t k = 0; k < rank; k += PIECE) {
                size_t n = rank - k < PIECE ? rank - k : PIECE;
                b->format->dequantise(data + k * b->format->block_bytes, piece, n);
                for (size_t j = 0; j < n; j++) acc = fmaf(piece[j], t[i * rank + k + j], acc);
            }
            y[i * ldy + r] = fmaf(s, acc, y[i * ldy + r]);
        }
    }
}
