/* OpenAI's responses API. Nothing is stored: a request brings its whole conversation. */
#ifndef FACET_SERVER_RESPONSES_H
#define FACET_SERVER_RESPONSES_H

#include "job.h"

void openai_responses(exchange *x);

/* Reads the body; items of input become messages. False: refused. */
bool responses_read(job *j);
/* The response as an object: of the answer so far, its status "in_progress", "completed" or "incomplete". Takes
 * output. */
json_t *responses_json(const job *j, const char *status, json_t *output);
/* One item of the output. */
json_t *responses_reasoning(const char *id, const text *t);
json_t *responses_message(const char *id, const text *t, const char *status, json_t *logprobs);
json_t *responses_call(const char *id, const json_t *call, const char *status);

extern const answer_shape responses_stream;
bool responses_stream_prepare(job *j); /* false: refused */

#endif
