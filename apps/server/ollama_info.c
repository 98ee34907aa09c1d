/* What Ollama's API tells about models: /api/tags, /api/show, /api/ps, /api/version. */
#include "ollama.h"

#include <time.h>

static json_t *details_json(const server *s) {
    char size[32];
    double n = (double)s->info.n_parameters;
    snprintf(size, sizeof size, n >= 1e9 ? "%.1fB" : "%.1fM", n >= 1e9 ? n / 1e9 : n / 1e6);
    return json_pack("{s:s,s:s,s:s,s:[s],s:s,s:s}", "parent_model", "", "format", "gguf", "family",
                     s->info.architecture, "families", s->info.architecture, "parameter_size", size,
                     "quantization_level", "unknown");
}

static json_t *model_json(const server *s) {
    char when[40];
    struct tm utc;
    time_t started = (time_t)s->started;
    gmtime_r(&started, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return json_pack("{s:s,s:s,s:s,s:I,s:s,s:o}", "name", s->options->model_name, "model", s->options->model_name,
                     "modified_at", when, "size", (json_int_t)s->info.weight_bytes, "digest", "", "details",
                     details_json(s));
}

void ollama_tags(exchange *x) {
    exchange_reply_json(x, 200, json_pack("{s:[o]}", "models", model_json(x->server)));
    exchange_release(x);
}

void ollama_ps(exchange *x) {
    json_t *model = model_json(x->server);
    json_object_set_new(model, "expires_at", json_string("2318-01-01T00:00:00Z"));
    json_object_set_new(model, "size_vram", json_integer(0));
    json_object_set_new(model, "context_length", json_integer(x->server->engine_info.max_context));
    exchange_reply_json(x, 200, json_pack("{s:[o]}", "models", model));
    exchange_release(x);
}

void ollama_show(exchange *x) {
    const server *s = x->server;
    exchange_reply_json(x, 200,
                        json_pack("{s:s,s:s,s:s,s:o,s:{s:s,s:I,s:i,s:i},s:[s,s,s]}", "modelfile", "", "parameters",
                                  "", "template", "", "details", details_json(s), "model_info",
                                  "general.architecture", s->info.architecture, "general.parameter_count",
                                  (json_int_t)s->info.n_parameters, "gemma4.context_length", s->info.n_context,
                                  "gemma4.embedding_length", s->info.n_embd, "capabilities", "completion", "tools",
                                  "thinking"));
    exchange_release(x);
}

void ollama_version(exchange *x) {
    exchange_reply_json(x, 200, json_pack("{s:s}", "version", facet_version()));
    exchange_release(x);
}
