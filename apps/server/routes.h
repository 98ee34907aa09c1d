/* The table of routes: which function answers which path. */
#ifndef FACET_SERVER_ROUTES_H
#define FACET_SERVER_ROUTES_H

#include "exchange.h"

/* Answers on a thread for short work, or hands the exchange on. It holds the exchange and releases it. */
typedef void (*route_fn)(exchange *x);

typedef struct route {
    const char *method, *path; /* a path that ends in * takes what begins so */
    api_style style;
    bool is_public; /* needs no key */
    route_fn answer;
} route;

/* NULL: there is no such path. *other_method: there is one, but not for this method. */
const route *route_find(const char *method, const char *path, bool *other_method);
/* The style of errors for a path without a route. */
api_style route_style(const char *path);

#endif
