/* Panels for vpdpbusd: VNNI_ROWS rows of weights unpacked to unsigned bytes, [column / 4][row][4], so that the rows
 * stand in the lanes and one token's four activations are broadcast against them. For gemm_256_vnni.h and
 * gemm_32_vnni.h, included after a vnni_ISA.h. As panels_avx2.h, but products go into 32 bits at once, so that codes
 * of any size are one plane and nothing is bounded. */
#include "cpu/x86/panels_avx2.h"
#include "cpu/x86/unpack_32_avx2.h"

enum { STEP_BYTES = 4 * VNNI_ROWS, CODE_BYTES = VNNI_ROWS * CPU_GROUP };

/* sum[t] = codes times activations over `steps` steps of four columns */
PANEL_INLINE void vnni_dots(const uint8_t *codes, const int32_t *q, size_t w, int steps, int n_tokens, vec *sum) {
    PANEL_UNROLL(12)
    for (int t = 0; t < n_tokens; t++) sum[t] = vec_zero();
    PANEL_UNROLL(8)
    for (int k = 0; k < steps; k++) {
        vec v = vec_load(codes + STEP_BYTES * k);
        PANEL_UNROLL(12)
        for (int t = 0; t < n_tokens; t++) sum[t] = vec_dot(sum[t], v, vec_of(q[(size_t)k * w + (size_t)t]));
    }
}

/* Rows' codes to a panel. */
PANEL_INLINE void vnni_transpose(const uint8_t codes[VNNI_ROWS][CPU_GROUP], uint8_t *out) {
    for (size_t r = 0; r < VNNI_ROWS; r += CPU_PANEL) transpose_codes(codes + r, out + 4 * r, STEP_BYTES);
}
