/* One request and its answer, between the thread of the connections and the threads that work. Owns: the body that
 * came in, the bytes that go out, and who waits for whom. Two hold it, the connection and the work; the last one
 * frees it. Knows nothing of what the bytes mean.
 *
 * The functions here are for the thread that works, unless said otherwise. An answer is either whole (exchange_reply)
 * or a stream (exchange_begin_stream, exchange_write, exchange_finish). */
#ifndef FACET_SERVER_EXCHANGE_H
#define FACET_SERVER_EXCHANGE_H

#include "fields.h"
#include "state.h"
#include "text.h"

#include <jansson.h>

struct MHD_Connection;
struct route;

typedef enum api_style { API_OPENAI, API_ANTHROPIC, API_OLLAMA } api_style; /* the shape of errors */

/* For the access log and the metrics. */
typedef struct exchange_notes {
    size_t prompt_tokens, cached_tokens, generated_tokens;
    const char *finish; /* a constant; NULL: nothing was generated */
} exchange_notes;

typedef struct exchange {
    server *server;
    const struct route *route; /* NULL: there is none */
    api_style style;
    char method[12];
    char *path, *query_name; /* the argument `name` of the query, NULL: none */
    char id[32];             /* of the request, in the header x-request-id */
    char remote[64];
    char *origin;  /* of the page that asks, when its origin may read the answer; NULL: none */
    size_t key;    /* the number of the API key, 0: none */
    uint64_t salt; /* of the KV cache */
    text body;     /* of the request */
    double received;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t taken; /* bytes went out, the answer is there, or somebody has let go */
    int references;
    struct MHD_Connection *connection; /* NULL once it is over */
    int fd;
    bool body_too_large, suspended;
    atomic_bool submitted; /* all of the request is there */
    atomic_bool cancelled; /* nobody waits for the answer any more */
    int status;            /* 0 until the answer begins */
    const char *content_type;
    const char *location, *cache_control;
    int retry_after; /* seconds; 0: no such header */
    bool streaming, finished;
    const void *constant; /* a whole answer that is not in `out` */
    size_t n_constant;
    text out;
    size_t out_at; /* bytes of `out` that are gone */
    size_t n_sent;
    double first_byte, last_write;
    exchange_notes notes;
} exchange;

/* On the thread of the connections. */
exchange *exchange_new(server *s, struct MHD_Connection *client, const char *method, const char *path);
void exchange_hold(exchange *x);
void exchange_release(exchange *x);
/* From any thread: nobody waits for the answer any more. */
void exchange_cancel(exchange *x);
/* With x->lock held: the connection goes on when it is suspended. */
void exchange_wake(exchange *x);

/* Waits for a whole answer without a connection. False: the work was cancelled and has let go of the exchange. */
bool exchange_wait(exchange *x);

bool exchange_is_cancelled(exchange *x);
void exchange_reply(exchange *x, int status, const char *content_type, const char *data, size_t n);
/* Data that lives for ever is not copied. */
void exchange_reply_constant(exchange *x, const char *content_type, const void *data, size_t n);
/* Takes the JSON; NULL is answered as a lack of memory. */
void exchange_reply_json(exchange *x, int status, json_t *json);
/* The refusal in the shape of the API. */
void exchange_refuse(exchange *x, const request_error *e);
void exchange_fail(exchange *x, int status, const char *code, const char *message);
/* The same as JSON: of the API's errors, for events inside a stream. */
json_t *exchange_error_json(const exchange *x, const request_error *e);

void exchange_begin_stream(exchange *x, const char *content_type);
/* Waits while the client takes nothing and much is waiting. False: the client is gone, or there is no memory. */
bool exchange_write(exchange *x, const char *data, size_t n);
/* A server-sent event ("event: NAME" unless NULL, "data: JSON"). Takes the JSON. */
bool exchange_event(exchange *x, const char *name, json_t *json);
/* A line of JSON. Takes it. */
bool exchange_line(exchange *x, json_t *json);
void exchange_finish(exchange *x);
/* A comment in a stream of events, if nothing is waiting. From any thread. */
void exchange_ping(exchange *x);

#endif
