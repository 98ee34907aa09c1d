/* The table of routes: see routes.h. */
#include "routes.h"
#include "anthropic.h"
#include "embeddings.h"
#include "info.h"
#include "ollama.h"
#include "openai.h"
#include "page.h"
#include "responses.h"
#include "tokens.h"

#include <string.h>

static const route table[] = {
    {"GET", "/", API_OPENAI, true, page_get},
    {"GET", "/ui/*", API_OPENAI, true, page_get},
    {"GET", "/health", API_OPENAI, true, info_health},
    {"GET", "/v1/health", API_OPENAI, true, info_health},
    {"GET", "/metrics", API_OPENAI, false, info_metrics},
    {"GET", "/props", API_OPENAI, false, info_props},
    {"GET", "/slots", API_OPENAI, false, info_slots},
    {"GET", "/v1/models", API_OPENAI, false, info_models},
    {"GET", "/models", API_OPENAI, false, info_models},
    {"GET", "/v1/models/*", API_OPENAI, false, info_model},
    {"GET", "/v1/adapters", API_OPENAI, false, adapters_get},
    {"POST", "/v1/adapters", API_OPENAI, false, adapters_post},
    {"DELETE", "/v1/adapters/*", API_OPENAI, false, adapters_delete},
    {"POST", "/v1/chat/completions", API_OPENAI, false, openai_chat},
    {"POST", "/chat/completions", API_OPENAI, false, openai_chat},
    {"POST", "/v1/completions", API_OPENAI, false, openai_completions},
    {"POST", "/completions", API_OPENAI, false, openai_completions},
    {"POST", "/v1/responses", API_OPENAI, false, openai_responses},
    {"POST", "/v1/embeddings", API_OPENAI, false, openai_embeddings},
    {"POST", "/embeddings", API_OPENAI, false, openai_embeddings},
    {"POST", "/api/embed", API_OLLAMA, false, ollama_embed},
    {"POST", "/api/embeddings", API_OLLAMA, false, ollama_embeddings},
    {"POST", "/v1/messages", API_ANTHROPIC, false, anthropic_messages},
    {"POST", "/v1/messages/count_tokens", API_ANTHROPIC, false, anthropic_count_tokens},
    {"POST", "/api/chat", API_OLLAMA, false, ollama_chat},
    {"POST", "/api/generate", API_OLLAMA, false, ollama_generate},
    {"GET", "/api/tags", API_OLLAMA, false, ollama_tags},
    {"POST", "/api/show", API_OLLAMA, false, ollama_show},
    {"GET", "/api/ps", API_OLLAMA, false, ollama_ps},
    {"GET", "/api/version", API_OLLAMA, true, ollama_version},
    {"POST", "/tokenize", API_OPENAI, false, tokens_tokenize},
    {"POST", "/detokenize", API_OPENAI, false, tokens_detokenize},
    {"POST", "/apply-template", API_OPENAI, false, tokens_apply_template},
};

static bool path_matches(const char *pattern, const char *path) {
    size_t n = strlen(pattern);
    if (pattern[n - 1] == '*' && n > 2) return !strncmp(pattern, path, n - 1) && path[n - 1];
    return !strcmp(pattern, path);
}

const route *route_find(const char *method, const char *path, bool *other_method) {
    if (!strcmp(method, "HEAD")) method = "GET";
    *other_method = false;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!path_matches(table[i].path, path)) continue;
        if (!strcmp(table[i].method, method)) return &table[i];
        *other_method = true;
    }
    return NULL;
}

api_style route_style(const char *path) {
    if (!strncmp(path, "/api/", 5)) return API_OLLAMA;
    return strncmp(path, "/v1/messages", 12) ? API_OPENAI : API_ANTHROPIC;
}
