/* The server from the inside: what its parts share. Only server.c makes and ends it. */
#ifndef FACET_SERVER_STATE_H
#define FACET_SERVER_STATE_H

#include "adapters.h"
#include "jobs.h"
#include "keys.h"
#include "metrics.h"
#include "server.h"

#include <pthread.h>
#include <stdatomic.h>

struct MHD_Daemon;
struct exchange;

typedef struct connection connection;

typedef struct server {
    const server_options *options; /* the model's name and the adapters: as what follows */
    atomic_bool ready;             /* what follows is there: the model, up to engine_info */
    facet_model *model;
    facet_engine *engine;
    facet_model_info info;
    facet_engine_info engine_info;
    struct MHD_Daemon *daemon;
    key_ring keys;
    metrics metrics;
    job_queue front; /* short work: reading requests, lists, tokens */
    job_queue slots; /* generation: as many threads as requests run at once */
    adapter_list adapters;
    FILE *access_log;
    bool loopback; /* reachable from this machine alone */
    atomic_bool draining;
    int64_t started; /* seconds since 1970 */

    pthread_mutex_t lock; /* of the list of connections */
    connection *connections;
    size_t n_open; /* exchanges that are not finished */
} server;

double clock_seconds(void); /* monotonic */

#endif
