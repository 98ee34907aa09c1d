/* The chat page and its files, linked into the program. */
#ifndef FACET_SERVER_PAGE_H
#define FACET_SERVER_PAGE_H

#include "exchange.h"

/* GET / and /ui/NAME. */
void page_get(exchange *x);

#endif
