/* Connections as a whole: who may ask, who has asked (the access log), who is gone, who is too slow. */
#ifndef FACET_SERVER_ACCESS_H
#define FACET_SERVER_ACCESS_H

#include "http.h"

/* A copy of the origin where its pages may read the answer ("*" where all may); NULL: they may not, or there is none.
 */
char *access_origin(const server *s, const char *origin, const char *host);
bool access_host_allowed(const server *s, const char *host);
/* Different for each key. */
uint64_t access_salt(const key_ring *keys, size_t key);

connection *access_connect(server *s, int fd); /* NULL: no memory; then the connection is not watched */
void access_disconnect(server *s, connection *c);
void access_begin(exchange *x, struct MHD_Connection *c);
void access_end(exchange *x, bool complete);
size_t access_n_open(server *s); /* requests that are not answered */

/* Looks at all connections: cancels the requests of those who have left, ends those that are too slow, sends pings.
 * To be called a few times a second. */
void access_watch(server *s);
void access_cancel_all(server *s);

#endif
