/* Looking into GGUF files, and what decoding reads of one: every matrix once, of the per-layer embeddings one row, of
 * the experts those in use. The token embeddings count whole, since they are the output head too. */
#include "inspect.h"
#include "embedded.h"

#include <stdlib.h>
#include <string.h>

int inspect_open(facet_gguf **out, const char *path, bool header_only) {
    facet_error error = {0};
    size_t n = (size_t)(embedded_model_end - embedded_model);
    facet_status failed = path ? facet_gguf_open(out, path, header_only, &error)
                               : facet_gguf_open_memory(out, embedded_model, n, header_only, &error);
    return failed ? report_failure(&error, path ? path : "the built-in model") : EXIT_OK;
}

static uint64_t read_number(const facet_gguf *gguf, const char *key, uint64_t otherwise) {
    size_t i;
    char value[32], *end;
    if (!facet_gguf_find_key(gguf, key, &i)) return otherwise;
    facet_gguf_value_text(gguf, i, value, sizeof value);
    unsigned long long n = strtoull(value, &end, 10);
    return *end || !n ? otherwise : n;
}

static bool name_holds(const facet_gguf_tensor *t, const char *part) {
    return memmem(t->name, t->name_bytes, part, strlen(part)) != NULL;
}

static uint64_t decode_bytes(const facet_gguf *gguf) {
    uint64_t n_expert = read_number(gguf, "gemma4.expert_count", 1);
    uint64_t n_used = read_number(gguf, "gemma4.expert_used_count", n_expert), sum = 0;
    for (size_t i = 0; i < facet_gguf_n_tensors(gguf); i++) {
        facet_gguf_tensor t = {.size = sizeof t};
        facet_gguf_get_tensor(gguf, i, &t);
        if (name_holds(&t, "per_layer_token_embd"))
            sum += t.n_bytes / (t.ne[1] ? t.ne[1] : 1);
        else if (name_holds(&t, "_exps"))
            sum += t.n_bytes / n_expert * n_used;
        else
            sum += t.n_bytes;
    }
    return sum;
}

int inspect_decode_traffic(const cli_options *o, inspect_traffic *out) {
    facet_gguf *gguf = NULL;
    int status = remote_is_url(o->model) ? remote_inspect(&gguf, o) : inspect_open(&gguf, o->model, true);
    if (!status) out->decode_bytes = decode_bytes(gguf);
    facet_gguf_free(gguf);
    return status;
}
