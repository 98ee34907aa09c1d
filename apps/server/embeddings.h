/* Embeddings: the mean of the final hidden states, normalised to length 1. */
#ifndef FACET_SERVER_EMBEDDINGS_H
#define FACET_SERVER_EMBEDDINGS_H

#include "job.h"

void openai_embeddings(exchange *x);
void ollama_embed(exchange *x);
void ollama_embeddings(exchange *x); /* the older route, one text */

#endif
