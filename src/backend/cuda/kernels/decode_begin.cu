/* The beginning of a program of decode.cu: sizes, and what the parts of the formats have in common.
 *
 * From outside come: COLUMNS of the input; TOKENS that are computed together; ITEM_COLUMNS and RESULT_KINDS of the formats
 * (see decode_unit.cu); and how the program begins and ends, see decode.cu. */

#define WARPS   16
#define THREADS (32 * WARPS)
#define LANE    (LOCAL_ID % 32)
#define WARP    (LOCAL_ID / 32)
#define EVERYBODY 0xffffffffu

enum {
    BLOCK_COLUMNS = ITEM_COLUMNS == 256 ? 256 : 32, /* of the activations' codes */
    UNIT_COLUMNS = ITEM_COLUMNS == 32 ? 32 : 64,
    ITEMS = COLUMNS / ITEM_COLUMNS,
    UNITS = COLUMNS / UNIT_COLUMNS,
    QUADS = (UNITS + 3) / 4,
    QUAD_ITEMS = 4 * UNIT_COLUMNS / ITEM_COLUMNS,
    CHAINS = ITEM_COLUMNS == 256 ? 1 : 8, /* accumulators of a row */

    /* Rows come in octets. A group goes over its octets in rounds of OCTETS octets and SEGMENT quads of each, whose
     * results fit into half of the shared memory for them: the other half is that of the round before. */
    QUAD_RESULTS = TOKENS * QUAD_ITEMS * RESULT_KINDS * 8,
    MOST_RESULTS = 2560,
#ifdef GATED
    LEAST_OCTETS = 2, /* gate and up */
#else
    LEAST_OCTETS = 1,
#endif
    MOST_QUADS = MOST_RESULTS / (QUAD_RESULTS * LEAST_OCTETS),
    SEGMENT = MOST_QUADS >= QUADS ? QUADS : ITEM_COLUMNS == 32 ? MOST_QUADS / 2 * 2 : MOST_QUADS,
    FITTING = MOST_RESULTS / (QUAD_RESULTS * SEGMENT), /* octets */
    CHAINED = THREADS / (TOKENS * 8 * CHAINS),         /* octets that find a thread for each chain */
    OCTETS = SEGMENT < QUADS ? LEAST_OCTETS : (FITTING < CHAINED ? FITTING : CHAINED) / LEAST_OCTETS * LEAST_OCTETS,
    ROWS = 8 * OCTETS,
    ITEM_RESULTS = RESULT_KINDS * ROWS,
    TOKEN_RESULTS = SEGMENT * QUAD_ITEMS * ITEM_RESULTS,
};

/* The tokens' input as the products want it, in shared memory. */
typedef struct activations {
    uint codes[TOKENS * COLUMNS / 4];
    float scales[TOKENS * COLUMNS / BLOCK_COLUMNS];
    short sums[TOKENS * COLUMNS / 16];
} activations;

FN int sum_of_four(int v) { /* lanes with the same row */
    v += __shfl_xor_sync(EVERYBODY, v, 8);
    return v + __shfl_xor_sync(EVERYBODY, v, 16);
}

#undef WORD
#define WORD(at, i) load_once((at) + (i) * 32)
