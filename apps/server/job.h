/* A request for generated text, whatever its API: prompts, settings, and what has been generated so far. The routes
 * make one from JSON (params.h, messages.h), run.c computes it, and the answer_shape of the API turns it to JSON
 * again. */
#ifndef FACET_SERVER_JOB_H
#define FACET_SERVER_JOB_H

#include "exchange.h"
#include "turns.h"

typedef enum finish_reason { FINISH_STOP, FINISH_LENGTH, FINISH_TOOL_CALLS, FINISH_CANCELLED } finish_reason;

/* One answer. */
typedef struct choice {
    text content, reasoning;
    json_t *calls; /* array of {id, name, arguments}, the arguments as JSON in a string */
    json_t
        *logprobs; /* array in OpenAI's shape {token, logprob, bytes, top_logprobs}, of content; NULL: not wanted */
    size_t n_told; /* of them a stream has sent */
    finish_reason finish;
    facet_stop_reason reason;
    const char *stop;                /* the string that ended it; NULL: none did */
    size_t n_generated, n_reasoning; /* tokens */
    double decode_seconds;
} choice;

typedef struct prompt_ids {
    int32_t *ids;
    size_t n;
    size_t history; /* tokens that later turns share; 0: not known */
} prompt_ids;

typedef struct job job;

/* What an API makes of the pieces; each may be NULL. Whole answers need `end` alone. On any of the threads of the
 * job, one call at a time. */
typedef struct answer_shape {
    void (*start)(job *j); /* before the prompt is read */
    void (*piece)(job *j, size_t choice, facet_reply_event_type type, const char *text, size_t n);
    void (*call)(job *j, size_t choice, const json_t *call, size_t index);
    void (*choice_end)(job *j, size_t choice);
    void (*end)(job *j);
} answer_shape;

typedef enum tool_mode { TOOLS_AUTO, TOOLS_NONE, TOOLS_REQUIRED, TOOLS_NAMED } tool_mode;
typedef enum format_kind { FORMAT_TEXT, FORMAT_JSON, FORMAT_SCHEMA, FORMAT_GRAMMAR } format_kind;

struct job {
    exchange *x;
    server *server;
    const answer_shape *shape;
    char id[48]; /* of the answer: the API's prefix and a number */
    int64_t created;
    request_error error;

    facet_value *body;             /* the request; much below borrows from it */
    facet_value *request;          /* what another API's body became; NULL: nothing */
    facet_value *messages, *tools; /* in OpenAI's shape; tools NULL: none */
    bool is_chat;                  /* the answer is read as a chat's: thoughts, tool calls */
    bool thinking, preserve_thinking, continues;
    int32_t thinking_budget; /* tokens; -1: no limit */
    tool_mode tool_mode;
    const char *tool_name; /* TOOLS_NAMED */
    bool parallel_calls;
    format_kind format;
    const facet_value *schema; /* FORMAT_SCHEMA */
    const char *grammar;       /* FORMAT_GRAMMAR */
    adapter_choice adapters;
    facet_grammar *constraint; /* NULL: none */
    bool stream, include_usage, cache_prompt, echo;

    facet_prompt *prompt; /* of a chat */
    prompt_ids *prompts;
    size_t n_prompts;
    facet_generation generation;
    char **stop;
    facet_logit_bias *bias;
    int32_t n; /* answers to each prompt */

    chat_turns turns; /* where the context may be shifted */

    choice *choices; /* [n_prompts * n]; those of a prompt follow each other */
    size_t n_choices;
    pthread_mutex_t lock; /* of what follows, and of the calls of `shape`: answers to a request run side by side */
    job_part *parts;      /* [n_choices] */
    size_t n_left;        /* choices that are not over */
    bool failed;
    size_t prompt_tokens, cached_tokens; /* of all prompts, each counted once */
    double queued, prompt_seconds, decode_seconds;
    size_t generated_tokens;
    void *state; /* of the shape */
    void (*free_state)(void *state);
};

/* Takes over the exchange, which is released with the job. NULL: no memory; the exchange has been answered. */
job *job_new(exchange *x, const char *id_prefix);
void job_free(job *j);
/* Reads the body as a JSON object, and which adapters it wants. False: refused in j->error. */
bool job_parse(job *j);
/* Answers with j->error and frees the job. */
void job_refuse(job *j);
/* Renders the messages to the prompt. False: refused. */
bool job_render(job *j);
/* Tokens of a text as the prompt; BOS first. */
bool job_add_text(job *j, const char *data, size_t n);
bool job_add_ids(job *j, const int32_t *ids, size_t n);
/* A session with the adapters of the job, for its thread. */
facet_status job_open_session(const job *j, facet_session **out, facet_error *error);
/* Hands the job to the slots, or answers that there are too many. The job is gone in both cases. */
void job_submit(job *j, const answer_shape *shape);
/* The same for work of another kind, which frees the job. False: the job is gone. */
bool job_queue_or_refuse(job *j, job_fn run);
/* To be called for a failure of the library. */
bool job_library_error(job *j, facet_status status, const facet_error *error, const char *param);

/* Runs a job on a slot: the job_fn of the queue. */
void job_run(void *work, size_t thread);

/* A random id "PREFIX...". */
void make_id(char *out, size_t n, const char *prefix);
const char *finish_name(finish_reason finish); /* OpenAI's word */
/* Entries of logprobs that a stream has not sent yet, as a new array; NULL: none are wanted. */
json_t *choice_fresh_logprobs(choice *c);
/* With the key stop_reason where a stop string ended the answer. Returns `json`. */
json_t *choice_add_stop(const choice *c, json_t *json);
json_t *job_usage(const job *j);   /* OpenAI's shape */
json_t *job_timings(const job *j); /* as llama.cpp's server tells them */

#endif
