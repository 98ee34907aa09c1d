/* What the server counts and shows at /metrics in the format of Prometheus. */
#ifndef FACET_SERVER_METRICS_H
#define FACET_SERVER_METRICS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { METRICS_BUCKETS = 14 };

typedef struct histogram {
    uint64_t buckets[METRICS_BUCKETS + 1]; /* the last one: beyond all bounds */
    double sum;
} histogram;

typedef struct metrics {
    pthread_mutex_t lock;
    uint64_t requests[6]; /* by the first digit of the status; 0: the client left */
    uint64_t finished[4]; /* by reason: stop, length, tool_calls, cancelled */
    uint64_t prompt_tokens, cached_tokens, generated_tokens, refused;
    double prompt_seconds, decode_seconds;
    histogram duration, first_token, token_gap, queue_wait;
} metrics;

void metrics_init(metrics *m);
void metrics_observe(metrics *m, histogram *h, double seconds);
/* One answer of a request that generated. */
typedef struct metrics_answer {
    size_t prompt_tokens, cached_tokens, generated_tokens;
    double prompt_seconds, decode_seconds;
} metrics_answer;
void metrics_add_answer(metrics *m, const metrics_answer *a);
void metrics_add_finish(metrics *m, int reason);
void metrics_add_request(metrics *m, int status, double seconds);

#endif
