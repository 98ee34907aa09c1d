/* Anthropic's messages API. */
#ifndef FACET_SERVER_ANTHROPIC_H
#define FACET_SERVER_ANTHROPIC_H

#include "job.h"

void anthropic_messages(exchange *x);
void anthropic_count_tokens(exchange *x);

/* Reads the body as a request: messages, tools and thinking become those of OpenAI's shape. Of a count the settings
 * are not asked for. False: refused. */
bool anthropic_read(job *j, bool count);

#endif
