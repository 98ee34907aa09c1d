/* struct facet_engine: threads, kernels, scratch and KV memory of one model. Owns: these, and the lock under which
 * steps run. Knows nothing of timelines and text. */
#ifndef FACET_ENGINE_ENGINE_H
#define FACET_ENGINE_ENGINE_H

#include <pthread.h>

#include "engine/model.h"
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
    kv_cache *kv;
    float *logits; /* [FORWARD_HEAD_ROWS][n_vocab], pages untouched until something is scored */
    size_t logits_bytes;
    uint64_t scratch_bytes;
    pthread_mutex_t lock; /* held for one step: forward, kv and logits are used under it alone */
};

facet_engine *engine_ref(facet_engine *e);

#endif
