/* The routes of OpenAI's API that generate. */
#ifndef FACET_SERVER_OPENAI_H
#define FACET_SERVER_OPENAI_H

#include "job.h"

void openai_chat(exchange *x);

#endif
