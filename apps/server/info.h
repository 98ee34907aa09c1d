/* Routes that tell about the server and do no work: they never wait. */
#ifndef FACET_SERVER_INFO_H
#define FACET_SERVER_INFO_H

#include "exchange.h"

void info_health(exchange *x);
void info_models(exchange *x);
void info_model(exchange *x); /* /v1/models/NAME */
void info_metrics(exchange *x);
void info_props(exchange *x);
void info_slots(exchange *x);

#endif
