/* The tensors of a model that is still arriving, as a step needs them: stage after stage. Owns: a hold on the stream,
 * which tensor belongs to which stage, and how many stages are there. Knows nothing of steps and sessions. */
#ifndef FACET_ENGINE_ARRIVAL_H
#define FACET_ENGINE_ARRIVAL_H

#include "gguf/gguf.h"
#include "model/weights.h"
#include "source/stream.h"

typedef struct arrival arrival;

/* `w` was bound late, to `file`; both are borrowed. */
facet_status arrival_new(arrival **out, stream *from, double timeout, const gguf_file *file, weights *w,
                         const hparams *h, facet_error *err);
void arrival_free(arrival *a);

/* Returns once everything that the stages up to `stage` (see weights.h) read is there. Nothing but a look where it is
 * already. FACET_ERROR_TIMEOUT, FACET_ERROR_CANCELLED as stream_wait; a stream that has failed gives its own status,
 * but FACET_ERROR_STATE where it was cancelled. NULL: a model that is there. Any thread. */
facet_status arrival_wait(arrival *a, uint32_t stage, stream_stop_fn stop, void *ctx, facet_error *err);

#endif
