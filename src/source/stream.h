/* A whole of known size whose bytes arrive in pieces, in any order, from any threads, while others wait for some of
 * them. Owns: the memory, what has arrived, the SHA-256 of the whole, and how the stream failed, if it did: that is
 * for ever. Reference counted. Knows nothing of what the bytes mean.
 *
 * A byte never changes once it has arrived, so whoever was told that it is there may read it without a lock. */
#ifndef FACET_SOURCE_STREAM_H
#define FACET_SOURCE_STREAM_H

#include "base/error.h"
#include "source/ranges.h"

typedef struct stream stream;

/* `digest`: the SHA-256 that it must have, 32 bytes; NULL: not checked. The memory is taken from the system as the
 * bytes arrive. */
facet_status stream_new(stream **out, size_t n_bytes, const uint8_t *digest, facet_error *err);
stream *stream_ref(stream *s);
void stream_free(stream *s); /* gives one reference back */

const uint8_t *stream_data(const stream *s); /* [stream_bytes] aligned to a page */
size_t stream_bytes(const stream *s);

/* Bytes that have arrived before are compared: FACET_ERROR_FORMAT, and the stream has failed, when they differ.
 * FACET_ERROR_ARGUMENT: outside of the whole. FACET_ERROR_STATE: too many separate pieces. */
facet_status stream_feed(stream *s, uint64_t offset, const void *data, size_t n, facet_error *err);
/* From now on every call fails like this, and whoever waits. Only the first failure counts, and none after the whole
 * has arrived and was found right. */
void stream_fail(stream *s, facet_status status, const char *message);
facet_status stream_failure(stream *s, facet_error *err); /* FACET_OK unless it has failed; cheap */

/* Returns once the bytes [begin, end) are there. FACET_ERROR_TIMEOUT: nothing arrived for so many seconds (INFINITY:
 * never); FACET_ERROR_CANCELLED: `stop` (may be NULL), asked now and then, returned true. */
typedef bool (*stream_stop_fn)(void *ctx);
facet_status stream_wait(stream *s, size_t begin, size_t end, double timeout, stream_stop_fn stop, void *ctx,
                         facet_error *err);
size_t stream_arrived(stream *s); /* bytes */
size_t stream_prefix(stream *s);  /* bytes that have arrived from the start on, without a hole */
bool stream_has(stream *s, size_t begin, size_t end);
bool stream_hole(stream *s, size_t from, range *hole); /* the first one; false: none from there on */
/* Waits for nothing: FACET_ERROR_TRUNCATED with the position of the first hole. Checks the SHA-256. */
facet_status stream_finish(stream *s, facet_error *err);

#endif
