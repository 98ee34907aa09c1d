/* Tokens to answers: see choice.h. */
#include "choice.h"

#include <math.h>
#include <string.h>

/* ---- log probabilities */

/* A byte token's spelling is "<0xE2>"; alone it is no text. */
static int byte_of(const char *spelling, size_t n) {
    unsigned byte;
    return n == 6 && sscanf(spelling, "<0x%2X>", &byte) == 1 ? (int)byte : -1;
}

static json_t *bytes_json(const char *data, size_t n) {
    json_t *bytes = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(bytes, json_integer((unsigned char)data[i]));
    return bytes;
}

/* JSON has no infinity: a token that cannot be is as unlikely as a float can tell. */
static json_t *logprob_json(float x) { return json_real(isfinite(x) ? (double)x : -9999.0); }

static json_t *token_json(const facet_model *model, int32_t id, float logprob) {
    size_t n = 0;
    const char *spelling = facet_token_spelling(model, id, &n);
    int byte = spelling ? byte_of(spelling, n) : -1;
    char shown[16], raw = (char)byte, *own = NULL;
    const char *data = &raw, *token = shown;
    if (byte >= 0) {
        n = 1;
        snprintf(shown, sizeof shown, byte < 0x80 ? "%c" : "bytes:\\x%02x", byte);
    } else {
        if (facet_detokenize(model, &id, 1, true, &own, &n, NULL)) return NULL;
        token = data = own;
    }
    json_t *json = json_pack("{s:o,s:o,s:o}", "token", json_stringn(token, own ? n : strlen(token)), "logprob",
                             logprob_json(logprob), "bytes", bytes_json(data, n));
    facet_free(own);
    return json;
}

json_t *logprob_entry(const facet_model *model, const facet_token *token) {
    json_t *entry = token_json(model, token->id, token->logprob), *top = json_array();
    for (size_t i = 0; i < token->n_top; i++)
        json_array_append_new(top, token_json(model, token->top[i].id, token->top[i].logprob));
    if (!json_object_set_new(entry, "top_logprobs", top)) return entry;
    json_decref(entry);
    return NULL;
}

static void add_logprob(choice_reader *r, const facet_token *token) {
    if (json_array_append_new(r->c->logprobs, logprob_entry(r->j->server->model, token))) r->no_memory = true;
}

/* ---- text and calls */

static void add_text(choice_reader *r, facet_reply_event_type type, const char *data, size_t n) {
    text *t = type == FACET_REPLY_REASONING ? &r->c->reasoning : &r->c->content;
    const answer_shape *shape = r->j->shape;
    if (!n) return;
    if (!cli_text_append(t, data, n)) r->no_memory = true;
    pthread_mutex_lock(&r->j->lock);
    if (shape->piece) shape->piece(r->j, r->index, type, data, n);
    pthread_mutex_unlock(&r->j->lock);
}

static void add_call(choice_reader *r, const facet_reply_event *event) {
    char id[40];
    size_t index = json_array_size(r->c->calls);
    make_id(id, sizeof id, r->j->x->style == API_ANTHROPIC ? "toolu_" : "call_");
    json_t *call = json_pack("{s:s,s:o,s:o}", "id", id, "name", json_stringn(event->name, event->name_bytes),
                             "arguments", json_stringn(event->text, event->n_bytes));
    if (!call || json_array_append_new(r->c->calls, call)) {
        r->no_memory = true;
        return;
    }
    pthread_mutex_lock(&r->j->lock);
    if (r->j->shape->call) r->j->shape->call(r->j, r->index, call, index);
    pthread_mutex_unlock(&r->j->lock);
    if (!r->j->parallel_calls) r->over = true;
}

static void on_event(void *ctx, const facet_reply_event *event) {
    choice_reader *r = ctx;
    if (r->over) return;
    if (event->type == FACET_REPLY_TOOL_CALL)
        add_call(r, event);
    else
        add_text(r, event->type, event->text, event->n_bytes);
}

/* ---- tokens */

static int32_t find(const facet_model *model, const char *spelling) {
    return facet_token_find(model, spelling, strlen(spelling));
}

static bool ends_with(const char *data, size_t n, const char *tail) {
    size_t length = strlen(tail);
    return n >= length && !memcmp(data + n - length, tail, length);
}

facet_status choice_reader_init(choice_reader *r, job *j, size_t index, facet_error *error) {
    const facet_model *model = j->server->model;
    *r = (choice_reader){.j = j, .c = &j->choices[index], .index = index};
    r->open = find(model, "<|channel>");
    r->close = find(model, "<channel|>");
    r->call = find(model, "<|tool_call>");
    r->call_end = find(model, "<tool_call|>");
    if (!j->is_chat) return FACET_OK;
    size_t n;
    const char *prompt = facet_prompt_text(j->prompt, &n);
    r->in_thought = ends_with(prompt, n, "<|channel>thought\n");
    return facet_reply_parser_new(&r->parser, j->prompt, j->tools, on_event, r, error);
}

static void follow_control(choice_reader *r, int32_t id) {
    if (id == r->open) r->in_thought = r->in_head = true;
    if (id == r->close) r->in_thought = r->in_head = false;
    if (id == r->call) r->in_call = true;
    if (id == r->call_end) r->in_call = false;
}

static void count_thought(choice_reader *r, const facet_token *token) {
    if (!r->in_thought || token->id < 0) return;
    if (r->in_head) {
        r->in_head = !memchr(token->text, '\n', token->n_bytes);
    } else {
        r->c->n_reasoning++;
    }
}

bool choice_reader_exhausted(const choice_reader *r) {
    int32_t budget = r->j->thinking_budget;
    return budget >= 0 && r->in_thought && !r->in_head && r->c->n_reasoning >= (size_t)budget;
}

void choice_reader_push(choice_reader *r, const facet_token *token) {
    if (token->control && token->id >= 0) follow_control(r, token->id);
    if (!token->control) count_thought(r, token);
    bool is_content = !r->parser || (!token->control && !r->in_thought && !r->in_call);
    if (r->c->logprobs && token->id >= 0 && is_content) add_logprob(r, token);
    if (!r->parser)
        add_text(r, FACET_REPLY_CONTENT, token->control ? "" : token->text, token->control ? 0 : token->n_bytes);
    else if (facet_reply_parser_push(r->parser, token->text, token->n_bytes, token->control))
        r->no_memory = true;
}

void choice_reader_finish(choice_reader *r) {
    if (r->parser && facet_reply_parser_finish(r->parser)) r->no_memory = true;
}

void choice_reader_free(choice_reader *r) { facet_reply_parser_free(r->parser); }
