/* What serve and batch share: the model's name in answers, an engine for many requests, adapters by name. */
#ifndef FACET_CLI_SERVING_H
#define FACET_CLI_SERVING_H

#include "app.h"
#include "server.h"

void serving_name(const app *a, char *out, size_t n);
/* With memory for the keys and values of --parallel requests, each with a full context. */
int serving_engine(app *a);
/* Those of --adapter under the names of their files; the list is for the caller to free. */
int serving_adapters(const app *a, server_adapter **out);

#endif
