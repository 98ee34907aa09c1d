/* The server's routes without HTTP: the same requests and answers for programs that have them in files. Owns the
 * threads that compute; borrows the model, the engine and the options while it lives. */
#ifndef FACET_SERVER_LOCAL_H
#define FACET_SERVER_LOCAL_H

#include "server.h"
#include "text.h"

typedef struct local_server local_server;

/* NULL: no memory or no thread. options->n_parallel requests are computed at the same time. */
local_server *local_server_new(const server_options *options, facet_model *model, facet_engine *engine);
/* No request may be running. */
void local_server_free(local_server *l);

/* Whether a path takes POST requests whose answers are whole. */
bool local_server_takes(const char *path);
/* Asks and waits. Returns the status of HTTP, with the body in `out` and the number of the request in `id`, or 0 for
 * lack of memory. Any thread, at most n_parallel at a time. */
int local_server_ask(local_server *l, const char *path, const char *body, size_t n, text *out, char id[32]);

#endif
