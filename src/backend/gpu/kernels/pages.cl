/* Keys and values in pages of the KV cache, compiled for one type in which they are stored: KV_F16, KV_Q8_0 or KV_F32
 * (docs/contract.md, rule 3).
 *
 * A row of `rows` is four ints: its position, where its page tables begin in `tables` (of full layers, of sliding
 * layers), and its row in the tables of angles. */
#define PAGE 64
#define SPAN 512

FN wide page_row(GLOBAL const int *rows, GLOBAL const int *tables, int row, int sliding, int position,
                 wide page_bytes) {
    int page = tables[rows[row * 4 + 1 + sliding] + position / PAGE];
    return (wide)page * page_bytes;
}

#if defined(KV_F16)
#define ROW_BYTES(dim) ((dim) * 2)
FN float stored(GLOBAL const uchar *row, int i) { return half_to_float(((GLOBAL const ushort *)row)[i]); }
#elif defined(KV_F32)
#define ROW_BYTES(dim) ((dim) * 4)
FN float stored(GLOBAL const uchar *row, int i) { return ((GLOBAL const float *)row)[i]; }
#else
#define ROW_BYTES(dim) ((dim) / 32 * 34)
FN float stored(GLOBAL const uchar *row, int i) {
    GLOBAL const uchar *block = row + i / 32 * 34;
    uint d = (uint)block[0] | (uint)block[1] << 8;
    int q = (int)block[2 + i % 32];
    return half_to_float(d) * (float)(q > 127 ? q - 256 : q);
}
#endif

/* n elements of a head in local memory to a row of the cache. */
#if defined(KV_F16)
#define STORE_HEAD(x, n, row)                                                                                         \
    for (int i = LOCAL_ID; i < (n); i += GROUP) ((GLOBAL ushort *)(row))[i] = (ushort)float_to_half((x)[i])
#elif defined(KV_F32)
#define STORE_HEAD(x, n, row)                                                                                         \
    for (int i = LOCAL_ID; i < (n); i += GROUP) ((GLOBAL float *)(row))[i] = (x)[i]
#else
#define STORE_HEAD(x, n, row)                                                                                         \
    for (int b = LOCAL_ID; b < (n) / 32; b += GROUP) {                                                                \
        GLOBAL uchar *block = (row) + b * 34;                                                                         \
        float most = 0;                                                                                               \
        for (int i = 0; i < 32; i++) most = fmax(most, (x)[32 * b + i] < 0 ? -(x)[32 * b + i] : (x)[32 * b + i]);     \
        float d = most / 127.0f, inverse = d == 0 ? 0.0f : 1.0f / d;                                                  \
        uint h = float_to_half(d);                                                                                    \
        block[0] = (uchar)(h & 255);                                                                                  \
        block[1] = (uchar)(h >> 8);                                                                                   \
        for (int i = 0; i < 32; i++) block[2 + i] = (uchar)((int)round((x)[32 * b + i] * inverse) & 255);             \
    }
#endif
