/* Runs a job: a session for each answer, each on the thread of a slot. The first answer to a prompt reads it; the
 * others begin then, side by side, and share what has been computed. Owns what happens between the engine and the
 * reader of its output; answers JSON nowhere. */
#include "choice.h"
#include "prompt_logprobs.h"

#include <stdlib.h>
#include <string.h>

typedef struct run {
    job *j;
    choice_reader reader;
    facet_session *session;
    size_t index;    /* of the choice */
    bool first_seen; /* a token was generated */
    bool others_started;
    facet_error error;
} run;

static bool job_failed(job *j) {
    pthread_mutex_lock(&j->lock);
    bool failed = j->failed;
    pthread_mutex_unlock(&j->lock);
    return failed;
}

static bool wanted(const run *r) { return !exchange_is_cancelled(r->j->x) && !job_failed(r->j); }

static bool on_progress(void *ctx, size_t done, size_t total) {
    (void)done;
    (void)total;
    return wanted(ctx);
}

static void note_first(run *r) {
    if (r->first_seen || r->index) return;
    r->first_seen = true;
    metrics *m = &r->j->server->metrics;
    metrics_observe(m, &m->first_token, clock_seconds() - r->j->x->received);
}

static bool on_token(void *ctx, const facet_token *token) {
    run *r = ctx;
    note_first(r);
    choice_reader_push(&r->reader, token);
    return wanted(r) && !r->reader.no_memory && !r->reader.over && !choice_reader_exhausted(&r->reader);
}

/* More tokens on the timeline. */
static facet_status extend(run *r, const int32_t *ids, size_t n) {
    size_t length = facet_session_length(r->session);
    int32_t *all = malloc((length + n) * sizeof *all);
    if (!all) return FACET_ERROR_MEMORY;
    memcpy(all, facet_session_tokens(r->session), length * sizeof *all);
    memcpy(all + length, ids, n * sizeof *all);
    facet_status status = facet_session_sync(r->session, all, length + n, on_progress, r, NULL, &r->error);
    free(all);
    return status;
}

/* Ends a thought that has used its budget, as the model would. *full: there is no room for that. */
static facet_status close_thought(run *r, bool *full) {
    const char *end = "\n<channel|>";
    int32_t *ids = NULL;
    size_t n = 0, context = (size_t)r->j->server->engine_info.max_context;
    facet_status status = facet_tokenize(r->j->server->model, end, strlen(end), true, &ids, &n, &r->error);
    *full = !status && facet_session_length(r->session) + n > context;
    if (!status && !*full) status = extend(r, ids, n);
    facet_free(ids);
    if (status || *full) return status;
    facet_token newline = {.id = -1, .text = "\n", .n_bytes = 1};
    facet_token close = {.id = r->reader.close, .control = true, .text = end + 1, .n_bytes = strlen(end + 1)};
    json_t *logprobs = r->reader.c->logprobs; /* nobody chose these tokens */
    r->reader.c->logprobs = NULL;
    choice_reader_push(&r->reader, &newline);
    choice_reader_push(&r->reader, &close);
    r->reader.c->logprobs = logprobs;
    return FACET_OK;
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
    choice *c = r->reader.c;
    facet_generation g = j->generation;
    g.sampling.choice = r->index % (size_t)j->n;
    for (bool full = false;;) {
        facet_generation_result result = {.size = sizeof result};
        facet_status status = facet_session_generate(r->session, &g, on_token, r, &result, &r->error);
        if (status) return status;
        c->n_generated += result.n_generated;
        c->decode_seconds += result.decode_seconds;
        c->stop = result.stop_index >= 0 ? g.stop[result.stop_index] : NULL;
        *reason = result.stop_reason;
        bool too_long = *reason == FACET_STOP_CALLBACK && wanted(r) && choice_reader_exhausted(&r->reader);
        if (!too_long || r->reader.no_memory) return FACET_OK;
        status = close_thought(r, &full);
        if (full) *reason = FACET_STOP_CONTEXT;
        if (status || full) return status;
        if (g.max_tokens >= 0) g.max_tokens -= (int32_t)result.n_generated;
        if (result.n_shifted) g.n_turn_ends = 0; /* they stood elsewhere */
    }
}

/* The prompt is read: its other answers may begin. */
static void start_others(run *r);

static facet_status read_prompt(run *r, const prompt_ids *prompt) {
    job *j = r->j;
    size_t reused = 0;
    bool first = r->index % (size_t)j->n == 0;
    double begin = clock_seconds();
    facet_status status = FACET_OK;
    if (j->echo && j->generation.logprobs) status = prompt_logprobs(j, r->reader.c, r->session, prompt, &r->error);
    if (!status) status = facet_session_sync(r->session, prompt->ids, prompt->n, on_progress, r, &reused, &r->error);
    if (status) return status;
    pthread_mutex_lock(&j->lock);
    if (first) {
        j->prompt_seconds += clock_seconds() - begin;
        j->prompt_tokens += prompt->n;
        j->cached_tokens += reused;
    }
    pthread_mutex_unlock(&j->lock);
    if (first) start_others(r);
    return FACET_OK;
}

static facet_status run_choice(run *r) {
    job *j = r->j;
    facet_status status = choice_reader_init(&r->reader, j, r->index, &r->error);
    if (!status) status = read_prompt(r, &j->prompts[r->index / (size_t)j->n]);
    if (status) return status;
    choice *c = r->reader.c;
    status = generate(r, &c->reason);
    choice_reader_finish(&r->reader);
    if (r->reader.no_memory) status = FACET_ERROR_MEMORY;
    c->finish = finish_of(r, c->reason);
    pthread_mutex_lock(&j->lock);
    j->generated_tokens += c->n_generated;
    if (j->decode_seconds < c->decode_seconds) j->decode_seconds = c->decode_seconds;
    pthread_mutex_unlock(&j->lock);
    return status;
}

static void keep_failure(job *j, facet_status status, const facet_error *error) {
    facet_error plain = {.status = status};
    snprintf(plain.message, sizeof plain.message, "%s", facet_status_name(status));
    job_library_error(j, status, error->status ? error : &plain, "");
}

static void send_failure(job *j) {
    exchange *x = j->x;
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

/* ---- answers side by side */

static void finish_job(job *j) {
    if (!exchange_is_cancelled(j->x)) {
        if (j->failed)
            send_failure(j);
        else if (j->shape->end)
            j->shape->end(j);
    }
    note(j);
    if (j->stream) exchange_finish(j->x);
    job_free(j);
}

/* With a failure the others end too. Whoever is last ends the job. */
static void end_choice(run *r, facet_status status) {
    job *j = r->j;
    choice *c = &j->choices[r->index];
    metrics_add_finish(&j->server->metrics, status ? FINISH_CANCELLED : (int)c->finish);
    bool tell = !status && wanted(r) && j->shape->choice_end;
    pthread_mutex_lock(&j->lock);
    if (tell) j->shape->choice_end(j, r->index);
    if (status && !j->failed && !exchange_is_cancelled(j->x)) {
        j->failed = true;
        keep_failure(j, status, &r->error);
    }
    bool last = --j->n_left == 0;
    pthread_mutex_unlock(&j->lock);
    if (last) finish_job(j);
}

static void run_on_session(run *r) {
    facet_status status = FACET_OK;
    if (wanted(r)) status = job_open_session(r->j, &r->session, &r->error);
    if (r->session) status = run_choice(r);
    choice_reader_free(&r->reader);
    facet_session_free(r->session);
    if (r->index % (size_t)r->j->n == 0 && !r->others_started) start_others(r); /* they end at once */
    end_choice(r, status);
}

static void run_part(void *work, size_t thread) {
    job_part *part = work;
    job *j = part->job;
    run r = {.j = j, .index = (size_t)(part - j->parts)};
    (void)thread;
    run_on_session(&r);
}

static void add_part(job *j, size_t index) {
    job_part *part = &j->parts[index];
    *part = (job_part){.item = {run_part, part}, .job = j};
    job_queue_add_part(&j->server->slots, part);
}

static void start_others(run *r) {
    r->others_started = true;
    for (size_t i = 1; i < (size_t)r->j->n; i++) add_part(r->j, r->index + i);
}

void job_run(void *work, size_t thread) {
    job *j = work;
    run r = {.j = j};
    metrics *m = &j->server->metrics;
    (void)thread;
    metrics_observe(m, &m->queue_wait, clock_seconds() - j->queued);
    if (wanted(&r) && j->shape->start) j->shape->start(j);
    for (size_t i = 1; i < j->n_prompts; i++) add_part(j, i * (size_t)j->n);
    run_on_session(&r);
}
