/* HTTP by libmicrohttpd: connections, headers, bodies, limits. Owns what happens on the thread of the connections; it
 * never waits there. Knows nothing of models. */
#ifndef FACET_SERVER_HTTP_H
#define FACET_SERVER_HTTP_H

#include "exchange.h"

/* A connection of a client, for the time-outs and for seeing that the client has gone. */
struct connection {
    struct connection *next;
    int fd;
    double since;      /* when its present phase began */
    exchange *current; /* NULL while it waits for the head of a request */
};

/* Serves the listening socket, which it takes. False: told on the standard error. */
bool http_start(server *s, int listener, const char *certificate, const char *key);
/* No new connections; those that there are go on. The listening socket, to be closed. */
int http_quiesce(server *s);
void http_stop(server *s); /* no exchange is suspended any more */

#endif
