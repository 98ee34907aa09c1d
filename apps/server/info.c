/* What there is: see info.h. */
#include "info.h"

#include <string.h>

void info_health(exchange *x) {
    const char *status = atomic_load(&x->server->draining) ? "draining"
                         : atomic_load(&x->server->ready)  ? "ok"
                                                           : "loading";
    exchange_reply_json(x, strcmp(status, "ok") ? 503 : 200, json_pack("{s:s}", "status", status));
    exchange_release(x);
}

static json_t *model_json(const server *s) {
    return json_pack("{s:s,s:s,s:I,s:s,s:{s:i,s:i,s:i,s:I,s:I,s:s}}", "id", s->options->model_name, "object", "model",
                     "created", (json_int_t)s->started, "owned_by", "facet", "meta", "n_vocab", s->info.n_vocab,
                     "n_ctx_train", s->info.n_context, "n_embd", s->info.n_embd, "n_params",
                     (json_int_t)s->info.n_parameters, "size", (json_int_t)s->info.weight_bytes, "architecture",
                     s->info.architecture);
}

void info_models(exchange *x) {
    exchange_reply_json(x, 200, json_pack("{s:s,s:[o]}", "object", "list", "data", model_json(x->server)));
    exchange_release(x);
}

void info_model(exchange *x) {
    const char *name = x->path + strlen("/v1/models/");
    if (strcmp(name, x->server->options->model_name) != 0) {
        exchange_fail(x, 404, "model_not_found", "there is no such model");
    } else {
        exchange_reply_json(x, 200, model_json(x->server));
    }
    exchange_release(x);
}

void info_props(exchange *x) {
    const server *s = x->server;
    const facet_sampling *d = &s->options->sampling;
    json_t *defaults =
        json_pack("{s:f,s:i,s:f,s:f,s:f,s:f,s:f,s:i}", "temperature", (double)d->temperature, "top_k", d->top_k,
                  "top_p", (double)d->top_p, "min_p", (double)d->min_p, "repeat_penalty", (double)d->repeat_penalty,
                  "presence_penalty", (double)d->presence_penalty, "frequency_penalty", (double)d->frequency_penalty,
                  "max_tokens", s->options->max_tokens);
    exchange_reply_json(x, 200,
                        json_pack("{s:s,s:s,s:{s:i,s:o},s:i,s:i,s:{s:b,s:b},s:s,s:s}", "model",
                                  s->options->model_name, "model_alias", s->options->model_name,
                                  "default_generation_settings", "n_ctx", s->engine_info.max_context, "params",
                                  defaults, "total_slots", s->options->n_parallel, "n_threads",
                                  s->engine_info.n_threads, "modalities", "vision", 0, "audio", 0, "chat_format",
                                  s->info.chat_kind == FACET_CHAT_LARGE ? "gemma4-large" : "gemma4-small",
                                  "build_info", facet_version()));
    exchange_release(x);
}

void info_slots(exchange *x) {
    server *s = x->server;
    size_t n_waiting, n_running;
    job_queue_counts(&s->slots, &n_waiting, &n_running);
    json_t *slots = json_array();
    for (int i = 0; i < s->options->n_parallel; i++)
        json_array_append_new(slots, json_pack("{s:i,s:i,s:b}", "id", i, "n_ctx", s->engine_info.max_context,
                                               "is_processing", (size_t)i < n_running));
    exchange_reply_json(x, 200, slots);
    exchange_release(x);
}
