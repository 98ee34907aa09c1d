/* The life of a job until it runs: see job.h. */
#include "job.h"
#include "constrain.h"
#include "json.h"
#include "value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

void make_id(char *out, size_t n, const char *prefix) {
    unsigned char random[12];
    size_t at = (size_t)snprintf(out, n, "%s", prefix);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) memset(random, 0, sizeof random);
    for (size_t i = 0; i < sizeof random && at + 2 < n; i++, at += 2) snprintf(out + at, n - at, "%02x", random[i]);
}

job *job_new(exchange *x, const char *id_prefix) {
    job *j = calloc(1, sizeof *j);
    if (!j) {
        exchange_fail(x, 500, "", "out of memory");
        exchange_release(x);
        return NULL;
    }
    j->x = x;
    j->server = x->server;
    j->created = time(NULL);
    j->n = 1;
    j->thinking_budget = -1;
    j->parallel_calls = j->cache_prompt = true;
    pthread_mutex_init(&j->lock, NULL);
    make_id(j->id, sizeof j->id, id_prefix);
    facet_generation_defaults(&j->generation);
    j->generation.sampling = x->server->options->sampling;
    j->generation.max_tokens = x->server->options->max_tokens;
    if (getrandom(&j->generation.sampling.seed, sizeof(uint64_t), 0) != sizeof(uint64_t))
        j->generation.sampling.seed = (uint64_t)j->created;
    return j;
}

static void free_choice(choice *c) {
    cli_text_free(&c->content);
    cli_text_free(&c->reasoning);
    json_decref(c->calls);
    json_decref(c->logprobs);
}

void job_free(job *j) {
    if (!j) return;
    for (size_t i = 0; i < j->n_choices; i++) free_choice(&j->choices[i]);
    for (size_t i = 0; i < j->n_prompts; i++) free(j->prompts[i].ids);
    for (size_t i = 0; i < j->generation.n_stop; i++) free(j->stop[i]);
    if (j->free_state) j->free_state(j->state);
    constrain_free(j);
    adapter_release(&j->server->adapters, &j->adapters);
    chat_turns_free(&j->turns);
    pthread_mutex_destroy(&j->lock);
    free(j->parts);
    free(j->choices);
    free(j->prompts);
    free(j->stop);
    free(j->bias);
    facet_prompt_free(j->prompt);
    facet_value_free(j->messages);
    facet_value_free(j->tools);
    facet_value_free(j->request);
    facet_value_free(j->body);
    exchange_release(j->x);
    free(j);
}

bool job_parse(job *j) {
    char why[200];
    text *body = &j->x->body;
    j->body = json_parse(cli_text_get(body), body->n, why, sizeof why);
    cli_text_free(body);
    if (!j->body && json_lacked_memory(why)) return request_refuse(&j->error, 500, "", "", "%s", why);
    if (!j->body) return request_refuse(&j->error, 400, "", "invalid_json", "the body of the request: %s", why);
    if (facet_value_typeof(j->body) != FACET_VALUE_OBJECT)
        return request_refuse(&j->error, 400, "", "invalid_json", "the body of the request is not a JSON object");
    const fields f = {j->body, "", &j->error};
    return adapter_choose(&j->server->adapters, &f, &j->adapters);
}

void job_refuse(job *j) {
    exchange_refuse(j->x, &j->error);
    job_free(j);
}

/* "messages[2].content must be ..." names its field. */
static void param_of_message(const char *message, const char *otherwise, char *out, size_t n) {
    size_t length = strcspn(message, " :");
    bool named = !strncmp(message, "messages", 8) || !strncmp(message, "tools", 5);
    if (named && length < n) {
        memcpy(out, message, length);
        out[length] = '\0';
    } else {
        snprintf(out, n, "%s", otherwise);
    }
}

bool job_library_error(job *j, facet_status status, const facet_error *error, const char *param) {
    char field[160];
    param_of_message(error->message, param, field, sizeof field);
    switch (status) {
    case FACET_ERROR_ARGUMENT:
    case FACET_ERROR_FORMAT:
    case FACET_ERROR_ENCODING:
    case FACET_ERROR_UNSUPPORTED: return request_refuse(&j->error, 400, field, "", "%s", error->message);
    case FACET_ERROR_CONTEXT:
        return request_refuse(&j->error, 400, field, "context_length_exceeded", "%s", error->message);
    case FACET_ERROR_BUDGET: return request_refuse(&j->error, 503, "", "out_of_kv_memory", "%s", error->message);
    default: return request_refuse(&j->error, 500, "", "", "%s", error->message);
    }
}

/* Takes ids, which are malloc'ed by the library or here. */
static bool add_prompt(job *j, int32_t *ids, size_t n, size_t history) {
    prompt_ids *grown = realloc(j->prompts, (j->n_prompts + 1) * sizeof *grown);
    if (grown) j->prompts = grown;
    if (!grown || !ids) {
        free(ids);
        return request_refuse(&j->error, 500, "", "", "out of memory");
    }
    j->prompts[j->n_prompts++] = (prompt_ids){ids, n, history};
    size_t most = (size_t)j->server->engine_info.max_context;
    if (n < most) return true;
    return request_refuse(&j->error, 400, j->is_chat ? "messages" : "prompt", "context_length_exceeded",
                          "the prompt has %zu tokens, and the context of %zu tokens must hold an answer too", n,
                          most);
}

bool job_add_ids(job *j, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= j->server->info.n_vocab)
            return request_refuse(&j->error, 400, "prompt", "", "there is no token %d", (int)ids[i]);
    if (!n) return request_refuse(&j->error, 400, "prompt", "", "'prompt' holds no tokens");
    int32_t *copy = malloc(n * sizeof *copy);
    if (copy) memcpy(copy, ids, n * sizeof *copy);
    return add_prompt(j, copy, n, 0);
}

bool job_add_text(job *j, const char *data, size_t n) {
    facet_error error = {0};
    int32_t *ids = NULL, bos = facet_token_bos(j->server->model);
    size_t count = 0;
    facet_status status = facet_tokenize(j->server->model, data, n, true, &ids, &count, &error);
    if (status) return job_library_error(j, status, &error, "prompt");
    size_t first = bos >= 0 && (!count || ids[0] != bos);
    int32_t *all = malloc((count + 1) * sizeof *all);
    if (all && first) all[0] = bos;
    if (all && count) memcpy(all + first, ids, count * sizeof *all);
    facet_free(ids);
    return add_prompt(j, all, count + first, 0);
}

static bool render(job *j) {
    facet_error error = {0};
    facet_chat chat;
    facet_chat_defaults(&chat);
    chat.messages = j->messages;
    chat.tools = j->tools;
    chat.enable_thinking = j->thinking;
    chat.preserve_thinking = j->preserve_thinking;
    chat.continue_final_message = j->continues;
    chat.add_generation_prompt = !j->continues;
    facet_status status = facet_chat_render(j->server->model, &chat, &j->prompt, &error);
    return !status || job_library_error(j, status, &error, "messages");
}

/* Tokens that a prompt may have when turns leave: room for an answer stays. */
static size_t room_for_prompt(const job *j) {
    size_t context = (size_t)j->server->engine_info.max_context, answer = context / 4;
    int32_t most = j->generation.max_tokens;
    return context - (most >= 0 && (size_t)most < answer ? (size_t)most : answer);
}

static size_t prompt_length(const job *j) {
    size_t n;
    facet_prompt_tokens(j->prompt, &n);
    return n;
}

/* The messages without the oldest turn. False: there is one turn only, or no memory. */
static bool drop_oldest_turn(job *j) {
    size_t first, count, n = facet_value_count(j->messages);
    chat_oldest_turn(j->messages, &first, &count);
    facet_value *left = count ? facet_value_array() : NULL;
    bool ok = left != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        if (i >= first && i < first + count) continue;
        ok = !facet_value_append(left, cli_value_copy(facet_value_at(j->messages, i)));
    }
    if (!ok) {
        facet_value_free(left);
        return false;
    }
    facet_value_free(j->messages);
    j->messages = left;
    return true;
}

bool job_render(job *j) {
    if (!render(j)) return false;
    bool full = j->server->options->context_shift && prompt_length(j) >= (size_t)j->server->engine_info.max_context;
    while (full && prompt_length(j) > room_for_prompt(j) && drop_oldest_turn(j)) {
        facet_prompt_free(j->prompt);
        j->prompt = NULL;
        if (!render(j)) return false;
    }
    size_t n;
    const int32_t *ids = facet_prompt_tokens(j->prompt, &n);
    int32_t *copy = malloc((n + 1) * sizeof *copy);
    if (copy) memcpy(copy, ids, n * sizeof *copy);
    j->is_chat = true;
    return add_prompt(j, copy, n, facet_prompt_history(j->prompt));
}

static bool make_choices(job *j) {
    j->n_choices = j->n_prompts * (size_t)j->n;
    j->choices = calloc(j->n_choices, sizeof *j->choices);
    j->parts = calloc(j->n_choices, sizeof *j->parts);
    if (!j->choices || !j->parts) j->n_choices = 0;
    j->n_left = j->n_choices;
    bool ok = j->n_choices > 0;
    for (size_t i = 0; i < j->n_choices; i++) {
        choice *c = &j->choices[i];
        c->calls = json_array();
        c->logprobs = j->generation.logprobs ? json_array() : NULL;
        ok = ok && c->calls && (c->logprobs || !j->generation.logprobs);
    }
    return ok || request_refuse(&j->error, 500, "", "", "out of memory");
}

/* Without tools there are no calls, whatever the model has learnt. */
static bool forbid_calls(job *j) {
    const char *spelling = "<|tool_call>";
    facet_sampling *s = &j->generation.sampling;
    int32_t call = facet_token_find(j->server->model, spelling, strlen(spelling));
    if (!j->is_chat || j->tools || call < 0) return true;
    facet_logit_bias *grown = realloc(j->bias, (s->n_bias + 1) * sizeof *grown);
    if (!grown) return request_refuse(&j->error, 500, "", "", "out of memory");
    j->bias = grown;
    grown[s->n_bias++] = (facet_logit_bias){call, -INFINITY};
    s->bias = grown;
    return true;
}

/* About how long until a place is free. */
static int seconds_to_wait(server *s) {
    pthread_mutex_lock(&s->metrics.lock);
    const histogram *h = &s->metrics.duration;
    uint64_t n = 0;
    for (size_t i = 0; i <= METRICS_BUCKETS; i++) n += h->buckets[i];
    double mean = n ? h->sum / (double)n : 1;
    pthread_mutex_unlock(&s->metrics.lock);
    double seconds = ceil(mean * (s->options->n_queue + 1) / s->options->n_parallel);
    return seconds < 1 ? 1 : seconds > 120 ? 120 : (int)seconds;
}

/* What one API key has asked cannot be told from the speed of another's answer. */
facet_status job_open_session(const job *j, facet_session **out, facet_error *error) {
    facet_session_options options;
    facet_session_options_defaults(&options);
    options.share_prefix = j->cache_prompt;
    options.cache_salt = j->x->salt;
    facet_status status = facet_session_new(out, j->server->engine, &options, error);
    if (status || !j->adapters.n) return status;
    status = facet_session_set_adapters(*out, j->adapters.uses, j->adapters.n, error);
    if (!status) return status;
    facet_session_free(*out);
    *out = NULL;
    return status;
}

bool job_queue_or_refuse(job *j, job_fn run) {
    j->queued = clock_seconds();
    if (job_queue_add(&j->server->slots, run, j)) return true;
    j->x->retry_after = seconds_to_wait(j->server);
    request_refuse(&j->error, 429, "", "queue_full", "too many requests are waiting: try again in %d s",
                   j->x->retry_after);
    job_refuse(j);
    return false;
}

/* When the context runs full while an answer is made. */
static bool prepare_shift(job *j) {
    const prompt_ids *p = &j->prompts[0];
    if (!j->server->options->context_shift) return true;
    if (j->is_chat && !chat_turns_find(&j->turns, j->server->model, p->ids, p->n))
        return request_refuse(&j->error, 500, "", "", "out of memory");
    if (!j->is_chat) j->turns.keep = 1;
    chat_turns_use(&j->turns, &j->generation);
    return true;
}

void job_submit(job *j, const answer_shape *shape) {
    exchange *x = j->x;
    const char *content_type = x->style == API_OLLAMA ? "application/x-ndjson" : "text/event-stream";
    bool stream = j->stream;
    j->shape = shape;
    if (!make_choices(j) || !forbid_calls(j) || !prepare_shift(j)) {
        job_refuse(j);
        return;
    }
    exchange_hold(x); /* the job may be over by the next line */
    if (job_queue_or_refuse(j, job_run) && stream) exchange_begin_stream(x, content_type);
    exchange_release(x);
}

const char *finish_name(finish_reason finish) {
    static const char *const names[] = {"stop", "length", "tool_calls", "cancelled"};
    return names[finish];
}

json_t *choice_fresh_logprobs(choice *c) {
    if (!c->logprobs) return NULL;
    json_t *fresh = json_array();
    for (; c->n_told < json_array_size(c->logprobs); c->n_told++)
        json_array_append(fresh, json_array_get(c->logprobs, c->n_told));
    return fresh;
}

json_t *choice_add_stop(const choice *c, json_t *json) {
    if (json && c->stop) json_object_set_new(json, "stop_reason", json_string(c->stop));
    return json;
}

json_t *job_usage(const job *j) {
    size_t reasoning = 0;
    for (size_t i = 0; i < j->n_choices; i++) reasoning += j->choices[i].n_reasoning;
    return json_pack("{s:I,s:I,s:I,s:{s:I},s:{s:I}}", "prompt_tokens", (json_int_t)j->prompt_tokens,
                     "completion_tokens", (json_int_t)j->generated_tokens, "total_tokens",
                     (json_int_t)(j->prompt_tokens + j->generated_tokens), "prompt_tokens_details", "cached_tokens",
                     (json_int_t)j->cached_tokens, "completion_tokens_details", "reasoning_tokens",
                     (json_int_t)reasoning);
}

static double rate(size_t n, double seconds) { return seconds > 0 ? (double)n / seconds : 0; }

json_t *job_timings(const job *j) {
    size_t computed = j->prompt_tokens - j->cached_tokens;
    return json_pack("{s:I,s:I,s:f,s:f,s:I,s:f,s:f}", "cache_n", (json_int_t)j->cached_tokens, "prompt_n",
                     (json_int_t)computed, "prompt_ms", 1000 * j->prompt_seconds, "prompt_per_second",
                     rate(computed, j->prompt_seconds), "predicted_n", (json_int_t)j->generated_tokens,
                     "predicted_ms", 1000 * j->decode_seconds, "predicted_per_second",
                     rate(j->generated_tokens, j->decode_seconds));
}
