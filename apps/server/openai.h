/* The routes of OpenAI's API that generate. */
#ifndef FACET_SERVER_OPENAI_H
#define FACET_SERVER_OPENAI_H

#include "job.h"

void openai_chat(exchange *x);
void openai_completions(exchange *x);
/* Sets everything of a chat request but its settings: what /apply-template needs. */
bool openai_read_messages(job *j);

#endif
