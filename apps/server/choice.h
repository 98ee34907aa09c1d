/* What becomes of generated tokens: text, thoughts, tool calls and log probabilities of one answer. Owns the reading
 * of the model's output; knows nothing of sessions. */
#ifndef FACET_SERVER_CHOICE_H
#define FACET_SERVER_CHOICE_H

#include "job.h"

typedef struct choice_reader {
    job *j;
    choice *c;
    size_t index;                        /* of the choice */
    facet_reply_parser *parser;          /* NULL: everything is content */
    int32_t open, close, call, call_end; /* tokens that begin and end thoughts and calls; -1: there are none */
    bool in_thought, in_call;
    bool in_head; /* of a thought: its name is still coming */
    bool over;    /* no more is wanted: one call was asked for, or the thought is too long */
    bool no_memory;
} choice_reader;

facet_status choice_reader_init(choice_reader *r, job *j, size_t index, facet_error *error);
void choice_reader_push(choice_reader *r, const facet_token *token);
/* The thought has used its budget and is still open. */
bool choice_reader_exhausted(const choice_reader *r);
void choice_reader_finish(choice_reader *r);
void choice_reader_free(choice_reader *r);

/* {token, logprob, bytes, top_logprobs} of OpenAI's API; NULL: no memory. */
json_t *logprob_entry(const facet_model *model, const facet_token *token);

#endif
