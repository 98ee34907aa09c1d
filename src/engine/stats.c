/* Statistics of an engine: a view of the scheduler's counters and the KV cache's memory. */
#include <string.h>

#include "engine/engine.h"

const char *facet_part_name(facet_part part) {
    static const char *const names[FACET_N_PARTS] = {"embeddings",  "q, k, v", "attention", "attention output",
                                                     "gate and up", "down",    "experts",   "per-layer embeddings",
                                                     "norms",       "head"};
    return (unsigned)part < FACET_N_PARTS ? names[part] : NULL;
}

facet_status facet_engine_get_stats(facet_engine *e, facet_engine_stats *stats) {
    FACET_TRY(options_check("facet_engine_stats", stats->size, sizeof *stats, NULL));
    scheduler_lock(&e->scheduler);
    scheduler_counts c = e->scheduler.counts;
    uint64_t used = kv_cache_used_bytes(e->kv), cached = kv_cache_cached_bytes(e->kv);
    scheduler_unlock(&e->scheduler);
    *stats = (facet_engine_stats){.size = sizeof *stats,
                                  .n_sessions = c.n_sessions,
                                  .n_running = c.n_running,
                                  .n_waiting = c.n_waiting,
                                  .last_step_sessions = c.last_sessions,
                                  .kv_bytes = kv_cache_bytes(e->kv),
                                  .kv_used_bytes = used,
                                  .kv_cached_bytes = cached,
                                  .n_steps = c.n_steps,
                                  .n_step_sessions = c.n_step_sessions,
                                  .n_tokens_prompt = c.n_tokens - c.n_single_tokens,
                                  .n_tokens_single = c.n_single_tokens,
                                  .n_tokens_reused = c.n_reused_tokens,
                                  .most_step_sessions = c.most_sessions,
                                  .busy_seconds = c.busy_seconds};
    memcpy(stats->part_seconds, c.part_seconds, sizeof c.part_seconds);
    return FACET_OK;
}
