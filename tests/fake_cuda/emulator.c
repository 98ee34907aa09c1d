/* See emulator.h. */
#include "emulator.h"

#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "compiler.h"
#include "fiber.h"

enum { MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / EMULATED_WARP };

typedef enum thread_state { READY, AT_BARRIER, AT_EXCHANGE, DONE } thread_state;

typedef struct warp {
    uint32_t mask, arrived; /* of the exchange that is going on */
    unsigned turn;          /* counts exchanges; each uses the other half of `lanes` */
    emulated_lanes lanes[2];
} warp;

struct emulator {
    fibers *fibers;
    const emulated_launch *launch;
    emulated_hooks hooks;
    thread_state state[MAX_THREADS];
    bool waited[MAX_THREADS]; /* for the launch before this one */
    uint16_t order[MAX_THREADS];
    uint32_t seed;
    size_t n_threads, current;
    warp warps[MAX_WARPS];
    const char *problem;
    void *shared;
    size_t shared_bytes;
};

/* Kernels call back without a context. */
static _Thread_local emulator *running;

static void wait_as(emulator *e, thread_state state) {
    e->state[e->current] = state;
    fibers_give_way(e->fibers);
}

static void barrier(void) { wait_as(running, AT_BARRIER); }
static void grid_wait(void) { running->waited[running->current] = true; }

static void release(emulator *e, size_t first, uint32_t mask) {
    for (size_t i = 0; i < EMULATED_WARP; i++) {
        if ((mask >> i & 1) && e->state[first + i] == AT_EXCHANGE) e->state[first + i] = READY;
    }
}

static const emulated_lanes *exchange(uint32_t mask, const uint32_t *words, int n) {
    emulator *e = running;
    size_t lane = e->current % EMULATED_WARP;
    warp *w = &e->warps[e->current / EMULATED_WARP];
    emulated_lanes *lanes = &w->lanes[w->turn % 2];
    if (!(mask >> lane & 1)) e->problem = "a thread is not in the mask of its own exchange";
    if (w->arrived && w->mask != mask) e->problem = "threads of a warp meet at exchanges with different masks";
    memcpy((*lanes)[lane], words, (size_t)n * sizeof *words);
    w->mask = mask;
    w->arrived |= 1u << lane;
    if (w->arrived == mask) {
        w->arrived = 0;
        w->turn++;
        release(e, e->current - lane, mask);
    } else {
        wait_as(e, AT_EXCHANGE);
    }
    return (const emulated_lanes *)lanes;
}

static float half_to_float(uint16_t h) { return f16_to_f32(h); }
static uint16_t float_to_half(float x) { return f32_to_f16(x); }

static void run_thread(size_t index, void *ctx) {
    emulator *e = ctx;
    (void)index;
    e->launch->kernel(e->launch->arguments);
    if (!e->waited[e->current]) e->problem = "a thread did not wait for the launch before its own";
}

emulator *emulator_new(void) {
    emulator *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->hooks = (emulated_hooks){.barrier = barrier,
                                .exchange = exchange,
                                .grid_wait = grid_wait,
                                .half_to_float = half_to_float,
                                .float_to_half = float_to_half};
    e->fibers = fibers_new(MAX_THREADS, run_thread, e);
    if (e->fibers) return e;
    free(e);
    return NULL;
}

void emulator_free(emulator *e) {
    if (!e) return;
    fibers_free(e->fibers);
    free(e->shared);
    free(e);
}

void emulator_order(emulator *e, uint32_t seed) { e->seed = seed; }

static void choose_order(emulator *e) {
    uint32_t random = e->seed;
    size_t n = e->n_threads;
    for (size_t i = 0; i < n; i++) e->order[i] = (uint16_t)(e->seed == 1 ? n - 1 - i : i);
    for (size_t i = n; e->seed > 1 && i > 1; i--) {
        random = random * 1664525 + 1013904223;
        size_t k = (random >> 8) % i;
        uint16_t swap = e->order[i - 1];
        e->order[i - 1] = e->order[k];
        e->order[k] = swap;
    }
}

static void place_thread(emulator *e, size_t index) {
    const emulated_place *size = &e->launch->block;
    unsigned i = (unsigned)index;
    e->current = index;
    e->hooks.thread = (emulated_place){i % size->x, i / size->x % size->y, i / size->x / size->y};
}

/* Every thread that is ready takes a turn; false: there was none. */
static bool take_turns(emulator *e) {
    bool any = false;
    for (size_t k = 0; k < e->n_threads && !e->problem; k++) {
        size_t i = e->order[k];
        if (e->state[i] != READY) continue;
        any = true;
        place_thread(e, i);
        if (fibers_turn(e->fibers, i)) e->state[i] = DONE;
    }
    return any;
}

/* Nobody is ready: all that live wait at the barrier, or something is wrong. */
static bool open_barrier(emulator *e) {
    size_t n_waiting = 0;
    for (size_t i = 0; i < e->n_threads; i++) {
        if (e->state[i] == AT_EXCHANGE) e->problem = "a warp waits for a thread that does not come";
        if (e->state[i] != AT_BARRIER) continue;
        n_waiting++;
        e->state[i] = READY;
    }
    return n_waiting > 0 && !e->problem;
}

static void run_block(emulator *e) {
    emulated_module_spoil(e->launch->module);
    memset(e->shared, 0xa5, e->launch->shared_bytes);
    memset(e->warps, 0, sizeof e->warps);
    for (size_t i = 0; i < e->n_threads; i++) {
        e->state[i] = READY;
        e->waited[i] = false;
        fibers_restart(e->fibers, i);
    }
    do {
        while (take_turns(e)) continue;
    } while (!e->problem && open_barrier(e));
}

static bool reserve_shared(emulator *e, size_t n_bytes) {
    if (n_bytes <= e->shared_bytes) return true;
    free(e->shared);
    e->shared_bytes = 0;
    e->shared = aligned_alloc(128, (n_bytes + 127) / 128 * 128);
    if (e->shared) e->shared_bytes = n_bytes;
    return e->shared != NULL;
}

const char *emulator_run(emulator *e, const emulated_launch *launch) {
    const emulated_place *grid = &launch->grid, *block = &launch->block;
    size_t n_threads = (size_t)block->x * block->y * block->z;
    if (n_threads == 0 || n_threads > MAX_THREADS) return "a block has 1 to 1024 threads";
    if (!reserve_shared(e, launch->shared_bytes + 1)) return "no memory";
    e->launch = launch;
    e->n_threads = n_threads;
    e->problem = NULL;
    e->hooks.block_size = *block;
    e->hooks.grid_size = *grid;
    e->hooks.dynamic_shared = e->shared;
    choose_order(e);
    emulated_module_attach(launch->module, &e->hooks);
    running = e;
    for (unsigned i = 0; i < grid->x * grid->y * grid->z && !e->problem; i++) {
        e->hooks.block = (emulated_place){i % grid->x, i / grid->x % grid->y, i / grid->x / grid->y};
        run_block(e);
    }
    running = NULL;
    return e->problem;
}
