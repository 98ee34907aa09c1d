/* See stream.h. What is copied, compared or hashed at once is a piece, so that nobody holds the lock for long. */
#include "source/stream.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/sha256.h"
#include "os/system.h"

enum { PIECE = 1 << 20 };
static const double GLANCE = 0.05; /* seconds between two questions whether to stop */

struct stream {
    atomic_int references;
    uint8_t *data;
    size_t n_bytes;
    atomic_bool failed;   /* for a look without the lock */
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t changed;
    ranges got;
    uint64_t n_fed; /* calls that brought something, to see whether anything happens */
    facet_error failure;
    bool is_right; /* whole, and checked where there is something to check */
    bool has_sum, hashing;
    uint8_t expected[SHA256_BYTES];
    sha256 sum;
    size_t n_hashed;
};

/* ---- life */

static bool open_lock(stream *s) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    bool ok = pthread_mutex_init(&s->lock, NULL) == 0;
    if (ok && pthread_cond_init(&s->changed, &monotonic) != 0) {
        pthread_mutex_destroy(&s->lock);
        ok = false;
    }
    pthread_condattr_destroy(&monotonic);
    return ok;
}

facet_status stream_new(stream **out, size_t n_bytes, const uint8_t *digest, facet_error *err) {
    *out = NULL;
    stream *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    s->data = os_pages_new(n_bytes);
    if (!s->data || !open_lock(s)) {
        os_pages_free(s->data, n_bytes);
        free(s);
        return error_memory(err, n_bytes);
    }
    atomic_init(&s->references, 1);
    s->n_bytes = n_bytes;
    s->has_sum = digest != NULL;
    if (digest) memcpy(s->expected, digest, SHA256_BYTES);
    sha256_begin(&s->sum);
    *out = s;
    return FACET_OK;
}

stream *stream_ref(stream *s) {
    atomic_fetch_add(&s->references, 1);
    return s;
}

void stream_free(stream *s) {
    if (!s || atomic_fetch_sub(&s->references, 1) > 1) return;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    os_pages_free(s->data, s->n_bytes);
    ranges_free(&s->got);
    free(s);
}

const uint8_t *stream_data(const stream *s) { return s->data; }
size_t stream_bytes(const stream *s) { return s->n_bytes; }

/* ---- failing; the functions that end in _locked hold the lock */

static void fail_locked(stream *s, const facet_error *failure) {
    if (s->is_right || atomic_load(&s->failed)) return;
    s->failure = *failure;
    atomic_store(&s->failed, true);
    pthread_cond_broadcast(&s->changed);
}

static facet_status failure_locked(const stream *s, facet_error *err) {
    if (!atomic_load(&s->failed)) return FACET_OK;
    return error_at(err, s->failure.status, s->failure.position, "%s", s->failure.message);
}

void stream_fail(stream *s, facet_status status, const char *message) {
    facet_error failure;
    error_set(&failure, status, "%s", message);
    pthread_mutex_lock(&s->lock);
    fail_locked(s, &failure);
    pthread_mutex_unlock(&s->lock);
}

facet_status stream_failure(stream *s, facet_error *err) {
    if (!atomic_load(&s->failed)) return FACET_OK;
    pthread_mutex_lock(&s->lock);
    facet_status status = failure_locked(s, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* ---- the checksum */

static void compare_sum_locked(stream *s) {
    uint8_t found[SHA256_BYTES];
    char text[2][2 * SHA256_BYTES + 1];
    facet_error failure;
    sha256_end(&s->sum, found);
    if (memcmp(found, s->expected, SHA256_BYTES) == 0) {
        s->is_right = true;
        return;
    }
    sha256_text(found, text[0]);
    sha256_text(s->expected, text[1]);
    error_set(&failure, FACET_ERROR_FORMAT, "the SHA-256 of what arrived is %s, expected %s", text[0], text[1]);
    fail_locked(s, &failure);
}

/* At most two pieces of what has arrived without a hole; the lock is open meanwhile. Those who feed do this, a little
 * faster than they feed, so that at the end little is left. */
static void hash_some_locked(stream *s) {
    size_t prefix = ranges_prefix(&s->got), n = prefix - s->n_hashed;
    if (!s->has_sum || s->hashing || s->is_right || n == 0) return;
    if (n > 2 * PIECE) n = 2 * PIECE;
    s->hashing = true;
    pthread_mutex_unlock(&s->lock);
    sha256_add(&s->sum, s->data + s->n_hashed, n);
    pthread_mutex_lock(&s->lock);
    s->hashing = false;
    s->n_hashed += n;
    if (s->n_hashed == s->n_bytes) compare_sum_locked(s);
    pthread_cond_broadcast(&s->changed);
}

/* ---- feeding */

static facet_status refuse_difference(stream *s, size_t at, facet_error *err) {
    facet_error failure;
    error_at(&failure, FACET_ERROR_FORMAT, at, "byte %zu arrived twice, and not the same", at);
    fail_locked(s, &failure);
    return failure_locked(s, err);
}

static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t n) {
    size_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* What is there is compared, the rest is copied. */
static facet_status place_locked(stream *s, size_t begin, const uint8_t *data, size_t n, facet_error *err) {
    size_t end = begin + n, at = begin;
    while (at < end) {
        range hole = {end, end};
        ranges_hole(&s->got, at, end, &hole);
        const uint8_t *known = s->data + at, *fed = data + (at - begin);
        if (memcmp(known, fed, hole.begin - at) != 0) {
            return refuse_difference(s, at + first_difference(known, fed, hole.begin - at), err);
        }
        if (hole.begin < end) memcpy(s->data + hole.begin, data + (hole.begin - begin), hole.end - hole.begin);
        at = hole.end;
    }
    ranges_add(&s->got, begin, end);
    return FACET_OK;
}

static facet_status reserve_locked(stream *s, size_t begin, size_t end, facet_error *err) {
    switch (ranges_reserve(&s->got, begin, end)) {
    case RANGES_OK: return FACET_OK;
    case RANGES_NO_MEMORY: return error_memory(err, s->got.capacity * sizeof(range));
    case RANGES_TOO_MANY: break;
    }
    return error_at(err, FACET_ERROR_STATE, begin, "%d separate ranges have arrived: fill holes before more come",
                    RANGES_MOST);
}

static facet_status feed_piece(stream *s, size_t begin, const uint8_t *data, size_t n, facet_error *err) {
    pthread_mutex_lock(&s->lock);
    facet_status status = failure_locked(s, err);
    if (status == FACET_OK) status = reserve_locked(s, begin, begin + n, err);
    if (status == FACET_OK) status = place_locked(s, begin, data, n, err);
    if (status == FACET_OK) {
        s->n_fed++;
        if (!s->has_sum && s->got.n_bytes == s->n_bytes) s->is_right = true;
        pthread_cond_broadcast(&s->changed);
        hash_some_locked(s);
        status = failure_locked(s, err);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

facet_status stream_feed(stream *s, uint64_t offset, const void *data, size_t n, facet_error *err) {
    if (offset > s->n_bytes || n > s->n_bytes - offset) {
        return error_at(err, FACET_ERROR_ARGUMENT, offset,
                        "%zu bytes at %llu are outside of the whole, which has %zu bytes", n,
                        (unsigned long long)offset, s->n_bytes);
    }
    if (n == 0) return stream_failure(s, err);
    if (!data) return error_set(err, FACET_ERROR_ARGUMENT, "no data: the pointer is NULL");
    const uint8_t *p = data;
    for (size_t at = 0; at < n; at += PIECE) {
        FACET_TRY(feed_piece(s, (size_t)offset + at, p + at, n - at < PIECE ? n - at : PIECE, err));
    }
    return FACET_OK;
}

/* ---- waiting */

static void doze_locked(stream *s, double seconds) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double whole = floor(seconds);
    t.tv_sec += (time_t)whole;
    t.tv_nsec += (long)((seconds - whole) * 1e9);
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&s->changed, &s->lock, &t);
}

static facet_status wait_locked(stream *s, size_t begin, size_t end, double timeout, stream_stop_fn stop, void *ctx,
                                facet_error *err) {
    uint64_t seen = s->n_fed;
    double since = os_now();
    for (;;) {
        FACET_TRY(failure_locked(s, err));
        if (ranges_hold(&s->got, begin, end)) return FACET_OK;
        if (stop && stop(ctx)) return error_set(err, FACET_ERROR_CANCELLED, "cancelled");
        double now = os_now();
        if (s->n_fed != seen) since = now;
        seen = s->n_fed;
        double left = timeout - (now - since);
        if (!(left > 0)) {
            return error_at(err, FACET_ERROR_TIMEOUT, begin,
                            "bytes %zu to %zu have not arrived, and nothing else for %g seconds", begin, end,
                            timeout);
        }
        doze_locked(s, stop && left > GLANCE ? GLANCE : left < 3600 ? left : 3600);
    }
}

facet_status stream_wait(stream *s, size_t begin, size_t end, double timeout, stream_stop_fn stop, void *ctx,
                         facet_error *err) {
    pthread_mutex_lock(&s->lock);
    facet_status status = wait_locked(s, begin, end, timeout, stop, ctx, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

size_t stream_arrived(stream *s) {
    pthread_mutex_lock(&s->lock);
    size_t n = s->got.n_bytes;
    pthread_mutex_unlock(&s->lock);
    return n;
}

size_t stream_prefix(stream *s) {
    pthread_mutex_lock(&s->lock);
    size_t n = ranges_prefix(&s->got);
    pthread_mutex_unlock(&s->lock);
    return n;
}

bool stream_has(stream *s, size_t begin, size_t end) {
    pthread_mutex_lock(&s->lock);
    bool has = ranges_hold(&s->got, begin, end);
    pthread_mutex_unlock(&s->lock);
    return has;
}

bool stream_hole(stream *s, size_t from, range *hole) {
    pthread_mutex_lock(&s->lock);
    bool found = ranges_hole(&s->got, from, s->n_bytes, hole);
    pthread_mutex_unlock(&s->lock);
    return found;
}

static facet_status finish_locked(stream *s, facet_error *err) {
    range hole;
    FACET_TRY(failure_locked(s, err));
    if (ranges_hole(&s->got, 0, s->n_bytes, &hole)) {
        return error_at(err, FACET_ERROR_TRUNCATED, hole.begin, "bytes %zu to %zu of %zu have not arrived",
                        hole.begin, hole.end, s->n_bytes);
    }
    while (!s->is_right && !atomic_load(&s->failed)) {
        if (s->hashing) /* by another thread */
            pthread_cond_wait(&s->changed, &s->lock);
        else
            hash_some_locked(s);
    }
    return failure_locked(s, err);
}

facet_status stream_finish(stream *s, facet_error *err) {
    pthread_mutex_lock(&s->lock);
    facet_status status = finish_locked(s, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}
