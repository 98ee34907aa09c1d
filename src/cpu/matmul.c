/* Products of rows of weights with prepared tokens: which kernel does them, and in what order memory is walked. */
#include <string.h>

#include "cpu/registry.h"

/* Rows that are multiplied with every token before the next rows are read: they stay in the first cache. */
enum { ROWS = 16 };
/* Bytes of unpacked panels that stay in the second cache beside a tile of tokens. */
enum { PANELS_BYTES = 160 * 1024, MAX_PANELS = 16 };

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

static void by_rows(const cpu_table *cpu, const matrix *w, size_t r0, size_t r1, const void *input, size_t n_tokens,
                    float *out, size_t ldo) {
    quant_type type = w->format->type;
    size_t stride = cpu_row_stride(cpu_input_for(cpu, type), w->n_cols), step = n_tokens == 1 ? r1 - r0 : ROWS;
    if (cpu->rows[type] && n_tokens > 1 && n_tokens <= CPU_ROWS_TOKENS) {
        cpu->rows[type](w, r0, r1 - r0, input, stride, n_tokens, out + r0, ldo);
        return;
    }
    for (size_t r = r0; r < r1; r += step) {
        size_t n = min_size(step, r1 - r);
        for (size_t t = 0; t < n_tokens; t++)
            cpu->gemv[type](w, r, n, (const uint8_t *)input + t * stride, out + t * ldo + r);
    }
}

/* Packed tokens for a format that has no kernel for them: each is taken apart once for all rows. */
static void by_unpacking(const cpu_table *cpu, const matrix *w, size_t r0, size_t r1, const void *input,
                         size_t n_tokens, float *out, size_t ldo, void *scratch) {
    for (size_t t = 0; t < n_tokens; t++) {
        cpu_input_unpack(w->n_cols, n_tokens, input, t, scratch);
        cpu->gemv[w->format->type](w, r0, r1 - r0, scratch, out + t * ldo + r0);
    }
}

static size_t panel_bytes(const cpu_gemm *gemm, size_t n_cols) { return cpu_n_groups(n_cols) * gemm->group_bytes; }

static size_t n_panels(size_t bytes) {
    size_t n = PANELS_BYTES / bytes;
    return n < 1 ? 1 : min_size(n, MAX_PANELS);
}

/* One tile of tokens with n rows of unpacked panels. */
static void tile_by_panels(const cpu_gemm *gemm, const uint8_t *panels, size_t n_rows, size_t n_cols,
                           const uint8_t *tile, size_t n_tokens, float *out, size_t ldo) {
    float result[CPU_TILE * CPU_PANEL_MAX];
    for (size_t r = 0; r < n_rows; r += gemm->n_rows, panels += panel_bytes(gemm, n_cols)) {
        size_t n = min_size(gemm->n_rows, n_rows - r);
        gemm->tile(panels, tile, n_cols, cpu_tile_width(n_tokens), result);
        for (size_t t = 0; t < min_size(CPU_TILE, n_tokens); t++)
            memcpy(out + t * ldo + r, result + t * gemm->n_rows, n * sizeof *out);
    }
}

static void by_panels(const cpu_gemm *gemm, const matrix *w, size_t r0, size_t r1, const uint8_t *input,
                      size_t n_tokens, float *out, size_t ldo, uint8_t *scratch) {
    size_t bytes = panel_bytes(gemm, w->n_cols), step = n_panels(bytes) * gemm->n_rows;
    size_t token_bytes = cpu_n_groups(w->n_cols) * CPU_GROUP_BYTES;
    for (size_t r = r0; r < r1; r += step) {
        size_t n = min_size(step, r1 - r);
        for (size_t i = 0; i < n; i += gemm->n_rows)
            gemm->unpack(w, r + i, min_size(gemm->n_rows, n - i), scratch + i / gemm->n_rows * bytes);
        for (size_t t = 0; t < n_tokens; t += CPU_TILE)
            tile_by_panels(gemm, scratch, n, w->n_cols, input + t * token_bytes, n_tokens - t, out + t * ldo + r,
                           ldo);
    }
}

void cpu_matmul(const cpu_table *cpu, const matrix *w, size_t r0, size_t r1, const void *input, size_t n_tokens,
                float *out, size_t ldo, void *scratch) {
    quant_type type = w->format->type;
    cpu_input kind = cpu_input_for(cpu, type);
    if (r0 >= r1) return;
    if (kind == CPU_INPUT_F32 && cpu->gemm_float && n_tokens > 1)
        cpu->gemm_float(w, r0, r1 - r0, input, cpu_row_stride(kind, w->n_cols) / sizeof(float), n_tokens, out + r0,
                        ldo, scratch);
    else if (!cpu_is_packed(cpu, kind, n_tokens))
        by_rows(cpu, w, r0, r1, input, n_tokens, out, ldo);
    else if (cpu->few[type] && n_tokens <= CPU_FEW)
        cpu->few[type](w, r0, r1 - r0, input, n_tokens, out + r0, ldo);
    else if (cpu->gemm[type])
        by_panels(cpu->gemm[type], w, r0, r1, input, n_tokens, out, ldo, scratch);
    else
        by_unpacking(cpu, w, r0, r1, input, n_tokens, out, ldo, scratch);
}

size_t cpu_matmul_grain(const cpu_table *cpu, quant_type type, size_t n_tokens) {
    bool packed = cpu_is_packed(cpu, cpu_input_for(cpu, type), n_tokens);
    return packed ? 2 * CPU_PANEL_MAX : ROWS;
}

size_t cpu_scratch_bytes(const cpu_table *cpu, size_t max_cols) {
    size_t bytes = cpu_row_stride(CPU_INPUT_Q8_256, max_cols);
    size_t rows = CPU_FLOAT_ROWS * cpu_row_stride(CPU_INPUT_F32, max_cols);
    if (rows > bytes) bytes = rows;
    if (bytes < CPU_FLOAT_ROWS_BYTES) bytes = CPU_FLOAT_ROWS_BYTES;
    for (int type = 0; type < QUANT_N_TYPES; type++) {
        if (!cpu->gemm[type]) continue;
        size_t panel = panel_bytes(cpu->gemm[type], max_cols), panels = panel > PANELS_BYTES ? panel : PANELS_BYTES;
        if (panels > bytes) bytes = panels;
    }
    return (bytes + 63) / 64 * 64;
}

void cpu_row(const matrix *w, size_t row, float *out) {
    w->format->dequantise(w->data + row * w->row_bytes, out, w->n_cols / w->format->block);
}
