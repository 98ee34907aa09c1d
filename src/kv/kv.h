/* The KV cache: keys and values of past positions, in pages of 64 positions. Owns: the memory, which pages are free,
 * and which page holds which positions of a sequence. Knows nothing of how keys are computed or scored.
 *
 * There are two pools, since they age differently: a page of the full pool holds 64 positions of all full-attention
 * layers that own their KV, a page of the sliding pool those of all sliding layers. Full pages live as long as their
 * positions; sliding pages behind the window are given back, except those in front of the sequence's checkpoint.
 *
 * Inside a page, per layer: [head][64 rows of keys], then [head][64 rows of values]; a row is one position. */
#ifndef FACET_KV_KV_H
#define FACET_KV_KV_H

#include "cpu/cpu.h"
#include "model/hparams.h"

typedef struct kv_cache kv_cache;
typedef struct kv_sequence kv_sequence;

/* Pages of each pool that one sequence of n_context positions needs at most, computed ubatch tokens at a time. */
typedef struct kv_need {
    size_t n_full, n_sliding;
    size_t full_page_bytes, sliding_page_bytes;
} kv_need;
facet_status kv_plan(const hparams *h, facet_kv_type type, size_t n_context, size_t ubatch, kv_need *out,
                     facet_error *err);
uint64_t kv_need_bytes(const kv_need *need);

/* Memory for at most `bytes` in all, split between the pools in the proportion of `need`. Pages are touched when they
 * are used, so a large cache costs nothing until then. */
facet_status kv_cache_new(kv_cache **out, const hparams *h, facet_kv_type type, const kv_need *need, uint64_t bytes,
                          facet_error *err);
void kv_cache_free(kv_cache *cache);
facet_kv_type kv_cache_type(const kv_cache *cache);
uint64_t kv_cache_bytes(const kv_cache *cache);

facet_status kv_sequence_new(kv_sequence **out, kv_cache *cache, size_t n_context, facet_error *err);
void kv_sequence_free(kv_sequence *s);
facet_kv_type kv_sequence_type(const kv_sequence *s);
size_t kv_sequence_length(const kv_sequence *s); /* positions held */

/* Makes room for n more positions, which the caller then writes. Sliding pages that no position from the present
 * length on can see are given back first. FACET_ERROR_BUDGET when the cache is full: the sequence is as before. */
facet_status kv_sequence_extend(kv_sequence *s, size_t n, facet_error *err);
/* The longest length <= n to which the sequence can be cut and still go on: n itself while the window before it is
 * held, else 0. */
size_t kv_sequence_resumable(const kv_sequence *s, size_t n);
void kv_sequence_cut(kv_sequence *s, size_t n); /* n <= length */
/* Keeps the window before `position` and before the CPU_PAGE positions in front of it until the next checkpoint. */
void kv_sequence_set_checkpoint(kv_sequence *s, size_t position);

/* The first row of a page's keys or values for one layer and KV head; NULL where the page is not held. `page` counts
 * pages of CPU_PAGE positions from position 0. `layer` is an owning layer. */
uint8_t *kv_keys(const kv_sequence *s, uint32_t layer, uint32_t head, size_t page);
uint8_t *kv_values(const kv_sequence *s, uint32_t layer, uint32_t head, size_t page);

#endif
