/* A row of 32-blocks into a panel's group. Included where panel32 is known, whose scale[unit or minimum][row] it
 * fills. */
typedef void unpack_block_fn(const uint8_t *block, uint8_t *code, float *d, float *m);

/* The n blocks of a row's group. */
PANEL_INLINE void unpack_row(const uint8_t *data, size_t n, size_t r, panel32 *p, uint8_t *code,
                             unpack_block_fn *unpack, size_t block, size_t block_bytes) {
    for (size_t i = 0; i < n; i++) {
        float d[4], m = 0;
        unpack(data + i * block_bytes, code + block * i, d, &m);
        for (size_t j = 0; block == 64 && j < 4; j++) p->scale[4 * i + j][r] = d[j];
        if (block == 64) continue;
        p->scale[i][r] = d[0];
        p->scale[8 + i][r] = m;
    }
}
