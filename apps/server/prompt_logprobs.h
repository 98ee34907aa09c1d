/* Log probabilities of the tokens of a prompt, for an answer that repeats it. */
#ifndef FACET_SERVER_PROMPT_LOGPROBS_H
#define FACET_SERVER_PROMPT_LOGPROBS_H

#include "job.h"

/* Computes the prompt on the session and puts an entry for each of its tokens in front of those of the choice; the
 * first token's logprob is null. */
facet_status prompt_logprobs(job *j, choice *c, facet_session *session, const prompt_ids *prompt, facet_error *error);

#endif
