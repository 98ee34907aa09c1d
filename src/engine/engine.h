/* struct facet_engine: threads, kernels, scratch and KV memory of one model. Owns: these, and the scheduler
 * that shares them out. Knows nothing of timelines and text. */
#ifndef FACET_ENGINE_ENGINE_H
#define FACET_ENGINE_ENGINE_H

#include "backend/backend.h"
#include "engine/model.h"
#include "engine/scheduler.h"
#include "kv/kv.h"
#include "model/forward.h"

struct facet_engine {
    atomic_int references;
    facet_model *model;
    facet_engine_options options; /* every 0 that means "choose" replaced by the choice */
    uint32_t cpu_features;
    cpu_table *cpu;
    pool *threads;
    forward *forward;
    backend *backend; /* what computes: the forward pass above, or a device with it */
    kv_cache *kv;
    uint64_t scratch_bytes;
    scheduler scheduler;            /* forward is used by its steps alone, kv under its lock */
    atomic_uint_fast64_t n_private; /* sessions that share nothing, for their keys */
};

facet_engine *engine_ref(facet_engine *e);

#endif
