/* Answers that must have a form: JSON, a schema, a grammar, a tool call. Owns how these become what the engine
 * enforces. */
#ifndef FACET_SERVER_CONSTRAIN_H
#define FACET_SERVER_CONSTRAIN_H

#include "job.h"

/* Reads response_format and grammar. False: refused. */
bool constrain_read_format(job *j, const fields *f);
/* Reads Ollama's format: "json" or a schema. */
bool constrain_read_ollama(job *j, const fields *f);
/* After the prompt is made: builds what the generation needs. False: refused, never ignored. */
bool constrain_prepare(job *j);
void constrain_free(job *j);

#endif
