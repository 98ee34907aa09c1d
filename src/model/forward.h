/* The forward pass: tokens in, hidden states and logits out, keys and values into the KV cache. Owns: the scratch
 * memory of a step. Borrows: the model, the kernels and the threads. Knows nothing of sessions, sampling or text.
 * The maths is that of the Gemma 4 text model; the layer loop is in forward.c, each part in its own file. */
#ifndef FACET_MODEL_FORWARD_H
#define FACET_MODEL_FORWARD_H

#include "kv/kv.h"
#include "lora/lora.h"
#include "model/weights.h"
#include "par/pool.h"

typedef struct forward forward;

/* Consecutive tokens of one sequence. Their positions must have been added to `kv` (kv_sequence_extend) before. */
typedef struct forward_segment {
    const kv_sequence *kv;
    const int32_t *tokens; /* each in [0, n_vocab) */
    size_t n;
    size_t position;          /* of the first token */
    size_t wanted_from;       /* the hidden states of tokens [wanted_from, n) are wanted; n: none */
    const lora_set *adapters; /* NULL: none; their rank was reserved (forward_reserve) */
} forward_segment;

/* Rows of logits that forward_head computes at once at most. */
enum { FORWARD_HEAD_ROWS = 16 };

/* Bytes of scratch that forward_new will reserve. Needs only shapes and formats, no data. */
facet_status forward_plan(const hparams *h, const weights *w, const cpu_table *cpu, size_t ubatch, int n_threads,
                          size_t *bytes, facet_error *err);
facet_status forward_new(forward **out, const hparams *h, const weights *w, const cpu_table *cpu, pool *threads,
                         size_t ubatch, facet_error *err);
void forward_free(forward *f);

/* Makes room for sets of adapters of that rank (lora_set.rank). Not while a step runs. */
facet_status forward_reserve(forward *f, size_t rank, facet_error *err);

/* Computes all segments together; their tokens are at most `ubatch`. *hidden gets the final hidden states (after
 * output_norm) of the wanted tokens, [*n_hidden][n_embd], in order; they live until the next step. */
void forward_step(forward *f, const forward_segment *segments, size_t n_segments, const float **hidden,
                  size_t *n_hidden);
/* logits[n_rows][n_vocab] of at most FORWARD_HEAD_ROWS of the hidden rows that the last step gave: `hidden` points to
 * the first of them, their adapters are those of the step. */
void forward_head(forward *f, const float *hidden, size_t n_rows, float *logits);
/* Hidden states that an earlier step gave take the place of the last step's, for forward_head. At most `ubatch` rows,
 * all with the same adapters; returns where they are now. */
const float *forward_recall(forward *f, const float *hidden, size_t n_rows, const lora_set *adapters);

/* Moves the rows of a shift (kv.h) to where the sequence has them now, on the caller's thread, also while a step of
 * other sequences runs. A key is turned back by the angles of its old position and on by those of the new one, the
 * same angles that a step takes. `work`: forward_shift_floats. */
size_t forward_shift_floats(const forward *f);
void forward_shift(const forward *f, const kv_sequence *kv, const kv_shift *shift, float *work);

/* For models that are still arriving: called on one thread before each layer, while the others wait; false ends the
 * step there, and nothing of it counts. NULL: none. */
typedef bool (*forward_gate)(void *ctx, uint32_t layer);
void forward_set_gate(forward *f, forward_gate fn, void *ctx);

/* A step in parts, for those who compute some of its layers elsewhere: forward_begin collects the rows and computes
 * their embeddings and angles; forward_layers computes layers [first, end), the residual stream of all rows being in
 * `x`, and after the last layer the final hidden states. See model/pass.h for the rows and buffers. */
void forward_begin(forward *f, const forward_segment *segments, size_t n_segments);
void forward_layers(forward *f, uint32_t first, uint32_t end);
void forward_results(const forward *f, const float **hidden, size_t *n_hidden);

/* For those who measure what products are fed: called before each product of a step, and for each expert, with its
 * inputs as floats: row i begins at x + (rows ? rows[i] : i) * w->m.n_cols. Calls for different matrices or experts
 * may come from several threads at once. Set between steps; NULL: none. */
typedef void (*forward_watcher)(void *ctx, const weight *w, uint32_t expert, const float *x, const uint32_t *rows,
                                size_t n_rows);
void forward_watch(forward *f, forward_watcher fn, void *ctx);

/* Seconds of each part of all steps so far, [FACET_N_PARTS]. Not while a step runs. */
const double *forward_part_seconds(const forward *f);

/* For tests: called on one thread after each layer with the residual stream of the rows still in the pass. */
typedef void (*forward_observer)(void *ctx, uint32_t layer, const float *x, size_t n_rows, size_t n_embd);
void forward_observe(forward *f, forward_observer fn, void *ctx);

#endif
