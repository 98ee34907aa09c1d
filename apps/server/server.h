/* The HTTP server: OpenAI's, Anthropic's and Ollama's interfaces over one engine. Owns: its threads, its connections
 * and the sessions of running requests. Borrows the options while it runs, and the model and the engine. Knows
 * nothing of the command line. */
#ifndef FACET_SERVER_H
#define FACET_SERVER_H

#include <facet.h>
#include <stdio.h>

typedef struct server_adapter {
    facet_adapter *adapter;
    const char *name; /* in requests */
    float scale;
} server_adapter;

typedef struct server_options {
    const char *host;                      /* an address or a name */
    int port;                              /* 0: any that is free */
    const char *unix_path;                 /* not NULL: listen there instead */
    const char *tls_certificate, *tls_key; /* files in PEM; NULL: no TLS */
    const char *const *api_keys;
    size_t n_api_keys;
    const char *api_key_file; /* one key a line; NULL: none */
    const char *const *cors;  /* origins whose pages may read answers; "*": all */
    size_t n_cors;
    const char *access_log;         /* a file that is appended to, "-": the standard output; NULL: none */
    const server_adapter *adapters; /* used by requests that name none */
    size_t n_adapters;
    const char *model_name; /* in answers */
    bool force;             /* listen beyond the loopback address without a key */
    int n_parallel;         /* requests that run at once */
    int n_queue;            /* and wait for their turn */
    size_t max_body_bytes;
    int timeout_seconds;     /* for a client that neither sends nor takes anything */
    int drain_seconds;       /* for running requests, after a signal to stop */
    facet_sampling sampling; /* where a request says nothing */
    int32_t max_tokens;
    bool context_shift; /* when the context is full the oldest turns leave */
} server_options;

/* What makes the model while the server answers already that it is loading. */
typedef struct server_load {
    /* In a thread of its own: gives the model and the engine, which the server borrows, and sets the name and the
     * adapters in the options. 0, or an exit status after a line on the standard error. */
    int (*open)(void *ctx, server_options *options, facet_model **model, facet_engine **engine);
    void (*cancel)(void *ctx); /* from another thread: `open` shall give up soon */
    void *ctx;
} server_load;

/* Serves until SIGTERM or SIGINT comes. These two must be blocked in all threads, so call server_block_signals before
 * any are made. 0, or an exit status after a line on the standard error. */
void server_block_signals(void);
int server_run(server_options *options, const server_load *load);

#endif
