/* POST /v1/embeddings, /api/embed, /api/embeddings: see embeddings.h. */
#include "embeddings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_INPUTS = 2048 };

typedef struct vectors {
    float *data; /* [n_prompts][n_embd] */
    size_t n_embd, dimensions;
    bool base64;
    void (*reply)(job *j, const struct vectors *v);
} vectors;

static void free_vectors(void *state) {
    vectors *v = state;
    if (v) free(v->data);
    free(v);
}

/* ---- the request */

static bool add_ids(job *j, const facet_value *array) {
    size_t n = facet_value_count(array);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    bool ok = ids != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        int64_t id = -1;
        ok = value_integer(facet_value_at(array, i), &id) && id >= 0 && id < j->server->info.n_vocab;
        ids[i] = (int32_t)id;
    }
    if (!ok) request_refuse(&j->error, 400, "input", "", "'input' holds something that is no token id");
    ok = ok && job_add_ids(j, ids, n);
    free(ids);
    return ok;
}

static bool add_one(job *j, const facet_value *input) {
    size_t n;
    if (facet_value_typeof(input) == FACET_VALUE_ARRAY) return add_ids(j, input);
    if (facet_value_typeof(input) != FACET_VALUE_STRING)
        return request_refuse(&j->error, 400, "input", "",
                              "'input' must be a string, an array of strings, or of token ids");
    const char *data = facet_value_text(input, &n);
    return job_add_text(j, data, n);
}

static bool add_inputs(job *j, const fields *f, const char *name) {
    const facet_value *input = field_get(f, name);
    if (!input) return field_refuse(f, name, "is missing");
    bool many = facet_value_typeof(input) == FACET_VALUE_ARRAY &&
                facet_value_typeof(facet_value_at(input, 0)) != FACET_VALUE_NUMBER;
    if (!many) return add_one(j, input);
    size_t n = facet_value_count(input);
    if (!n || n > MOST_INPUTS) return field_refuse(f, name, "must hold 1 to %d texts", MOST_INPUTS);
    for (size_t i = 0; i < n; i++)
        if (!add_one(j, facet_value_at(input, i))) return false;
    return true;
}

static bool read_request(job *j, vectors *v, const char *name) {
    static const char *const formats[] = {"float", "base64", NULL};
    int format = 0;
    int32_t dimensions = (int32_t)v->n_embd;
    if (!job_parse(j)) return false;
    const fields f = {j->body, "", &j->error};
    if (!field_word(&f, "encoding_format", formats, &format) ||
        !field_int32(&f, "dimensions", 1, (int32_t)v->n_embd, &dimensions))
        return false;
    v->base64 = format == 1;
    v->dimensions = (size_t)dimensions;
    if (!add_inputs(j, &f, name)) return false;
    v->data = malloc(j->n_prompts * v->n_embd * sizeof *v->data);
    return v->data || request_refuse(&j->error, 500, "", "", "out of memory");
}

/* ---- the work */

static void normalise(float *x, size_t n) {
    double ss = 0;
    for (size_t i = 0; i < n; i++) ss += (double)x[i] * (double)x[i];
    double scale = ss > 0 ? 1 / sqrt(ss) : 0;
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)x[i] * scale);
}

static facet_status embed_all(job *j, vectors *v, facet_error *error) {
    facet_session *session;
    facet_status status = job_open_session(j, &session, error);
    for (size_t i = 0; !status && i < j->n_prompts && !exchange_is_cancelled(j->x); i++) {
        float *out = v->data + i * v->n_embd;
        status = facet_session_embed(session, j->prompts[i].ids, j->prompts[i].n, out, error);
        if (!status) normalise(out, v->dimensions);
        j->prompt_tokens += j->prompts[i].n;
    }
    facet_session_free(session);
    return status;
}

static void run(void *work, size_t thread) {
    job *j = work;
    vectors *v = j->state;
    facet_error error = {0};
    (void)thread;
    double begin = clock_seconds();
    facet_status status = embed_all(j, v, &error);
    j->prompt_seconds = clock_seconds() - begin;
    const metrics_answer counted = {.prompt_tokens = j->prompt_tokens, .prompt_seconds = j->prompt_seconds};
    metrics_add_answer(&j->server->metrics, &counted);
    if (status) {
        job_library_error(j, status, &error, "input");
        job_refuse(j);
        return;
    }
    v->reply(j, v);
    job_free(j);
}

static void start(exchange *x, const char *name, void (*reply)(job *j, const vectors *v)) {
    job *j = job_new(x, "");
    if (!j) return;
    vectors *v = calloc(1, sizeof *v);
    j->state = v;
    j->free_state = free_vectors;
    if (v) {
        v->n_embd = (size_t)j->server->info.n_embd;
        v->reply = reply;
    }
    if (!v) request_refuse(&j->error, 500, "", "", "out of memory");
    if (!v || !read_request(j, v, name))
        job_refuse(j);
    else
        job_queue_or_refuse(j, run);
}

/* ---- answers */

static json_t *base64_json(const float *x, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *data = (const unsigned char *)x; /* little-endian, as this machine has it */
    size_t n_bytes = n * sizeof *x, at = 0;
    char *out = malloc(n_bytes / 3 * 4 + 5);
    if (!out) return NULL;
    for (size_t i = 0; i < n_bytes; i += 3) {
        size_t left = n_bytes - i;
        unsigned bits = (unsigned)data[i] << 16;
        if (left > 1) bits |= (unsigned)data[i + 1] << 8;
        if (left > 2) bits |= data[i + 2];
        out[at++] = digits[bits >> 18];
        out[at++] = digits[bits >> 12 & 63];
        out[at++] = left > 1 ? digits[bits >> 6 & 63] : '=';
        out[at++] = left > 2 ? digits[bits & 63] : '=';
    }
    json_t *json = json_stringn(out, at);
    free(out);
    return json;
}

static json_t *vector_json(const vectors *v, size_t index) {
    const float *x = v->data + index * v->n_embd;
    if (v->base64) return base64_json(x, v->dimensions);
    json_t *list = json_array();
    for (size_t i = 0; i < v->dimensions; i++) json_array_append_new(list, json_real((double)x[i]));
    return list;
}

static void reply_openai(job *j, const vectors *v) {
    json_t *data = json_array();
    for (size_t i = 0; i < j->n_prompts; i++)
        json_array_append_new(data, json_pack("{s:s,s:I,s:o}", "object", "embedding", "index", (json_int_t)i,
                                              "embedding", vector_json(v, i)));
    exchange_reply_json(j->x, 200,
                        json_pack("{s:s,s:o,s:s,s:{s:I,s:I}}", "object", "list", "data", data, "model",
                                  j->server->options->model_name, "usage", "prompt_tokens",
                                  (json_int_t)j->prompt_tokens, "total_tokens", (json_int_t)j->prompt_tokens));
}

static void reply_ollama(job *j, const vectors *v) {
    json_t *list = json_array();
    for (size_t i = 0; i < j->n_prompts; i++) json_array_append_new(list, vector_json(v, i));
    json_int_t total = (json_int_t)((clock_seconds() - j->x->received) * 1e9);
    exchange_reply_json(j->x, 200,
                        json_pack("{s:s,s:o,s:I,s:i,s:I}", "model", j->server->options->model_name, "embeddings",
                                  list, "total_duration", total, "load_duration", 0, "prompt_eval_count",
                                  (json_int_t)j->prompt_tokens));
}

static void reply_ollama_one(job *j, const vectors *v) {
    exchange_reply_json(j->x, 200, json_pack("{s:o}", "embedding", vector_json(v, 0)));
}

void openai_embeddings(exchange *x) { start(x, "input", reply_openai); }
void ollama_embed(exchange *x) { start(x, "input", reply_ollama); }
void ollama_embeddings(exchange *x) { start(x, "prompt", reply_ollama_one); }
