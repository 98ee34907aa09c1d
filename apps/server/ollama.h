/* Ollama's API, for front ends that speak only that. */
#ifndef FACET_SERVER_OLLAMA_H
#define FACET_SERVER_OLLAMA_H

#include "job.h"

void ollama_chat(exchange *x);
void ollama_generate(exchange *x);
void ollama_tags(exchange *x);
void ollama_show(exchange *x);
void ollama_ps(exchange *x);
void ollama_version(exchange *x);

/* Reads the body of chat or generate. *loads: there is nothing to answer, the model is only to be loaded. */
bool ollama_read_chat(job *j, bool *loads);
bool ollama_read_generate(job *j, bool *loads);
void ollama_time(char *out, size_t n); /* now, as RFC 3339 */

#endif
