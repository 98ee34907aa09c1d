/* POST /v1/completions: OpenAI's plain completions, whole and as a stream. */
#include "constrain.h"
#include "openai.h"
#include "params.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PROMPTS = 256, DEFAULT_TOKENS = 16 };

/* ---- the request */

static bool is_number(const facet_value *v) { return facet_value_typeof(v) == FACET_VALUE_NUMBER; }

static bool add_id_array(job *j, const facet_value *array) {
    size_t n = facet_value_count(array);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    if (!ids) return request_refuse(&j->error, 500, "", "", "out of memory");
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        int64_t id;
        ok = value_integer(facet_value_at(array, i), &id) && id >= 0 && id <= INT32_MAX;
        if (ok) ids[i] = (int32_t)id;
    }
    if (!ok) request_refuse(&j->error, 400, "prompt", "", "'prompt' holds something that is no token id");
    ok = ok && job_add_ids(j, ids, n);
    free(ids);
    return ok;
}

static bool add_one(job *j, const facet_value *prompt) {
    size_t n;
    if (facet_value_typeof(prompt) == FACET_VALUE_ARRAY) return add_id_array(j, prompt);
    if (facet_value_typeof(prompt) != FACET_VALUE_STRING)
        return request_refuse(&j->error, 400, "prompt", "",
                              "'prompt' must be a string, an array of strings, or of token ids");
    const char *data = facet_value_text(prompt, &n);
    return job_add_text(j, data, n);
}

static bool read_prompts(job *j, const fields *f) {
    const facet_value *prompt = field_get(f, "prompt");
    if (!prompt) return field_refuse(f, "prompt", "is missing");
    bool many = facet_value_typeof(prompt) == FACET_VALUE_ARRAY && !is_number(facet_value_at(prompt, 0));
    if (!many) return add_one(j, prompt);
    size_t n = facet_value_count(prompt);
    if (!n || n > MOST_PROMPTS) return field_refuse(f, "prompt", "must hold 1 to %d prompts", MOST_PROMPTS);
    for (size_t i = 0; i < n; i++)
        if (!add_one(j, facet_value_at(prompt, i))) return false;
    return true;
}

static bool read_request(job *j) {
    if (!job_parse(j)) return false;
    const fields f = {j->body, "", &j->error};
    int32_t best_of = 1;
    if (j->generation.max_tokens < 0) j->generation.max_tokens = DEFAULT_TOKENS;
    if (field_has(&f, "suffix")) return field_refuse(&f, "suffix", "is not supported: this model does not fill in");
    if (!params_read(j, &f) || !field_bool(&f, "echo", &j->echo) ||
        !field_int32(&f, "logprobs", 0, 20, &j->generation.top_logprobs) ||
        !field_int32(&f, "best_of", 1, 64, &best_of))
        return false;
    if (best_of > j->n) return field_refuse(&f, "best_of", "beyond n is not supported");
    j->generation.logprobs = field_has(&f, "logprobs");
    return constrain_read_format(j, &f) && read_prompts(j, &f);
}

/* ---- answers */

/* The old shape: four lists beside each other. Takes the entries. */
static json_t *logprobs_json(json_t *entries) {
    if (!entries) return json_null();
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array(), *offsets = json_array();
    size_t i, k, offset = 0;
    json_t *entry, *top;
    json_array_foreach(entries, i, entry) {
        json_t *token = json_object_get(entry, "token"), *best = json_object();
        json_array_append(tokens, token);
        json_array_append(values, json_object_get(entry, "logprob"));
        json_array_append_new(offsets, json_integer((json_int_t)offset));
        offset += json_string_length(token);
        json_array_foreach(json_object_get(entry, "top_logprobs"), k, top) {
            const char *key = json_string_value(json_object_get(top, "token"));
            if (key) json_object_set(best, key, json_object_get(top, "logprob"));
        }
        bool known = json_is_real(json_object_get(entry, "logprob"));
        if (!known) {
            json_decref(best);
            best = json_null();
        }
        json_array_append_new(tops, best);
    }
    json_decref(entries);
    return json_pack("{s:o,s:o,s:o,s:o}", "tokens", tokens, "token_logprobs", values, "top_logprobs", tops,
                     "text_offset", offsets);
}

static json_t *choice_json(job *j, size_t index, json_t *shown, const char *finish) {
    json_t *json = json_pack("{s:I,s:o,s:o,s:s?}", "index", (json_int_t)index, "text", shown, "logprobs",
                             logprobs_json(choice_fresh_logprobs(&j->choices[index])), "finish_reason", finish);
    return finish ? choice_add_stop(&j->choices[index], json) : json;
}

static json_t *answer_json(const job *j, json_t *choices) {
    return json_pack("{s:s,s:s,s:I,s:s,s:o,s:n}", "id", j->id, "object", "text_completion", "created",
                     (json_int_t)j->created, "model", j->server->options->model_name, "choices", choices,
                     "system_fingerprint");
}

/* The text of the prompt as it was understood. */
static json_t *prompt_text(const job *j, size_t index) {
    const prompt_ids *p = &j->prompts[index / (size_t)j->n];
    char *data = NULL;
    size_t n = 0;
    size_t first = p->n && p->ids[0] == facet_token_bos(j->server->model);
    if (facet_detokenize(j->server->model, p->ids + first, p->n - first, true, &data, &n, NULL)) return NULL;
    json_t *json = json_stringn(data ? data : "", n);
    facet_free(data);
    return json;
}

static json_t *whole_text(const job *j, size_t index) {
    const choice *c = &j->choices[index];
    json_t *prompt = j->echo ? prompt_text(j, index) : NULL;
    text all = {0};
    json_t *json = NULL;
    if (cli_text_append(&all, prompt ? json_string_value(prompt) : "", prompt ? json_string_length(prompt) : 0) &&
        cli_text_append(&all, cli_text_get(&c->content), c->content.n))
        json = json_stringn(all.data, all.n);
    cli_text_free(&all);
    json_decref(prompt);
    return json;
}

/* All of them, or NULL. */
static json_t *choices_json(job *j) {
    json_t *choices = json_array();
    for (size_t i = 0; choices && i < j->n_choices; i++) {
        json_t *one = choice_json(j, i, whole_text(j, i), finish_name(j->choices[i].finish));
        if (!json_array_append_new(choices, one)) continue;
        json_decref(choices);
        return NULL;
    }
    return choices;
}

static void end_whole(job *j) {
    json_t *answer = answer_json(j, choices_json(j));
    json_object_set_new(answer, "usage", job_usage(j));
    json_object_set_new(answer, "timings", job_timings(j));
    exchange_reply_json(j->x, 200, answer);
}

static const answer_shape whole = {.end = end_whole};

static void send_chunk(job *j, json_t *choices, json_t *usage) {
    json_t *chunk = answer_json(j, choices);
    if (j->include_usage) json_object_set_new(chunk, "usage", usage ? usage : json_null());
    exchange_event(j->x, NULL, chunk);
}

static void start_stream(job *j) {
    exchange_begin_stream(j->x, "text/event-stream");
    for (size_t i = 0; j->echo && i < j->n_choices; i++)
        send_chunk(j, json_pack("[o]", choice_json(j, i, prompt_text(j, i), NULL)), NULL);
}

static void send_piece(job *j, size_t index, facet_reply_event_type type, const char *data, size_t n) {
    (void)type;
    send_chunk(j, json_pack("[o]", choice_json(j, index, json_stringn(data, n), NULL)), NULL);
}

static void send_choice_end(job *j, size_t index) {
    const char *finish = finish_name(j->choices[index].finish);
    send_chunk(j, json_pack("[o]", choice_json(j, index, json_string(""), finish)), NULL);
}

static void end_stream(job *j) {
    if (j->include_usage) send_chunk(j, json_array(), job_usage(j));
    exchange_write(j->x, "data: [DONE]\n\n", strlen("data: [DONE]\n\n"));
}

static const answer_shape stream = {
    .start = start_stream, .piece = send_piece, .choice_end = send_choice_end, .end = end_stream};

void openai_completions(exchange *x) {
    job *j = job_new(x, "cmpl-");
    if (!j) return;
    if (!read_request(j) || !constrain_prepare(j)) {
        job_refuse(j);
        return;
    }
    job_submit(j, j->stream ? &stream : &whole);
}
