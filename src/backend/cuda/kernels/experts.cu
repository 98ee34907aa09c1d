/* Slots sorted by the expert that they chose, so that an expert's weights are read once for all its slots. The order
 * among an expert's slots is left to chance: each result is the same wherever in a tile it is computed. */

enum { MAX_EXPERTS = 1024 };

/* One block. order: the slots, expert after expert. tiles: (expert, where its slots begin in `order`, how many, at
 * most tile_tokens) for each tile; zeros behind the last. */
KERNEL(GROUP) void group_slots(const int *chosen, int n_slots, int n_expert, int tile_tokens, int *order, int *tiles,
                               int n_tiles) {
    LOCAL int count[MAX_EXPERTS], first_slot[MAX_EXPERTS], first_tile[MAX_EXPERTS], end_tile;
    grid_release();
    grid_wait();
    for (int e = LOCAL_ID; e < n_expert; e += GROUP) count[e] = 0;
    BARRIER;
    for (int i = LOCAL_ID; i < n_slots; i += GROUP) atomicAdd(&count[chosen[i]], 1);
    BARRIER;
    if (LOCAL_ID == 0) {
        int slot = 0, tile = 0;
        for (int e = 0; e < n_expert; e++) {
            first_slot[e] = slot;
            first_tile[e] = tile;
            slot += count[e];
            tile += (count[e] + tile_tokens - 1) / tile_tokens;
        }
        end_tile = tile;
    }
    BARRIER;
    for (int e = LOCAL_ID; e < n_expert; e += GROUP) {
        for (int i = 0, tile = first_tile[e]; i < count[e]; i += tile_tokens, tile++) {
            tiles[3 * tile] = e;
            tiles[3 * tile + 1] = first_slot[e] + i;
            tiles[3 * tile + 2] = count[e] - i < tile_tokens ? count[e] - i : tile_tokens;
        }
    }
    for (int i = 3 * end_tile + LOCAL_ID; i < 3 * n_tiles; i += GROUP) tiles[i] = 0;
    BARRIER;
    for (int i = LOCAL_ID; i < n_slots; i += GROUP) order[atomicAdd(&first_slot[chosen[i]], 1)] = i;
}
