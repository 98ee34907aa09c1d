/* Settings of a generation: see params.h. */
#include "params.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STOPS = 64, MOST_STOP_BYTES = 1024, MOST_BIAS = 4096, MOST_CHOICES = 64 };

bool params_sampling(job *j, const fields *f) {
    facet_sampling *s = &j->generation.sampling;
    return field_number(f, "temperature", 0, 100, &s->temperature) && field_number(f, "top_p", 0, 1, &s->top_p) &&
           field_int32(f, "top_k", 0, INT32_MAX, &s->top_k) && field_number(f, "min_p", 0, 1, &s->min_p) &&
           field_number(f, "repetition_penalty", 0.01, 100, &s->repeat_penalty) &&
           field_number(f, "repeat_penalty", 0.01, 100, &s->repeat_penalty) &&
           field_number(f, "presence_penalty", -100, 100, &s->presence_penalty) &&
           field_number(f, "frequency_penalty", -100, 100, &s->frequency_penalty) &&
           field_int32(f, "repeat_last_n", -1, INT32_MAX, &s->penalty_last);
}

static bool read_seed(job *j, const fields *f) {
    int64_t seed;
    if (!field_has(f, "seed")) return true;
    if (!field_integer(f, "seed", INT64_MIN, INT64_MAX, &seed)) return false;
    j->generation.sampling.seed = (uint64_t)seed;
    return true;
}

static bool add_stop(job *j, const fields *f, const char *name, const facet_value *item) {
    size_t n = 0;
    const char *data = facet_value_typeof(item) == FACET_VALUE_STRING ? facet_value_text(item, &n) : NULL;
    if (!data || !n || n > MOST_STOP_BYTES || strlen(data) != n)
        return field_refuse(f, name, "must be a string or an array of strings, none of them empty");
    char *copy = strdup(data);
    if (!copy) return request_refuse(f->error, 500, "", "", "out of memory");
    j->stop[j->generation.n_stop++] = copy;
    return true;
}

bool params_stop(job *j, const fields *f, const char *name) {
    const facet_value *value = field_get(f, name);
    bool is_array = facet_value_typeof(value) == FACET_VALUE_ARRAY;
    size_t n = is_array ? facet_value_count(value) : value != NULL;
    if (!n || j->stop) return true;
    if (n > MOST_STOPS) return field_refuse(f, name, "holds more than %d strings", MOST_STOPS);
    j->stop = calloc(n, sizeof *j->stop);
    if (!j->stop) return request_refuse(f->error, 500, "", "", "out of memory");
    for (size_t i = 0; i < n; i++)
        if (!add_stop(j, f, name, is_array ? facet_value_at(value, i) : value)) return false;
    j->generation.stop = (const char *const *)j->stop;
    return true;
}

static bool read_bias_item(job *j, const fields *f, size_t i) {
    size_t n;
    char *end;
    const char *key = facet_value_key(f->object, i, &n);
    errno = 0;
    long id = strtol(key, &end, 10);
    if (key[0] < '0' || key[0] > '9' || *end || strlen(key) != n || errno || id >= j->server->info.n_vocab)
        return request_refuse(f->error, 400, "logit_bias", "", "'logit_bias': '%.40s' is not a token id from 0 to %d",
                              key, j->server->info.n_vocab - 1);
    facet_logit_bias *bias = &j->bias[j->generation.sampling.n_bias++];
    bias->token = (int32_t)id;
    if (!field_has(f, key)) return field_refuse(f, key, "must be a number from -100 to 100");
    return field_number(f, key, -100, 100, &bias->bias);
}

static bool read_bias(job *j, const fields *f) {
    const facet_value *object;
    if (!field_object(f, "logit_bias", &object)) return false;
    size_t n = facet_value_count(object);
    if (!n) return true;
    if (n > MOST_BIAS) return field_refuse(f, "logit_bias", "names more than %d tokens", MOST_BIAS);
    j->bias = calloc(n, sizeof *j->bias);
    if (!j->bias) return request_refuse(f->error, 500, "", "", "out of memory");
    const fields items = {object, "logit_bias", f->error};
    for (size_t i = 0; i < n; i++)
        if (!read_bias_item(j, &items, i)) return false;
    j->generation.sampling.bias = j->bias;
    return true;
}

bool params_stream(job *j, const fields *f) {
    const facet_value *object;
    if (!field_bool(f, "stream", &j->stream) || !field_object(f, "stream_options", &object)) return false;
    const fields options = {object, "stream_options", f->error};
    return !object || field_bool(&options, "include_usage", &j->include_usage);
}

static bool read_effort(job *j, const fields *f, const char *name) {
    static const char *const efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", NULL};
    int effort = -1;
    if (!field_word(f, name, efforts, &effort)) return false;
    if (effort >= 0) j->thinking = effort >= 2;
    return true;
}

bool params_thinking(job *j, const fields *f) {
    const facet_value *kwargs, *reasoning;
    if (!read_effort(j, f, "reasoning_effort") || !field_object(f, "reasoning", &reasoning) ||
        !field_object(f, "chat_template_kwargs", &kwargs))
        return false;
    const fields inner = {reasoning, "reasoning", f->error}, extra = {kwargs, "chat_template_kwargs", f->error};
    return (!reasoning || read_effort(j, &inner, "effort")) &&
           (!kwargs || (field_bool(&extra, "enable_thinking", &j->thinking) &&
                        field_bool(&extra, "preserve_thinking", &j->preserve_thinking))) &&
           field_int32(f, "thinking_budget_tokens", -1, INT32_MAX, &j->thinking_budget) &&
           field_int32(f, "thinking_budget", -1, INT32_MAX, &j->thinking_budget);
}

bool params_read(job *j, const fields *f) {
    int32_t *most = &j->generation.max_tokens;
    return params_sampling(j, f) && read_seed(j, f) && params_stop(j, f, "stop") && read_bias(j, f) &&
           params_stream(j, f) && field_int32(f, "n", 1, MOST_CHOICES, &j->n) &&
           field_int32(f, "max_tokens", j->is_chat ? 1 : 0, INT32_MAX, most) &&
           field_bool(f, "ignore_eos", &j->generation.ignore_end) && field_bool(f, "cache_prompt", &j->cache_prompt);
}
