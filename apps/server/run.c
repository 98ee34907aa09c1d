/* Runs a job: a session for each prompt, one answer after the other, on the thread of a slot. Owns what happens
 * between the engine and the reader of its output; answers JSON nowhere. */
#include "choice.h"
#include "prompt_logprobs.h"

#include <stdlib.h>
#include <string.h>

typedef struct run {
    job *j;
    choice_reader reader;
    facet_session *session;
    int32_t *ids; /* the timeline: the prompt, and what was generated */
    size_t n, capacity;
    bool first_seen; /* a token of this job was generated */
    facet_error error;
} run;

static bool append_id(run *r, int32_t id) {
    if (r->n == r->capacity) {
        size_t capacity = r->capacity * 2 + 64;
        int32_t *grown = realloc(r->ids, capacity * sizeof *grown);
        if (!grown) return false;
        r->ids = grown;
        r->capacity = capacity;
    }
    r->ids[r->n++] = id;
    return true;
}

static bool set_ids(run *r, const prompt_ids *prompt) {
    r->n = 0;
    for (size_t i = 0; i < prompt->n; i++)
        if (!append_id(r, prompt->ids[i])) return false;
    return true;
}

static bool wanted(const run *r) { return !exchange_is_cancelled(r->j->x); }

static bool on_progress(void *ctx, size_t done, size_t total) {
    (void)done;
    (void)total;
    return wanted(ctx);
}

static void note_first(run *r) {
    if (r->first_seen) return;
    r->first_seen = true;
    metrics *m = &r->j->server->metrics;
    metrics_observe(m, &m->first_token, clock_seconds() - r->j->x->received);
}

static bool on_token(void *ctx, const facet_token *token) {
    run *r = ctx;
    note_first(r);
    if (token->id >= 0 && !append_id(r, token->id)) r->reader.no_memory = true;
    choice_reader_push(&r->reader, token);
    return wanted(r) && !r->reader.no_memory && !r->reader.over && !choice_reader_exhausted(&r->reader);
}

static facet_status sync(run *r, size_t *n_reused) {
    return facet_session_sync(r->session, r->ids, r->n, on_progress, r, n_reused, &r->error);
}

/* Ends a thought that has used its budget, as the model would. */
static bool close_thought(run *r) {
    const char *end = "\n<channel|>";
    int32_t *ids = NULL;
    size_t n = 0;
    if (facet_tokenize(r->j->server->model, end, strlen(end), true, &ids, &n, &r->error)) return false;
    bool ok = true;
    for (size_t i = 0; i < n; i++) ok = append_id(r, ids[i]) && ok;
    facet_free(ids);
    facet_token newline = {.id = -1, .text = "\n", .n_bytes = 1};
    facet_token close = {.id = r->reader.close, .control = true, .text = end + 1, .n_bytes = strlen(end + 1)};
    json_t *logprobs = r->reader.c->logprobs; /* nobody chose these tokens */
    r->reader.c->logprobs = NULL;
    choice_reader_push(&r->reader, &newline);
    choice_reader_push(&r->reader, &close);
    r->reader.c->logprobs = logprobs;
    return ok;
}

static finish_reason finish_of(const run *r, facet_stop_reason reason) {
    bool calls = json_array_size(r->reader.c->calls) > 0;
    switch (reason) {
    case FACET_STOP_LENGTH:
    case FACET_STOP_CONTEXT: return FINISH_LENGTH;
    case FACET_STOP_CANCELLED: return FINISH_CANCELLED;
    case FACET_STOP_CALLBACK:
        if (!wanted(r)) return FINISH_CANCELLED;
        break;
    default: break;
    }
    return calls ? FINISH_TOOL_CALLS : FINISH_STOP;
}

/* Generates until the answer is over; a thought that becomes too long is closed in between. */
static facet_status generate(run *r, facet_stop_reason *reason) {
    job *j = r->j;
    facet_generation g = j->generation;
    for (;;) {
        facet_generation_result result = {.size = sizeof result};
        facet_status status = facet_session_generate(r->session, &g, on_token, r, &result, &r->error);
        if (status) return status;
        r->reader.c->n_generated += result.n_generated;
        j->decode_seconds += result.decode_seconds;
        *reason = result.stop_reason;
        bool too_long = *reason == FACET_STOP_CALLBACK && wanted(r) && choice_reader_exhausted(&r->reader);
        if (!too_long || r->reader.no_memory) return FACET_OK;
        if (!close_thought(r)) return FACET_ERROR_MEMORY;
        if (g.max_tokens >= 0) g.max_tokens -= (int32_t)result.n_generated;
        status = sync(r, NULL);
        if (status) return status;
    }
}

static facet_status run_choice(run *r, size_t index) {
    job *j = r->j;
    size_t of_prompt = index % (size_t)j->n, reused = 0;
    const prompt_ids *prompt = &j->prompts[index / (size_t)j->n];
    if (!set_ids(r, prompt)) return FACET_ERROR_MEMORY;
    double begin = clock_seconds();
    facet_status status = choice_reader_init(&r->reader, j, index, &r->error);
    if (!status && j->echo && j->generation.logprobs)
        status = prompt_logprobs(j, r->reader.c, r->session, prompt, &r->error);
    if (!status) status = sync(r, &reused);
    if (status) return status;
    j->prompt_seconds += clock_seconds() - begin;
    if (!of_prompt) {
        j->prompt_tokens += prompt->n;
        j->cached_tokens += reused;
    }
    j->generation.sampling.choice = of_prompt;
    status = generate(r, &r->reader.c->reason);
    choice_reader_finish(&r->reader);
    if (r->reader.no_memory) status = FACET_ERROR_MEMORY;
    r->reader.c->finish = finish_of(r, r->reader.c->reason);
    j->generated_tokens += r->reader.c->n_generated;
    return status;
}

static void report_failure(job *j, facet_status status, const facet_error *error) {
    exchange *x = j->x;
    facet_error plain = {.status = status};
    snprintf(plain.message, sizeof plain.message, "%s", facet_status_name(status));
    job_library_error(j, status, error->status ? error : &plain, "");
    if (!x->streaming) {
        exchange_refuse(x, &j->error);
        return;
    }
    json_t *json = exchange_error_json(x, &j->error);
    if (x->style == API_OLLAMA)
        exchange_line(x, json);
    else
        exchange_event(x, x->style == API_ANTHROPIC ? "error" : NULL, json);
}

static void note(job *j) {
    metrics *m = &j->server->metrics;
    const metrics_answer answer = {j->prompt_tokens, j->cached_tokens, j->generated_tokens, j->prompt_seconds,
                                   j->decode_seconds};
    metrics_add_answer(m, &answer);
    pthread_mutex_lock(&j->x->lock);
    j->x->notes = (exchange_notes){j->prompt_tokens, j->cached_tokens, j->generated_tokens,
                                   finish_name(j->choices[j->n_choices - 1].finish)};
    pthread_mutex_unlock(&j->x->lock);
}

static facet_status run_choices(run *r) {
    job *j = r->j;
    facet_status status = FACET_OK;
    for (size_t i = 0; !status && i < j->n_choices && wanted(r); i++) {
        status = run_choice(r, i);
        choice_reader_free(&r->reader);
        metrics_add_finish(&j->server->metrics, status ? FINISH_CANCELLED : (int)j->choices[i].finish);
        if (!status && wanted(r) && j->shape->choice_end) j->shape->choice_end(j, i);
    }
    return status;
}

static void run_on_session(run *r) {
    job *j = r->j;
    facet_status status = job_open_session(j, &r->session, &r->error);
    if (!status) {
        if (j->shape->start) j->shape->start(j);
        status = run_choices(r);
    }
    facet_session_free(r->session);
    if (!wanted(r)) return;
    if (status)
        report_failure(j, status, &r->error);
    else if (j->shape->end)
        j->shape->end(j);
}

void job_run(void *work, size_t thread) {
    job *j = work;
    run r = {.j = j};
    metrics *m = &j->server->metrics;
    (void)thread;
    metrics_observe(m, &m->queue_wait, clock_seconds() - j->queued);
    if (wanted(&r)) run_on_session(&r);
    note(j);
    if (j->stream) exchange_finish(j->x);
    free(r.ids);
    job_free(j);
}
