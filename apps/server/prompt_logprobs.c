/* Scores of prompts: see prompt_logprobs.h. */
#include "prompt_logprobs.h"
#include "choice.h"

#include <math.h>
#include <string.h>

enum { MOST_TOP = 20 };

typedef struct scorer {
    job *j;
    choice *c;
    const prompt_ids *prompt;
    size_t n_top;
    bool no_memory;
} scorer;

static double log_of_sum(const float *logits, size_t n) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) max = fmax(max, (double)logits[i]);
    for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - max);
    return max + log(sum);
}

/* The k likeliest ids, best first, ties to the lower id. */
static size_t find_top(const float *logits, size_t n, facet_token_logprob *top, size_t k) {
    size_t n_top = 0;
    for (size_t i = 0; k && i < n; i++) {
        if (n_top == k && !(logits[i] > top[k - 1].logprob)) continue;
        size_t at = n_top < k ? n_top++ : k - 1;
        for (; at > 0 && top[at - 1].logprob < logits[i]; at--) top[at] = top[at - 1];
        top[at] = (facet_token_logprob){(int32_t)i, logits[i]};
    }
    return n_top;
}

static bool on_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    scorer *s = ctx;
    facet_token_logprob top[MOST_TOP];
    if (exchange_is_cancelled(s->j->x)) return false;
    if (row + 1 >= s->prompt->n) return true;
    double sum = log_of_sum(logits, n_vocab);
    size_t n = find_top(logits, n_vocab, top, s->n_top);
    for (size_t i = 0; i < n; i++) top[i].logprob = (float)((double)top[i].logprob - sum);
    int32_t id = s->prompt->ids[row + 1];
    facet_token token = {.id = id, .logprob = (float)((double)logits[id] - sum), .top = top, .n_top = n};
    if (json_array_append_new(s->c->logprobs, logprob_entry(s->j->server->model, &token))) s->no_memory = true;
    return !s->no_memory;
}

facet_status prompt_logprobs(job *j, choice *c, facet_session *session, const prompt_ids *prompt,
                             facet_error *error) {
    scorer s = {.j = j, .c = c, .prompt = prompt, .n_top = (size_t)j->generation.top_logprobs};
    if (prompt->ids[0] != facet_token_bos(j->server->model)) {
        const facet_token first = {.id = prompt->ids[0], .logprob = NAN};
        json_t *entry = logprob_entry(j->server->model, &first);
        json_object_set_new(entry, "logprob", json_null());
        if (json_array_append_new(c->logprobs, entry)) return FACET_ERROR_MEMORY;
    }
    facet_status status = facet_session_score(session, prompt->ids, prompt->n, 0, on_row, &s, error);
    return s.no_memory ? FACET_ERROR_MEMORY : status;
}
