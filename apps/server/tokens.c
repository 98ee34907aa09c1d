/* Text and tokens: see tokens.h. */
#include "tokens.h"
#include "openai.h"

#include <stdlib.h>
#include <string.h>

static json_t *piece_json(const facet_model *model, int32_t id) {
    char *data = NULL;
    size_t n = 0;
    json_t *piece = NULL;
    if (!facet_detokenize(model, &id, 1, true, &data, &n, NULL)) piece = json_stringn(data ? data : "", n);
    facet_free(data);
    return json_pack("{s:i,s:o}", "id", id, "piece", piece);
}

static json_t *ids_json(const facet_model *model, const int32_t *ids, size_t n, int32_t bos, bool pieces) {
    json_t *list = json_array();
    if (bos >= 0) json_array_append_new(list, pieces ? piece_json(model, bos) : json_integer(bos));
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, pieces ? piece_json(model, ids[i]) : json_integer(ids[i]));
    return json_pack("{s:I,s:o}", "count", (json_int_t)json_array_size(list), "tokens", list);
}

static bool tokenize(job *j) {
    if (!job_parse(j)) return false;
    const fields f = {j->body, "", &j->error};
    const char *data = NULL;
    size_t n = 0, n_ids = 0;
    bool add_bos = false, parse_control = true, pieces = false;
    if (!field_string(&f, "prompt", &data, &n) || !field_string(&f, "content", &data, &n) ||
        !field_bool(&f, "add_special", &add_bos) || !field_bool(&f, "parse_special", &parse_control) ||
        !field_bool(&f, "with_pieces", &pieces))
        return false;
    if (!data) return field_refuse(&f, "content", "is missing");
    facet_error error = {0};
    int32_t *ids = NULL;
    facet_status status = facet_tokenize(j->server->model, data, n, parse_control, &ids, &n_ids, &error);
    if (status) return job_library_error(j, status, &error, "content");
    int32_t bos = add_bos ? facet_token_bos(j->server->model) : -1;
    exchange_reply_json(j->x, 200, ids_json(j->server->model, ids, n_ids, bos, pieces));
    facet_free(ids);
    return true;
}

static bool reply_text(job *j, const int32_t *ids, size_t n) {
    facet_error error = {0};
    char *data = NULL;
    size_t n_bytes = 0;
    facet_status status = facet_detokenize(j->server->model, ids, n, true, &data, &n_bytes, &error);
    if (status) return job_library_error(j, status, &error, "tokens");
    exchange_reply_json(j->x, 200, json_pack("{s:o}", "content", json_stringn(data ? data : "", n_bytes)));
    facet_free(data);
    return true;
}

static bool detokenize(job *j) {
    const facet_value *array;
    if (!job_parse(j)) return false;
    const fields f = {j->body, "", &j->error};
    if (!field_array(&f, "tokens", &array)) return false;
    if (!array) return field_refuse(&f, "tokens", "is missing");
    size_t n = facet_value_count(array);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    if (!ids) return request_refuse(&j->error, 500, "", "", "out of memory");
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        int64_t id = -1;
        ok = value_integer(facet_value_at(array, i), &id) && id >= 0 && id < j->server->info.n_vocab;
        ids[i] = (int32_t)id;
        if (!ok) field_refuse(&f, "tokens", "holds something that is no token id, at place %zu", i);
    }
    ok = ok && reply_text(j, ids, n);
    free(ids);
    return ok;
}

static bool apply_template(job *j) {
    size_t n;
    if (!openai_read_messages(j) || !job_render(j)) return false;
    const char *data = facet_prompt_text(j->prompt, &n);
    exchange_reply_json(
        j->x, 200, json_pack("{s:o,s:I}", "prompt", json_stringn(data, n), "n_tokens", (json_int_t)j->prompts[0].n));
    return true;
}

static void answer(exchange *x, bool (*work)(job *j)) {
    job *j = job_new(x, "");
    if (!j) return;
    if (work(j))
        job_free(j);
    else
        job_refuse(j);
}

void tokens_tokenize(exchange *x) { answer(x, tokenize); }
void tokens_detokenize(exchange *x) { answer(x, detokenize); }
void tokens_apply_template(exchange *x) { answer(x, apply_template); }
