/* Settings of a generation under the names of OpenAI's API and its relatives. */
#ifndef FACET_SERVER_PARAMS_H
#define FACET_SERVER_PARAMS_H

#include "job.h"

/* temperature, top_p, ..., seed, logit_bias, stop: what chat and plain completions have in common. */
bool params_read(job *j, const fields *f);
/* Temperature, top_k, ... alone, under these names. */
bool params_sampling(job *j, const fields *f);
/* A string or an array of strings. */
bool params_stop(job *j, const fields *f, const char *name);
bool params_stream(job *j, const fields *f);
/* reasoning_effort, chat_template_kwargs, budgets. */
bool params_thinking(job *j, const fields *f);

#endif
