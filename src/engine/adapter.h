/* struct facet_adapter: an opened adapter file, immutable and reference counted; and the sets of adapters that
 * sessions hold. Owns: the source of the bytes, what was read of it, a reference to the model. Knows nothing of
 * timelines. */
#ifndef FACET_ENGINE_ADAPTER_H
#define FACET_ENGINE_ADAPTER_H

#include "engine/model.h"
#include "lora/lora.h"

struct facet_adapter {
    atomic_int references;
    uint64_t serial; /* among all that were ever opened for the model, from 1 */
    facet_model *model;
    source *source;
    lora_adapter lora;
};

/* The adapters of a session, each held by a reference. Never changed: another choice is another set. */
typedef struct adapter_set {
    lora_set lora;
    facet_adapter **held; /* [lora.n] */
} adapter_set;

/* *out is NULL for an empty set. */
facet_status adapter_set_new(adapter_set **out, const facet_model *model, const facet_adapter_use *uses, size_t n,
                             facet_error *err);
void adapter_set_free(adapter_set *set);
/* The same adapters with the same scales in the same order. NULL is the empty set. */
bool adapter_set_equal(const adapter_set *a, const adapter_set *b);
/* A number for what a set does to keys and values: other adapters, scales or order give another one. 0: the empty
 * set. */
uint64_t adapter_set_key(const adapter_set *set);

#endif
