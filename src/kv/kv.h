/* The KV cache: keys and values of past positions, in pages of 64 positions. Owns: the memory, which page holds which
 * positions of a sequence, and what later sequences may share. Knows nothing of how keys are computed or scored.
 *
 * There are two kinds of pages, since they age differently: a full page holds 64 positions of all full-attention
 * layers that own their KV, a sliding page those of all sliding layers. A sequence keeps its full pages as long as it
 * lives and lets go of sliding pages behind the window. What was computed is published in an index of prefixes: other
 * sequences with the same beginning hold the same pages, and what no sequence holds stays as cache until the memory
 * is needed. A partly filled page is written by one sequence; others copy it.
 *
 * Inside a page, per layer: [head][64 rows of keys], then [head][64 rows of values]; a row is one position.
 *
 * One thread at a time changes a cache and its sequences. Pages and lengths of sequences that are not being changed
 * may be read meanwhile. */
#ifndef FACET_KV_KV_H
#define FACET_KV_KV_H

#include "cpu/cpu.h"
#include "kv/prefix.h"
#include "model/hparams.h"

typedef struct kv_cache kv_cache;
typedef struct kv_sequence kv_sequence;

/* Pages of each kind that one sequence of n_context positions needs at most, computed ubatch tokens at a time. */
typedef struct kv_need {
    size_t n_full, n_sliding;
    size_t n_live; /* of the sliding pages, those that are held at once; the others keep a checkpoint */
    size_t full_page_bytes, sliding_page_bytes;
} kv_need;
facet_status kv_plan(const hparams *h, facet_kv_type type, size_t n_context, size_t ubatch, kv_need *out,
                     facet_error *err);
uint64_t kv_need_bytes(const kv_need *need);

/* Memory for at most `bytes` in all. Pages are touched when they are used, so a large cache costs nothing until then.
 */
facet_status kv_cache_new(kv_cache **out, const hparams *h, facet_kv_type type, const kv_need *need, uint64_t bytes,
                          facet_error *err);
void kv_cache_free(kv_cache *cache);
facet_kv_type kv_cache_type(const kv_cache *cache);
uint64_t kv_cache_bytes(const kv_cache *cache);
uint64_t kv_cache_used_bytes(const kv_cache *cache);   /* held by sequences */
uint64_t kv_cache_cached_bytes(const kv_cache *cache); /* kept for later sequences, given up on demand */

/* Sequences share what they have in common with those of the same key. */
facet_status kv_sequence_new(kv_sequence **out, kv_cache *cache, size_t n_context, kv_key key, facet_error *err);
void kv_sequence_free(kv_sequence *s);
/* Another key; the sequence is empty afterwards. */
void kv_sequence_set_key(kv_sequence *s, kv_key key);
kv_key kv_sequence_key(const kv_sequence *s);
facet_kv_type kv_sequence_type(const kv_sequence *s);
size_t kv_sequence_length(const kv_sequence *s); /* positions held */

/* Starts a timeline of n tokens: takes over the longest known prefix of at most `most` < n tokens, its own included,
 * and makes sure that the rest will find memory. kv_sequence_length tells what needs not be computed. The window in
 * front of the last CPU_PAGE positions of the n is worth keeping: later timelines often leave this one there.
 * FACET_ERROR_BUDGET: no memory for n positions beside what other sequences hold; the sequence is empty then. */
facet_status kv_sequence_begin(kv_sequence *s, const int32_t *tokens, size_t n, size_t most, facet_error *err);
/* Room for n more positions, which the caller then computes, and publishes before the next call on the sequence.
 * Never refused within what kv_sequence_begin took. FACET_ERROR_BUDGET: the sequence is as before. */
facet_status kv_sequence_extend(kv_sequence *s, size_t n, facet_error *err);
/* All positions are computed, those of tokens[0 .. length): others may share them from now on. */
void kv_sequence_publish(kv_sequence *s, const int32_t *tokens);
/* Forgets the positions from n on, none of which may have been published. */
void kv_sequence_shorten(kv_sequence *s, size_t n);
/* Lets go of memory that kv_sequence_begin took for positions that are not there. */
void kv_sequence_trim(kv_sequence *s);

/* Positions [from, from + n) leave the middle of a sequence, those behind them move up. Begins under the lock: the
 * pages from `from` on become the sequence's own and are never published again; kv_sequence_length is the new one.
 * Then the caller moves the rows of every owning layer, positions in ascending order: position p gets what p + n was,
 * its key rotated. Nobody else knows those pages, so no lock is needed for that. The end, under the lock, gives back
 * what is left over. */
typedef struct kv_shift {
    size_t from, n;
    size_t length;           /* positions afterwards */
    int32_t extra[KV_KINDS]; /* a page of rows to be moved that stands in no table any more */
} kv_shift;
/* Whether the rows that the next token would see are there: 0 < n, from + n < kv_sequence_length, and no window that
 * reaches back to positions before `from` that may have been let go. Depends on these numbers alone. */
bool kv_shift_possible(const kv_sequence *s, size_t from, size_t n);
/* FACET_ERROR_BUDGET: no memory for a page that others share; the sequence is as before. */
facet_status kv_shift_begin(kv_shift *out, kv_sequence *s, size_t from, size_t n, facet_error *err);
/* The first position of a layer that has to be moved; those before it stay, or nobody sees them. */
size_t kv_shift_first(const kv_shift *shift, const kv_sequence *s, uint32_t layer);
/* Where the rows of the page lie that held positions from page * CPU_PAGE on before. */
const uint8_t *kv_shift_keys(const kv_shift *shift, const kv_sequence *s, uint32_t layer, uint32_t head, size_t page);
const uint8_t *kv_shift_values(const kv_shift *shift, const kv_sequence *s, uint32_t layer, uint32_t head,
                               size_t page);
void kv_shift_end(kv_shift *shift, kv_sequence *s);
/* Whether rows of the sequence were moved, and from which position on. */
bool kv_sequence_moved(const kv_sequence *s, size_t *from);
/* Instead of kv_sequence_begin, for a moved sequence: n tokens of which the first `keep` are its own. False where
 * their window is gone: nothing was done. */
bool kv_sequence_continue(kv_sequence *s, size_t keep, size_t n, facet_status *status, facet_error *err);

/* The first row of a page's keys or values for one layer and KV head; NULL where the page is not held. `page` counts
 * pages of CPU_PAGE positions from position 0. `layer` is an owning layer. */
uint8_t *kv_keys(const kv_sequence *s, uint32_t layer, uint32_t head, size_t page);
uint8_t *kv_values(const kv_sequence *s, uint32_t layer, uint32_t head, size_t page);

/* Rows [0, n_rows) of a page that were copied to another page. */
enum { KV_MAX_COPIES = 64 };
typedef struct kv_copy {
    int kind;
    int32_t to, from;
    size_t n_rows;
} kv_copy;
/* From now on copies are noted, and refused when KV_MAX_COPIES of them were not taken. */
void kv_cache_watch_copies(kv_cache *cache);
/* Those since the last call, in order; returns how many. */
size_t kv_cache_take_copies(kv_cache *cache, kv_copy out[KV_MAX_COPIES]);
/* All is forgotten: every sequence is empty, the index too. */
void kv_cache_forget(kv_cache *cache);
/* For those who keep keys and values elsewhere, by the same pages: how many pages of a kind (KV_FULL, KV_SLIDING)
 * there can be, and which of them holds positions from page * CPU_PAGE on; NO_PAGE where none does. */
size_t kv_cache_pages(const kv_cache *cache, int kind);
size_t kv_cache_page_bytes(const kv_cache *cache, int kind);
/* Whether a sequence or the index knows the page. All such pages together are within the budget. */
bool kv_cache_keeps(const kv_cache *cache, int kind, int32_t page);
int32_t kv_sequence_page(const kv_sequence *s, int kind, size_t page);

#endif
